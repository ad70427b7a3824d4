"""Lengths of a mask: in the patient's directions, the longest line, a vessel's width."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from inference.reasoning.directions import PatientAxes

__all__ = ["extents_mm", "longest_line_mm", "outer_points", "widest_mm"]

Points = NDArray[np.float64]


def outer_points(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and last voxel of each row of a mask `slices rows columns`, `points 3`; all voxels lie in their hull."""
    first = mask.argmax(axis=2)
    last = mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)
    slices, rows = np.nonzero(mask.any(axis=2))
    ends = [np.stack([slices, rows, column[slices, rows]], axis=1) for column in (first, last)]
    return np.concatenate(ends)


def extents_mm(outer: NDArray[np.intp], axes: PatientAxes) -> tuple[float, float, float]:
    """How far a mask reaches right to left, front to back, head to feet; outer edges of voxels included."""
    right_left, front_back, head_feet = (
        float(np.ptp(axes.along(axis, outer))) + axes.footprint(axis) for axis in range(3)
    )
    return right_left, front_back, head_feet


def longest_line_mm(outer: NDArray[np.intp], spacing_mm: tuple[float, ...]) -> float:
    """The longest straight line between two outer corners of voxels. `outer`: `points n`, spacing of the same axes."""
    spacing = np.asarray(spacing_mm)
    points = _hull(outer * spacing)
    longest = 0.0
    for signs in product((1.0, -1.0), repeat=len(spacing) - 1):
        edge = spacing * (1.0, *signs)
        for chunk in np.array_split(points, 1 + len(points) ** 2 // 4_000_000):
            apart = chunk[:, None] - points[None]
            longest = max(longest, float(((apart + edge) ** 2).sum(axis=-1).max()))
    return float(np.sqrt(longest))


def _hull(points: Points) -> Points:
    """Vertices of the convex hull; all points where they are too few or too flat for one."""
    points = np.unique(points, axis=0)
    varied = [axis for axis in range(points.shape[1]) if np.ptp(points[:, axis]) > 0]
    if len(varied) < 2 or len(points) <= len(varied) + 1:
        return points
    try:
        return np.asarray(points[ConvexHull(points[:, varied]).vertices])
    except QhullError:
        return points


def widest_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> float:
    """Of the largest piece in each slice the narrowest width, and of those the largest; outer edges of pixels count."""
    return max((_narrowest(plane, np.asarray(spacing_mm)) for plane in mask if plane.any()), default=0.0)


def _narrowest(plane: NDArray[np.bool_], spacing: Points) -> float:
    pieces, count = ndimage.label(plane)
    if count > 1:
        plane = pieces == 1 + int(np.argmax(np.bincount(pieces.reshape(-1))[1:]))
    rows, columns = outer_points(plane[None])[:, 1:].T
    corners = np.stack([rows, columns], axis=1)[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    points = corners.reshape(-1, 2) * spacing
    hull = points[ConvexHull(points).vertices]
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1)[:, None]
    return float(np.ptp(hull @ normals.T, axis=0).min())
