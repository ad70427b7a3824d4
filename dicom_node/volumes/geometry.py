"""StackGeometry: where each slice of a stack lies in the patient; planes put in order, or refused by name.

Slices are parallel and of one grid. Each keeps its own position, so a tilted gantry and gaps of several widths are no
trouble: nothing is resampled, and what is measured follows from the positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import VolumeRefusal, VolumeRefused

__all__ = ["Plane", "StackGeometry", "arrange", "depths"]

_ORIENTATION_TOLERANCE = 1e-3
"""Largest flaw of direction cosines, about 0.06 degrees."""
_SAME_POSITION_MM = 1e-3
_FARTHEST_MM, _NARROWEST_MM, _WIDEST_MM = 1e6, 1e-6, 1e4
"""No voxel lies a kilometre from its origin, and none is wider than 10 m or narrower than a nanometre: beyond that
numbers are broken, and what is computed from them is no number."""
_LARGER_GAP = 1.5
"""A gap so many times as wide as the gap beside it is one that slices may be missing from."""
_SLAB_GAP = 2.5
"""A gap so many times as wide as both gaps beside it lies between slabs: no slice stands for half of it."""
_TILT_FIT = 0.1
"""Share of the largest sideways offset by which slices may leave the line of a tilted gantry."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Where one slice lies in the patient (PS3.3 C.7.6.2).

    `position`: mm, of the centre of the first voxel. `orientation`: cosines of row then column direction.
    `spacing_mm`: between rows, between columns. `thickness_mm`: None where its header does not say.
    `frame_of_reference_uid`: empty where it has none. `name` says which instance or frame it is, for messages.
    `number`: its Instance Number or frame number, which tells a wide gap from a missing slice.

    Raises VolumeRefused: MISSING_GEOMETRY, MISSING_SPACING for values that place no voxel.
    """

    name: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    thickness_mm: float | None
    frame_of_reference_uid: str
    number: int | None = None

    def __post_init__(self) -> None:
        for attribute, values, length in (
            ("Image Position (Patient)", self.position, 3),
            ("Image Orientation (Patient)", self.orientation, 6),
        ):
            if len(values) != length or not all(abs(value) <= _FARTHEST_MM for value in values):
                raise VolumeRefused(
                    VolumeRefusal.MISSING_GEOMETRY, f"{self.name} has no usable {attribute}; send it with its place"
                )
        right, down = np.array(self.orientation).reshape(2, 3)
        flaws = (float(np.linalg.norm(right)) - 1, float(np.linalg.norm(down)) - 1, float(right @ down))
        if max(abs(flaw) for flaw in flaws) > 10 * _ORIENTATION_TOLERANCE:
            raise VolumeRefused(
                VolumeRefusal.MISSING_GEOMETRY,
                f"{self.name}: Image Orientation (Patient) is no pair of unit vectors; send it corrected",
            )
        if len(self.spacing_mm) != 2 or not all(_NARROWEST_MM <= mm <= _WIDEST_MM for mm in self.spacing_mm):
            raise VolumeRefused(
                VolumeRefusal.MISSING_SPACING, f"{self.name} has no usable Pixel Spacing; send it with its spacing"
            )


@dataclass(frozen=True)
class StackGeometry:
    """Parallel slices of one grid in patient coordinates (LPS, mm).

    `positions`: `slices 3`, centres of each slice's first voxel, ascending along row direction x column direction.
    `right`, `down`: unit vectors along a row (column index grows) and down a column (row index grows).
    `pixel_spacing_mm`: between rows, between columns. `slice_extents_mm`: `slices`, what each slice stands for
    perpendicular to itself: half of the gaps on both sides, its thickness where it is alone; None where nobody says, or
    where gaps are so wide that slices are samples.
    `frame_of_reference_uid`: empty where the source has none.
    """

    positions: Vector
    right: Vector
    down: Vector
    pixel_spacing_mm: tuple[float, float]
    slice_extents_mm: Vector | None
    frame_of_reference_uid: str

    @property
    def normal(self) -> Vector:
        """Unit vector from slice to slice."""
        return np.asarray(np.cross(self.right, self.down), dtype=np.float64)

    @property
    def direction(self) -> Vector:
        """Unit vectors in columns: from slice to slice, down a column, along a row."""
        return np.stack([self.normal, self.down, self.right], axis=1)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices (the middle one of the gaps), rows and columns; None where a lone slice has no thickness."""
        if self.slice_extents_mm is None:
            return None
        return (float(np.median(self.slice_extents_mm)), *self.pixel_spacing_mm)

    def centres(self, indices: NDArray[Any]) -> Vector:
        """Voxel indices `points 3` (slice, row, column) -> centres `points 3`, mm LPS (PS3.3 C.7.6.2.1.1)."""
        slices, rows, columns = np.asarray(indices).T
        along_row = np.outer(columns * self.pixel_spacing_mm[1], self.right)
        return np.asarray(self.positions[slices] + along_row + np.outer(rows * self.pixel_spacing_mm[0], self.down))

    def indices(self, points: Vector) -> Vector:
        """The inverse of `centres` for any point: `points 3`, mm LPS -> slice, row, column as real numbers.

        The slice's part: the nearest slice, plus how far the point lies from its plane as a share of the slice's extent
        (of 1 mm where that is not known). Row and column are those of the nearest slice's own grid.
        """
        depth = points @ self.normal
        planes = self.positions @ self.normal
        edges = (planes[1:] + planes[:-1]) / 2
        nearest = np.searchsorted(edges, depth)
        extents = np.ones(len(planes)) if self.slice_extents_mm is None else self.slice_extents_mm
        offsets = points - self.positions[nearest]
        return np.stack(
            [
                nearest + (depth - planes[nearest]) / extents[nearest],
                offsets @ self.down / self.pixel_spacing_mm[0],
                offsets @ self.right / self.pixel_spacing_mm[1],
            ],
            axis=1,
        )


def depths(planes: Sequence[Plane]) -> Vector:
    """How far each of some parallel planes lies along the normal of the first, mm."""
    right, down = _axes(planes[0])
    return np.asarray(np.array([plane.position for plane in planes]) @ np.cross(right, down), dtype=np.float64)


def arrange(planes: Sequence[Plane], rows: int, columns: int) -> tuple[tuple[int, ...], StackGeometry]:
    """Put parallel planes of one spacing in order: indices into `planes`, ascending along the normal, and the geometry.

    Positions decide, file order never. Raises VolumeRefused with DUPLICATE_POSITIONS or IRREGULAR_SPACING.
    """
    right, down = _axes(planes[0])
    normal = np.cross(right, down)
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    ordered, positions, along = [planes[index] for index in order], positions[order], along[order]
    _require_distinct_positions(ordered, along)
    spacing = planes[0].spacing_mm[0], planes[0].spacing_mm[1]
    _require_one_pile(ordered, positions, normal, max(rows * spacing[0], columns * spacing[1]))
    return tuple(int(index) for index in order), StackGeometry(
        positions=positions,
        right=right,
        down=down,
        pixel_spacing_mm=spacing,
        slice_extents_mm=_extents(ordered, along),
        frame_of_reference_uid=planes[0].frame_of_reference_uid,
    )


def _axes(plane: Plane) -> tuple[Vector, Vector]:
    """Unit vectors of row and column direction, at right angles."""
    cosines = np.array(plane.orientation, dtype=np.float64)
    right = cosines[:3] / np.linalg.norm(cosines[:3])
    down = cosines[3:] - right * float(cosines[3:] @ right)
    return right, down / np.linalg.norm(down)


def _require_distinct_positions(ordered: Sequence[Plane], along: Vector) -> None:
    same = np.flatnonzero(np.diff(along) < _SAME_POSITION_MM)
    if same.size:
        first = int(same[0])
        raise VolumeRefused(
            VolumeRefusal.DUPLICATE_POSITIONS,
            f"{ordered[first].name} and {ordered[first + 1].name} lie at the same position ({same.size} such pairs in "
            f"{len(ordered)} slices), and no attribute tells them apart; send them as series of their own",
        )


def _require_one_pile(ordered: Sequence[Plane], positions: Vector, normal: Vector, width_mm: float) -> None:
    """Slices lie above each other: on a line, that of a tilted gantry too, or at least half over each other."""
    offsets = positions - positions[0]
    along = offsets @ normal
    sideways = offsets - np.outer(along, normal)
    slope = (along @ sideways) / max(float(along @ along), _SAME_POSITION_MM)
    apart = np.linalg.norm(sideways - np.outer(along, slope), axis=1)
    worst = int(np.argmax(apart))
    if apart[worst] > width_mm / 2 + _TILT_FIT * float(np.linalg.norm(sideways, axis=1).max()):
        raise VolumeRefused(
            VolumeRefusal.IRREGULAR_SPACING,
            f"{ordered[worst].name} lies {apart[worst]:.1f} mm beside the others; send each stack as its own series",
        )


def _extents(ordered: Sequence[Plane], along: Vector) -> Vector | None:
    """What each slice stands for along the normal, mm."""
    if along.size == 1:
        thickness = ordered[0].thickness_mm
        known = thickness is not None and 0 < thickness <= _WIDEST_MM
        return np.array([thickness], dtype=np.float64) if known else None
    gaps = np.diff(along)
    if _are_samples(ordered, gaps):
        return None
    if _is_regular(along):
        return np.full(along.size, float(along[-1] - along[0]) / gaps.size)
    _require_no_slice_missing(ordered, gaps)
    counted = np.where(gaps > _SLAB_GAP * _wider_gap_beside(gaps), _narrower_gap_beside(gaps), gaps)
    before, after = np.concatenate([counted[:1], counted]), np.concatenate([counted, counted[-1:]])
    # Next to a gap between slabs a slice stands for as much on that side as on its other.
    return np.asarray((before + after) / 2, dtype=np.float64)


_SAMPLE_GAP = 20.0


def _are_samples(ordered: Sequence[Plane], gaps: Vector) -> bool:
    """Whether slices lie so far apart for their thickness that they are samples, and no slice stands for a gap."""
    known = [plane.thickness_mm for plane in ordered if plane.thickness_mm is not None and plane.thickness_mm > 0]
    return bool(known) and float(gaps.min()) > _SAMPLE_GAP * max(known)


_QUANTA_MM = (1.0, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001)


def _is_regular(along: Vector) -> bool:
    """Whether the gaps are one gap, but for the rounding of positions to decimals."""
    gaps = np.diff(along)
    step = float(along[-1] - along[0]) / gaps.size
    off = float(np.abs(along - np.linspace(along[0], along[-1], along.size)).max())
    return off <= max(0.01 * step, 0.02, min(_rounding(along), 0.25 * step) * 1.02)


def _rounding(along: Vector) -> float:
    """The widest step that all depths are whole numbers of, mm; 0 where there is none. Ends are rounded too."""
    whole = (quantum for quantum in _QUANTA_MM if np.abs(along / quantum - np.rint(along / quantum)).max() < 1e-3)
    return next(whole, 0.0)


def _narrower_gap_beside(gaps: Vector) -> Vector:
    """For each gap the narrower one of its neighbours, or itself where it has none."""
    padded = np.concatenate([[np.inf], gaps, [np.inf]])
    beside = np.minimum(padded[:-2], padded[2:])
    return np.where(np.isfinite(beside), beside, gaps)


def _wider_gap_beside(gaps: Vector) -> Vector:
    """For each gap the wider one of its neighbours."""
    return np.asarray(np.maximum(np.append(0.0, gaps[:-1]), np.append(gaps[1:], 0.0)), dtype=np.float64)


def _require_no_slice_missing(ordered: Sequence[Plane], gaps: Vector) -> None:
    """A wide gap is meant where instance numbers go on across it; where they say nothing, beside another as wide."""
    usual = _usual_step(ordered)
    wider_beside = _wider_gap_beside(gaps)
    for index in (int(found) for found in np.flatnonzero(gaps > _LARGER_GAP * _narrower_gap_beside(gaps))):
        gap, before, after = float(gaps[index]), ordered[index], ordered[index + 1]
        numbered = _step(before, after)
        as_wide_beside = wider_beside[index] > gap / _LARGER_GAP
        if as_wide_beside if usual is None or numbered is None else numbered == usual:
            continue
        typical = float(np.median(gaps))
        missing = max(1, round(gap / typical) - 1)
        raise VolumeRefused(
            VolumeRefusal.IRREGULAR_SPACING,
            f"{gap:.3f} mm between {before.name} and {after.name}, elsewhere {typical:.3f} mm; {missing} slices "
            "seem to be missing: send the whole series",
        )


def _usual_step(ordered: Sequence[Plane]) -> int | None:
    """By how much instance numbers differ from slice to slice, where most agree; None where they do not say."""
    steps = Counter(_step(before, after) for before, after in pairwise(ordered))
    commonest, times = steps.most_common(1)[0]
    return commonest if 2 * times > len(ordered) - 1 else None


def _step(before: Plane, after: Plane) -> int | None:
    """The difference of two instance numbers; None where they are the same or missing: then they number nothing."""
    if before.number is None or after.number is None:
        return None
    return abs(after.number - before.number) or None
