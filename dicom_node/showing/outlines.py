"""Outlines of a mask along the edges of its pixels: filled again by the even-odd rule they give the mask, holes too."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

__all__ = ["loops"]

Points = list[tuple[int, int]]


def loops(mask: NDArray[np.bool_]) -> list[Points]:
    """Closed outlines of a mask `rows columns`, each as its corners, column and row; the first is not repeated.

    The corner of the image is 0, 0. Corners of parts come clockwise, those of holes the other way round.
    """
    top, left = _first(np.asarray(mask.any(axis=1))), _first(np.asarray(mask.any(axis=0)))
    if top is None or left is None:
        return []
    cut = mask[top:, left:]
    ahead, starts = _edges(cut)
    return [[(column + left, row + top) for column, row in loop] for loop in _followed(ahead, starts)]


def _first(there: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(there)
    return int(found[0]) if found.size else None


def _edges(mask: NDArray[np.bool_]) -> tuple[dict[tuple[int, int], Points], Points]:
    """Vertical edges by where they begin, and the beginning and end of each horizontal one, one after the other."""
    padded = np.pad(mask.astype(np.int8), 1)
    across = np.diff(padded, axis=0)[:, 1:-1]  # a line between two rows: 1 has the mask below it, -1 above
    horizontal = [
        ((first, line), (end, line)) if sign > 0 else ((end, line), (first, line))
        for line, first, end, sign in _stretches(across)
    ]
    upright = np.diff(padded, axis=1)[1:-1].T  # 1 has the mask on its right
    ahead: dict[tuple[int, int], Points] = defaultdict(list)
    for column, first, end, sign in _stretches(upright):
        start, finish = ((column, end), (column, first)) if sign > 0 else ((column, first), (column, end))
        ahead[start].append(finish)
    return ahead, [point for edge in horizontal for point in edge]


def _stretches(lines: NDArray[np.int8]) -> list[tuple[int, int, int, int]]:
    """Stretches of one sign in each line: its number, where it begins and ends, and the sign."""
    padded = np.pad(lines, ((0, 0), (1, 1)))
    at_line, places = np.nonzero(np.diff(padded, axis=1))
    found = []
    for line, first, line_of_next, end in zip(
        at_line[:-1].tolist(), places[:-1].tolist(), at_line[1:].tolist(), places[1:].tolist(), strict=True
    ):
        if line == line_of_next and (sign := int(lines[line, first])):
            found.append((line, first, end, sign))
    return found


def _followed(ahead: dict[tuple[int, int], Points], edges: Points) -> list[Points]:
    """Horizontal and vertical edges joined end to beginning until they close."""
    onward: dict[tuple[int, int], Points] = defaultdict(list)
    for start, finish in zip(edges[::2], edges[1::2], strict=True):
        onward[start].append(finish)
    found = []
    for start in edges[::2]:
        while onward[start]:
            loop, at = [], start
            while onward[at]:
                corner = onward[at].pop()
                loop += [at, corner]
                at = ahead[corner].pop()
                if at == start:
                    break
            found.append(loop)
    return found
