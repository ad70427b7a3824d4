"""Directions in the patient: which way slices, rows and columns of a stack go, and where the body's middle is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.card import ImageKind, Region
from inference.interface import SliceStack

__all__ = ["Midline", "PatientAxes", "midline", "patient_axes", "shows_both_sides"]

_DIRECTIONS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
"""Axis (left, posterior, head: LPS) and sign of each letter (PS3.3 C.7.6.1.1.1)."""
_ONE_SIDED = frozenset({Region.BREAST, Region.EYE, Region.LIMB, Region.BOWEL})
_TRUNK_ACROSS_MM = 200.0
"""An image of an unknown region shows both sides of a trunk or head only where it is at least as wide."""
_WHOLE_TRUNK_MM = 300.0
"""A body that reaches both borders is taken for a whole one only where so much of it is imaged."""
_CUT_SHARE = 0.1
"""Of the body's largest cut across left and right: where so much lies on the border, the body goes on beyond it."""
_AIR_HU = -300.0
_MARGIN = 0.05
"""Of the body's width."""
_BODY_SHARE = 0.15
"""Of the range of values from the 1st to the 99th percentile: what is darker is background, in all but CT."""


@dataclass(frozen=True)
class PatientAxes:
    """Where steps through a stack lead in the patient.

    `steps`: 3 x 3, rows left, posterior and head (LPS), columns a step of one slice, row, column; in mm where `in_mm`.
    `signed`: for each row, whether it is known which end is which; `known`: whether the row is known at all.
    """

    steps: NDArray[np.float64]
    signed: tuple[bool, bool, bool]
    known: tuple[bool, bool, bool]
    in_mm: bool

    def along(self, axis: int, points: NDArray[Any]) -> NDArray[np.float64]:
        """How far voxel indices `points 3` lie along left (0), posterior (1) or head (2)."""
        return np.asarray(points @ self.steps[axis], dtype=np.float64)

    def footprint(self, axis: int) -> float:
        """How far a single voxel reaches along an axis."""
        return float(np.abs(self.steps[axis]).sum())


def patient_axes(stack: SliceStack) -> PatientAxes | None:
    """Return the directions of a stack from its affine, else from its letters; None where it has neither."""
    affine = stack.context.affine
    if affine is not None:
        steps = np.asarray(affine, dtype=np.float64)[:3, :3]
        if len(stack.values) == 1 and not steps[:, 0].any():
            steps = np.column_stack([np.zeros(3), steps[:, 1:]])
        return PatientAxes(steps, (True, True, True), (True, True, True), True)
    left, right, top, bottom = (_DIRECTIONS.get(letter[:1].upper()) for letter in stack.context.letters)
    rows = _direction(top, bottom)
    columns = _direction(left, right)
    spacing = stack.spacing_mm or (1.0, 1.0, 1.0)
    if (rows is None and columns is None) or (rows is not None and columns is not None and rows[0] == columns[0]):
        return None
    steps, signed, known = np.zeros((3, 3)), [False] * 3, [False] * 3
    for direction, step in ((rows, 1), (columns, 2)):
        if direction is not None:
            axis, sign = direction
            steps[axis, step] = sign * spacing[step]
            signed[axis] = known[axis] = True
    if rows is not None and columns is not None:
        third = 3 - rows[0] - columns[0]
        steps[third, 0] = spacing[0]
        known[third] = True
    return PatientAxes(
        steps, (signed[0], signed[1], signed[2]), (known[0], known[1], known[2]), stack.spacing_mm is not None
    )


def _direction(start: tuple[int, int] | None, end: tuple[int, int] | None) -> tuple[int, int] | None:
    """Axis and sign from one edge of the picture to the other; either edge is enough, two must agree."""
    from_start = None if start is None else (start[0], -start[1])
    if end is None or from_start is None:
        return end or from_start
    return end if end == from_start else None


def shows_both_sides(stack: SliceStack, axes: PatientAxes) -> bool:
    """Whether the middle of what is imaged is the middle of the patient, as in images of trunk and head."""
    regions = stack.context.regions
    if regions:
        return not stack.context.contradicted and not regions & _ONE_SIDED
    across = float(np.abs(axes.steps[0]) @ np.asarray(stack.values.shape[:3]))
    return axes.in_mm and across >= _TRUNK_ACROSS_MM


@dataclass(frozen=True)
class Midline:
    """Where the middle of the body lies along left, on the scale of `PatientAxes.along`.

    `margin`: so far to both sides of it nothing is left or right yet: spine and great vessels.
    """

    middle: float
    margin: float


def midline(stack: SliceStack, axes: PatientAxes) -> Midline | None:
    """Return the middle of the body and how near to it things are in the middle.

    Halfway between the left and right border of the largest thing that is not air or background; of a projection, whose
    edges are collimated, the middle of the picture. None where the body goes on beyond one border, or beyond both of a
    field that is too small for a trunk: the middle of what is imaged may be anywhere in the patient then.
    """
    shape = np.asarray(stack.values.shape[:3])
    if stack.context.kind is ImageKind.PROJECTION:
        return _between(axes.along(0, np.array([[0, 0, 0], shape - 1])))
    strides = [max(1, length // most) for length, most in zip(shape, (24, 128, 128), strict=True)]
    values = stack.values[:: strides[0], :: strides[1], :: strides[2]].astype(np.float32)
    if values.ndim == 4:
        values = values.mean(axis=-1)
    if stack.modality == "CT" and stack.values.ndim == 3:
        limit = _AIR_HU
    else:
        low, high = np.percentile(values, [1, 99])
        limit = float(low + _BODY_SHARE * (high - low))
    body, count = ndimage.label(values > limit)
    if not count:
        return _between(axes.along(0, np.array([[0, 0, 0], shape - 1])))
    sizes = np.bincount(body.reshape(-1))
    sizes[0] = 0
    points = np.argwhere(body == int(sizes.argmax()))
    across = int(np.abs(axes.steps[0]).argmax())
    planes = np.bincount(points[:, across], minlength=body.shape[across])
    cut = (planes[[0, -1]] >= _CUT_SHARE * planes.max()).tolist()
    whole = axes.in_mm and float(np.abs(axes.steps[0]) @ shape) >= _WHOLE_TRUNK_MM
    if any(cut) and not (all(cut) and whole):
        return None
    return _between(axes.along(0, points * strides))


def _between(left: NDArray[np.float64]) -> Midline:
    return Midline(float(left.min() + left.max()) / 2, _MARGIN * float(np.ptp(left)))
