"""Masks as they are kept: single slices and counts without unpacking the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import ResultRefused
from dicom_node.results.mask_file import boxed, key_slice, read_boxed_masks, write_masks


def test_slices_and_counts_are_those_of_the_mask(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    mask = np.zeros((7, 13, 11), dtype=bool)
    mask[2:5, 3:10, 1:8] = random.random((3, 7, 7)) < 0.5
    write_masks(tmp_path / "masks.npz", [mask, np.zeros_like(mask)], mask.shape)
    kept, empty = read_boxed_masks(tmp_path / "masks.npz")
    np.testing.assert_array_equal(np.stack([kept.slice(index) for index in range(7)]), mask)
    np.testing.assert_array_equal(kept.counts(), mask.sum(axis=(1, 2)))
    np.testing.assert_array_equal(kept.whole, mask)
    assert not empty.counts().any()
    assert not empty.slice(3).any()


def test_the_key_slice_is_the_middle_of_the_largest() -> None:
    assert key_slice(np.array([0, 5, 5, 5, 1])) == 2
    assert key_slice(np.zeros(4, dtype=np.int64)) is None


def test_a_box_beyond_the_grid_is_refused(tmp_path: Path) -> None:
    kept = boxed(np.ones((2, 3, 4), dtype=bool))
    arrays = {"shape": np.array([1, 3, 4]), "box_0": np.array(kept.box), "bits_0": kept.bits}
    with (tmp_path / "masks.npz").open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    with pytest.raises(ResultRefused, match="is no file of masks"):
        read_boxed_masks(tmp_path / "masks.npz")
