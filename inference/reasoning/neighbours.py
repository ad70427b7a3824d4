"""How masks lie to each other: which are near, and which is above, in front of, or inside the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from inference.reasoning.directions import PatientAxes

__all__ = ["INSIDE", "NEAR_MM", "distance_mm", "place_beside"]

INSIDE = "inside"
NEAR_MM = 5.0
_INSIDE_SHARE = 0.8
_BESIDE_SHARE = 0.8
_WORDS = (("to the right of", "to the left of"), ("in front of", "behind"), ("below", "above"))
"""For left, posterior and head: lying at the lower and at the higher end. Left and right are the patient's."""

Box = tuple[slice, ...]


def distance_mm(
    first: NDArray[np.bool_], first_box: Box, second: NDArray[np.bool_], second_box: Box, spacing: Sequence[float]
) -> float | None:
    """How far two masks `slices rows columns` are apart, mm; None beyond `NEAR_MM`. `box`: what holds each of them.

    The distance between the centres of their nearest voxels; 0 where they overlap or touch, corners included.
    """
    room = [max(1, int(np.ceil(NEAR_MM / step))) for step in spacing]
    region = tuple(
        slice(max(0, max(a.start, b.start) - more), min(length, min(a.stop, b.stop) + more))
        for a, b, more, length in zip(first_box, second_box, room, first.shape, strict=True)
    )
    if any(side.start >= side.stop for side in region):
        return None
    one, other = first[region], second[region]
    if not one.any() or not other.any():
        return None
    if (ndimage.binary_dilation(one, np.ones((3, 3, 3))) & other).any():
        return 0.0
    tree = cKDTree(_surface(one) * np.asarray(spacing))
    apart, _ = tree.query(_surface(other) * np.asarray(spacing), distance_upper_bound=NEAR_MM + 1e-6)
    nearest = float(apart.min())
    return nearest if nearest <= NEAR_MM + 1e-6 else None


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


def place_beside(first: NDArray[np.intp], second: NDArray[np.intp], shared: float, axes: PatientAxes | None) -> str:
    """Where the first mask lies as seen from the second: inside, above, below, in front of ...; empty where unclear.

    `first`, `second`: voxels of each, `points 3`; `shared`: the share of the first's voxels that are the second's too.
    Inside: four of five. A direction counts where four of five voxels of each lie on their side of the other's centre;
    of several the one that parts them most.
    """
    if shared >= _INSIDE_SHARE:
        return INSIDE
    best, word = _BESIDE_SHARE, ""
    for axis in range(3):
        if axes is None or not axes.signed[axis]:
            continue
        one, other = axes.along(axis, first), axes.along(axis, second)
        for sign in (-1, 1):
            share = min(
                float((sign * one > sign * other.mean()).mean()), float((sign * other < sign * one.mean()).mean())
            )
            if share >= best and (share > best or not word):
                best, word = share, _WORDS[axis][sign > 0]
    return word
