"""Outlines filled again are the mask, voxel for voxel, holes and touching corners included."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.showing.outlines import loops


def _refilled(outlines: list[list[tuple[int, int]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """By the even-odd rule: left of a pixel an odd number of walls."""
    walls = np.zeros((shape[0], shape[1] + 1), dtype=int)
    for loop in outlines:
        for (column, row), (next_column, next_row) in zip(loop, loop[1:] + loop[:1], strict=True):
            assert (column == next_column) != (row == next_row), "an edge goes along a row or a column"
            if column == next_column:
                walls[min(row, next_row) : max(row, next_row), column] += 1
    return (np.cumsum(walls, axis=1)[:, :-1] % 2).astype(bool)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_any_mask_comes_back(share: float) -> None:
    mask = np.random.default_rng(17).random((61, 43)) < share
    np.testing.assert_array_equal(_refilled(loops(mask), (61, 43)), mask)


def test_a_ring_has_an_outline_outside_and_one_inside() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    outside, inside = sorted(loops(mask), key=len, reverse=True) if len(loops(mask)) == 2 else ([], [])
    assert sorted(outside) in ([(2, 2), (2, 7), (7, 2), (7, 7)], [(4, 4), (4, 5), (5, 4), (5, 5)])
    np.testing.assert_array_equal(_refilled([outside, inside], (9, 9)), mask)


@pytest.mark.parametrize("mask", [np.zeros((4, 5), dtype=bool), np.ones((4, 5), dtype=bool)])
def test_nothing_and_everything(mask: NDArray[np.bool_]) -> None:
    assert len(loops(mask)) == int(mask.all())
    np.testing.assert_array_equal(_refilled(loops(mask), (4, 5)), mask)
