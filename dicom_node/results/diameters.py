"""Long and short axis of a part of a mask: two lines in one slice, with their ends in image coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from dicom_node.results.runs import Runs, in_plane_parts

__all__ = ["Diameters", "Line", "diameters"]

_SAME = 1e-9
"""Relative difference of lengths that rounding alone makes."""

_DIRECTIONS = 24
"""In how many directions a piece is measured to see whether its longest line can be the longest of all."""

Point = tuple[float, float]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A measured line. `slice_index`: from 0. `start`, `end`: column and row; the corner of the image is 0, 0, the
    centre of its first pixel 0.5, 0.5 (PS3.3 C.18.6.1.2)."""

    slice_index: int
    start: Point
    end: Point
    length_mm: float


@dataclass(frozen=True)
class Diameters:
    """The axes of a part of a mask.

    `long`: the longest line between two points of the outline of one in-plane piece (pixels that hang together by
    edges), outer pixel edges included, in any slice. `short`: the longest line across that piece's convex hull at right
    angles to the long axis. Of several longest lines the one with the longest short axis counts, then the first.
    """

    long: Line
    short: Line


def diameters(part: Runs, spacing_mm: tuple[float, float]) -> Diameters:
    """The axes of a part, which has at least one run. `spacing_mm`: between rows, between columns."""
    scale = np.array([spacing_mm[1], spacing_mm[0]])  # of column, row
    pieces, limits_mm = _pieces(part, scale)
    best: Diameters | None = None
    for index in np.argsort(-limits_mm, kind="stable"):
        if best is not None and limits_mm[index] < best.long.length_mm * (1 - _SAME):
            break  # no piece that is left can be longer
        piece = pieces[index]
        measured = _axes(_hull(piece) * scale, scale, int(piece.slices[0]))
        if best is None or _order(measured, best) < 0:
            best = measured
    assert best is not None
    return best


def _order(one: Diameters, other: Diameters) -> float:
    """Below 0: `one` comes before `other`."""
    for first, second in ((one.long, other.long), (one.short, other.short)):
        if abs(first.length_mm - second.length_mm) > _SAME * max(first.length_mm, second.length_mm):
            return second.length_mm - first.length_mm
    return one.long.slice_index - other.long.slice_index


def _pieces(part: Runs, scale: Vector) -> tuple[list[Runs], Vector]:
    """The in-plane pieces of a part, and a length that each one's longest line does not exceed, mm."""
    count, labels = in_plane_parts(part)
    order = np.argsort(labels, kind="stable")
    ordered = part.only(order)
    firsts = np.searchsorted(labels[order], np.arange(count))
    bounds = [*firsts.tolist(), len(order)]
    pieces = [ordered.only(np.arange(first, after)) for first, after in pairwise(bounds)]
    return pieces, _widths_mm(ordered, firsts, scale) / np.cos(np.pi / (2 * _DIRECTIONS))


def _widths_mm(runs: Runs, firsts: NDArray[np.int64], scale: Vector) -> Vector:
    """How wide each piece is in the direction, of some, in which it is widest. `firsts`: each one's first run."""
    left, right = runs.starts * scale[0], runs.ends * scale[0]
    above, below = runs.rows * scale[1], (runs.rows + 1) * scale[1]
    widest = np.zeros(len(firsts))
    for angle in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
        along_row, down = np.cos(angle), np.sin(angle)
        near, far = (left, right) if along_row >= 0 else (right, left)
        high = np.maximum.reduceat(along_row * far + down * below, firsts)
        low = np.minimum.reduceat(along_row * near + down * above, firsts)
        widest = np.maximum(widest, high - low)
    return widest


def _hull(piece: Runs) -> NDArray[np.int64]:
    """Corners `points 2`, column and row, of a piece's convex hull."""
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(piece.rows)) + 1])
    start, end = np.minimum.reduceat(piece.starts, firsts), np.maximum.reduceat(piece.ends, firsts)
    # A piece hangs together, so its rows follow each other; a line between two of them belongs to both.
    lines = np.arange(piece.rows[0], piece.rows[-1] + 2)
    left = np.minimum(np.append(start, start[-1]), np.insert(start, 0, start[0]))
    right = np.maximum(np.append(end, end[-1]), np.insert(end, 0, end[0]))
    mirrored = _leftmost(np.stack([-right, lines], axis=1))
    return np.concatenate([_leftmost(np.stack([left, lines], axis=1)), mirrored * (-1, 1)])


def _leftmost(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some points on lines below each other, one on each, at which their convex hull turns on the left."""
    while True:
        chord, offset = points[2:] - points[:-2], points[1:-1] - points[:-2]
        inside = offset[:, 0] * chord[:, 1] >= chord[:, 0] * offset[:, 1]
        if not inside.any():
            return points
        points = points[~np.concatenate([[False], inside, [False]])]


def _axes(points: Vector, scale: Vector, slice_index: int) -> Diameters:
    """The axes of one piece. `points`: corners of its convex hull, mm."""
    lengths = squareform(pdist(points))
    longest = np.argwhere(np.triu(lengths) >= lengths.max() * (1 - _SAME))
    long_ends: Sequence[Vector] = ()
    short_ends: Sequence[Vector] = ()
    short_mm = -1.0
    for start, end in longest:
        across = _longest_across(points, start, end)
        length = float(np.linalg.norm(across[1] - across[0]))
        if length > short_mm * (1 + _SAME):
            long_ends, short_ends, short_mm = (points[start], points[end]), across, length
    return Diameters(_line(long_ends, scale, slice_index), _line(short_ends, scale, slice_index))


def _longest_across(points: Vector, start: int, end: int) -> tuple[Vector, Vector]:
    """Ends of the longest line across a convex hull at right angles to its longest line, which divides it in two.

    The width on such a line changes evenly between corners, so the widest line goes through one of them.
    """
    chord = points[end] - points[start]
    along = chord / np.linalg.norm(chord)
    aside = np.array([-along[1], along[0]])
    offsets = points - points[start]
    t, u = offsets @ along, offsets @ aside
    u[[start, end]] = 0.0
    sides = []
    for sign in (-1, 1):
        side = u * sign > 0
        side[[start, end]] = True
        order = np.argsort(t[side], kind="stable")
        sides.append(np.interp(t, t[side][order], u[side][order]))
    lower, upper = sides
    widest = int(np.argmax(upper - lower))
    foot = points[start] + along * t[widest]
    return foot + aside * lower[widest], foot + aside * upper[widest]


def _line(ends: Sequence[Vector], scale: Vector, slice_index: int) -> Line:
    (x1, y1), (x2, y2) = (tuple(float(value) for value in end / scale) for end in ends)
    return Line(slice_index, (x1, y1), (x2, y2), float(np.linalg.norm(ends[1] - ends[0])))
