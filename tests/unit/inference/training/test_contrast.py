"""Random contrast and crops: what they change, and what stays true of an image and its labels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.training.augment import body_crop, crop_beside, displayed, recast
from inference.training.contrast import recontrast, tissue_curve, window_curve


def _picture() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A body of three tissues in black air, with a label on one of them, in the upper left of a square."""
    image, masks = np.zeros((256, 256, 3), np.uint8), np.zeros((256, 256), np.uint16)
    image[60:180, 50:190] = 110
    image[80:120, 70:110] = 140
    image[130:150, 120:160] = 220
    masks[80:120, 70:110] = 4
    return image, masks


def test_a_curve_keeps_shapes_and_a_photograph_its_colours() -> None:
    image, _ = _picture()
    random = np.random.default_rng(0)
    changed = [recontrast(image, "btcv", random) for _ in range(60)]
    assert all((one[..., 0] == one[..., 2]).all() and one.dtype == np.uint8 for one in changed)
    assert len({one.tobytes() for one in changed}) == 60
    assert any(one[90, 90, 0] > one[140, 140, 0] for one in changed)  # a tissue that was darker is brighter now
    assert recontrast(image, "kvasir_seg", random) is image


def test_what_is_brighter_stays_brighter_where_that_is_all_there_is() -> None:
    image, _ = _picture()
    random = np.random.default_rng(1)
    for _ in range(20):
        assert (np.diff(tissue_curve(image[..., 0], random, rising=True)) >= -1e-9).all()
        window = window_curve(image[..., 0], random)
        assert window.min() >= 0 and window.max() <= 255 and (np.diff(window) >= 0).all()
    assert (tissue_curve(np.zeros((8, 8), np.uint8), random, rising=False) == np.arange(256)).all()


def test_a_body_is_cut_out_with_its_labels() -> None:
    image, masks = _picture()
    cut, bits = body_crop(image, masks, np.random.default_rng(0))
    assert cut.shape[:2] == bits.shape and cut.shape[0] < 160 and cut.shape[1] < 180
    assert (bits == 4).sum() == (masks == 4).sum() and (cut[bits == 4] == 140).all()
    nothing = np.zeros_like(image)
    assert body_crop(nothing, masks, np.random.default_rng(0))[0] is nothing


def test_beside_a_finding_there_is_none_and_both_cuts_are_of_one_size() -> None:
    image, masks = _picture()
    random = np.random.default_rng(0)
    cuts = [crop_beside(image, masks, random) for _ in range(60)]
    empty = {bits.shape for _, bits in cuts if not bits.any()}
    assert empty == {bits.shape for _, bits in cuts if bits.any()} and len(empty) == 1


def test_an_array_of_right_and_front_is_shown_with_the_front_above_and_the_right_at_the_left() -> None:
    values = np.zeros((3, 4), np.uint8)  # x y
    values[2, 3] = 9  # right and front
    assert displayed(values).shape == (4, 3) and displayed(values)[0, 0] == 9


@pytest.mark.parametrize("dataset", ["btcv", "hippocampus", "busi", "kvasir_seg"])
def test_recast_squares_are_squares_again_and_labels_follow(dataset: str) -> None:
    image, masks = _picture()
    image[:, 200:], masks[:, 200:] = 0, 0
    random = np.random.default_rng(3)
    for _ in range(8):
        seen, bits = recast(image, masks, (256, 200), dataset, random, contrast=0.0)
        assert seen.shape == image.shape and bits.shape == masks.shape and set(np.unique(bits)) <= {0, 4}
        assert (
            abs(float(np.median(seen[..., 0][bits == 4])) - 140) < 2
            if bits.any()
            else dataset in ("busi", "kvasir_seg")
        )
