"""Outlines of a mask in image coordinates, for SCOORD content items (PS3.3 C.18.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.runs import Runs, filled, in_plane_parts, runs_of

__all__ = ["MAXIMUM_PARTS", "Outline", "outlines", "outlines_by_slice"]

MAXIMUM_PARTS = 20
_MAXIMUM_POINTS = 4000
"""Graphic Data is FL: Explicit VR Little Endian holds at most 8191 points of it (PS3.5 7.1.2)."""
_RECTANGLE = 5
"""OHIF takes a polyline of so many points for its rectangle tool, which then hides all others: sides get a middle."""


@dataclass(frozen=True)
class Outline:
    """One part of a mask from outside, along the edges of its pixels; what it encloses counts as its own.

    `points`: `points 2`, column and row, closed: the last is the first. The corner of the image is 0, 0, the centre of
    its first pixel 0.5, 0.5 (PS3.3 C.18.6.1.2). `pixels`: of the part, without what it encloses.
    """

    points: NDArray[np.float64]
    pixels: int


def outlines(mask: NDArray[np.bool_]) -> tuple[tuple[Outline, ...], int]:
    """The outlines of a mask `rows columns`, the largest part first, and how many parts it has.

    Parts hang together by pixel edges. At most MAXIMUM_PARTS are outlined: the rest is specks, and the SEG holds it.
    """
    return next(((outlined, count) for _, outlined, count in outlines_by_slice(runs_of(mask[None]))), ((), 0))


def outlines_by_slice(runs: Runs) -> Iterator[tuple[int, tuple[Outline, ...], int]]:
    """Each slice that a mask touches, with what `outlines` says of it; all slices are traced at once."""
    count, labels = in_plane_parts(runs)
    sizes = np.bincount(labels, weights=runs.lengths, minlength=count).astype(np.int64)
    slices = runs.slices[np.unique(labels, return_index=True)[1]]  # of each part, ascending as parts do
    largest_first = np.lexsort((-sizes, slices))
    outlined = largest_first[np.arange(count) - np.searchsorted(slices, slices) < MAXIMUM_PARTS]
    by_slice: dict[int, list[Outline]] = {}
    for part, points in zip(outlined, _around(filled(_apart(runs, labels, outlined))), strict=True):
        by_slice.setdefault(int(slices[part]), []).append(Outline(_drawn(points), int(sizes[part])))
    parts_in = np.bincount(slices)
    for index, pieces in by_slice.items():
        yield index, tuple(pieces), int(parts_in[index])


def _apart(runs: Runs, labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> Runs:
    """The runs of the chosen parts, each part in a slice of its own, in the order of `chosen`."""
    places = np.full(int(labels.max(initial=-1)) + 1, -1)
    places[chosen] = np.arange(len(chosen))
    order = np.argsort(places[labels], kind="stable")
    order = order[places[labels[order]] >= 0]
    return replace(runs.only(order), slices=places[labels[order]])


def _around(runs: Runs) -> Iterator[NDArray[np.float64]]:
    """Corners of the one part of each slice, which has no holes: clockwise from its first pixel on, closed.

    A run ends at a wall to its left and one to its right. A wall that goes on in the next row has no corner there.
    Along a line between rows corners are joined in pairs from left to right, along a column of walls from top to
    bottom. Where two pixels touch by their corners alone there are two: that of the wall on the right comes first.
    """
    if not len(runs.starts):
        return
    height, width = int(runs.rows.max()) + 2, int(runs.ends.max()) + 1
    ends = [
        (((runs.slices * height + runs.rows + below) * width + columns) * 2) + left
        for columns, left in ((runs.starts, 1), (runs.ends, 0))
        for below in (0, 1)
    ]
    keys, times = np.unique(np.concatenate(ends), return_counts=True)
    above, left = np.divmod(keys[times == 1], 2)
    above, columns = np.divmod(above, width)
    slices, lines = np.divmod(above, height)
    walls = np.lexsort((lines, columns, left, slices)).reshape(-1, 2)
    across = np.empty(len(columns), np.int64)
    across[walls] = walls[:, ::-1]
    corners, other_end = np.column_stack([columns, lines]).astype(np.float64), across.tolist()
    for start in np.flatnonzero(np.diff(slices, prepend=-1)).tolist():
        order: list[int] = []
        at = start
        while not order or at != start:
            order += [at, at ^ 1]
            at = other_end[at ^ 1]
        yield corners[[*order, start]]


def _drawn(points: NDArray[np.float64]) -> NDArray[np.float64]:
    points = _thinned(points)
    if len(points) == _RECTANGLE:
        return np.insert(points, range(1, _RECTANGLE), (points[1:] + points[:-1]) / 2, axis=0)
    return points


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same outline with at most _MAXIMUM_POINTS: corners that lie nearest to it are left out (Douglas-Peucker)."""
    tolerance, kept = 0.5, points
    while len(kept) > _MAXIMUM_POINTS:
        kept = points[_corners(points, tolerance)]
        tolerance *= 2
    return kept


def _corners(points: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    keep = np.zeros(len(points), dtype=np.bool_)
    middle = len(points) // 2  # the ends are one point: two halves
    keep[[0, middle, -1]] = True
    stretches = [(0, middle), (middle, len(points) - 1)]
    while stretches:
        first, last = stretches.pop()
        if last - first < 2:
            continue
        chord = points[last] - points[first]
        offsets = points[first + 1 : last] - points[first]
        length = float(np.hypot(*chord))
        distances = (
            np.abs(chord[0] * offsets[:, 1] - chord[1] * offsets[:, 0]) / length
            if length
            else np.hypot(offsets[:, 0], offsets[:, 1])
        )
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            split = first + 1 + farthest
            keep[split] = True
            stretches += [(first, split), (split, last)]
    return keep
