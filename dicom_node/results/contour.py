"""Outlines of a mask in image coordinates, for SCOORD content items (PS3.3 C.18.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["MAXIMUM_PARTS", "Outline", "outlines"]

MAXIMUM_PARTS = 20
_MAXIMUM_POINTS = 4000
"""Graphic Data is FL: Explicit VR Little Endian holds at most 8191 points of it (PS3.5 7.1.2)."""
_RECTANGLE = 5
"""OHIF takes a polyline of so many points for its rectangle tool, which then hides all others: sides get a middle."""
_ALONG, _DOWN, _BACK, _UP = (1, 0), (0, 1), (-1, 0), (0, -1)


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
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-sizes, kind="stable")[:MAXIMUM_PARTS]
    boxes = ndimage.find_objects(parts)
    outlined = []
    for index in largest:
        rows, columns = boxes[index]
        part = ndimage.binary_fill_holes(parts[rows, columns] == index + 1)
        points = _thinned(_around(np.pad(part, 1)) - 1)
        if len(points) == _RECTANGLE:
            points = np.insert(points, range(1, _RECTANGLE), (points[1:] + points[:-1]) / 2, axis=0)
        outlined.append(Outline(points + np.array([columns.start, rows.start]), int(sizes[index])))
    return tuple(outlined), int(count)


def _around(part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Corners of one part without holes, clockwise, closed. `part` has a margin of one pixel."""
    row, column = (int(value) for value in np.argwhere(part)[0])
    start = column, row
    corners = [start]
    (x, y), step = start, _ALONG
    while True:
        x, y = x + step[0], y + step[1]
        turned = _turn(part, x, y, step)
        if (x, y) == start and turned == _ALONG:
            break
        if turned != step:
            corners.append((x, y))
            step = turned
    return np.array([*corners, start], dtype=np.float64)


def _turn(part: NDArray[np.bool_], x: int, y: int, step: tuple[int, int]) -> tuple[int, int]:
    """Where to go at corner x, y with the part on the right hand: right where it ends, left where it widens."""
    ahead = {
        _ALONG: ((y - 1, x), (y, x)),
        _DOWN: ((y, x), (y, x - 1)),
        _BACK: ((y, x - 1), (y - 1, x - 1)),
        _UP: ((y - 1, x - 1), (y - 1, x)),
    }
    left, right = ahead[step]
    if not part[right]:
        return -step[1], step[0]
    return (step[1], -step[0]) if part[left] else step


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
