"""A mask as runs: stretches of marked pixels within rows. Few numbers, from which its parts and its outline follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Runs", "filled", "in_plane_parts", "parts", "runs_of"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Runs of a mask `slices rows columns`, in the order of slice, row and column; each array has one entry a run.

    A run marks the columns from `starts` up to `ends`, which is not marked.
    """

    slices: Integers
    rows: Integers
    starts: Integers
    ends: Integers

    @property
    def lengths(self) -> Integers:
        return self.ends - self.starts

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The smallest box of slices, rows and columns that holds all runs; there is at least one."""
        return (
            slice(int(self.slices[0]), int(self.slices[-1]) + 1),
            slice(int(self.rows.min()), int(self.rows.max()) + 1),
            slice(int(self.starts.min()), int(self.ends.max())),
        )

    def only(self, chosen: NDArray[np.bool_] | Integers) -> Runs:
        """Some of the runs, by an index as numpy takes it."""
        return Runs(self.slices[chosen], self.rows[chosen], self.starts[chosen], self.ends[chosen])


def runs_of(mask: NDArray[np.bool_]) -> Runs:
    """The runs of a mask `slices rows columns`, slice by slice: no copy of the whole mask is made."""
    _, rows, columns = mask.shape
    padded = np.zeros(1 + rows * (columns + 1), dtype=np.bool_)
    grid = padded[1:].reshape(rows, columns + 1)  # an unmarked column ends each row
    slices, edges = [], []
    for index, plane in enumerate(mask):
        if plane.any():
            grid[:, :columns] = plane
            edges.append(np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2))
            slices.append(np.full(len(edges[-1]), index))
    first, last = np.concatenate([np.empty((0, 2), np.int64), *edges]).T
    at_row = first // (columns + 1)
    return Runs(
        slices=np.concatenate([np.empty(0, np.int64), *slices]),
        rows=at_row,
        starts=first - at_row * (columns + 1),
        ends=last - at_row * (columns + 1),
    )


def parts(runs: Runs) -> tuple[int, Integers]:
    """How many parts the mask has that hang together by voxel faces, and the part of each run, from 0."""
    return _connected(runs, across_slices=True)


def in_plane_parts(runs: Runs) -> tuple[int, Integers]:
    """The same for parts within a slice, that hang together by pixel edges."""
    return _connected(runs, across_slices=False)


def filled(runs: Runs) -> Runs:
    """The runs with the holes of each slice filled: unmarked pixels that no way over pixel edges leads out of."""
    goes_on = (np.diff(runs.slices) == 0) & (np.diff(runs.rows) == 0)  # the next run lies in the same row
    before = np.flatnonzero(goes_on)
    if not len(before):
        return runs
    gaps = Runs(runs.slices[before], runs.rows[before], runs.ends[before], runs.starts[before + 1])
    first, last = np.flatnonzero(np.append(True, ~goes_on)), np.flatnonzero(np.append(~goes_on, True))
    height = int(runs.rows.max()) + 2
    rows_with_runs, at_row = (runs.slices * height + runs.rows)[first], gaps.slices * height + gaps.rows
    enclosed = np.ones(len(before), np.bool_)
    for row in (at_row - 1, at_row + 1):
        place = np.minimum(np.searchsorted(rows_with_runs, row), len(first) - 1)
        within = (runs.starts[first[place]] <= gaps.starts) & (gaps.ends <= runs.ends[last[place]])
        enclosed &= (rows_with_runs[place] == row) & within
    count, labels = in_plane_parts(gaps)
    opened = np.zeros(count, np.bool_)
    opened[labels[~enclosed]] = True
    holes = before[~opened[labels]]
    left = runs.only(np.delete(np.arange(len(runs.starts)), holes + 1))
    return replace(left, ends=np.delete(runs.ends, holes))


def _connected(runs: Runs, *, across_slices: bool) -> tuple[int, Integers]:
    count = len(runs.starts)
    if count == 0:
        return 0, np.empty(0, np.int64)
    # Every pixel as one number; an unmarked row and column between slices and rows keep neighbours apart.
    row = int(runs.ends.max()) + 1
    plane = row * (int(runs.rows.max()) + 2)
    starts = runs.slices * plane + runs.rows * row + runs.starts
    ends = starts + runs.lengths
    steps = (row, plane) if across_slices else (row,)
    pairs = [np.empty((2, 0), np.int64), *(_overlaps(starts, ends, step) for step in steps)]
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    found, labels = connected_components(graph, directed=False)
    return int(found), labels.astype(np.int64)


def _overlaps(starts: Integers, ends: Integers, step: int) -> Integers:
    """Pairs `2 pairs` of runs of which the second, `step` further on, lies beside some of the first."""
    first = np.searchsorted(ends, starts + step, side="right")
    after = np.searchsorted(starts, ends + step, side="left")
    counts = np.maximum(after - first, 0)
    one = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([one, np.repeat(first, counts) + within])
