"""Slices to squares and masks back again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inference.medseg_r.config import Preprocessing
from inference.medseg_r.transform import (
    SIDE,
    from_square,
    grounding_square,
    standardise,
    to_square,
)


@pytest.mark.parametrize("shape", [(256, 256), (512, 512), (100, 40), (40, 100), (300, 257), (9, 200)])
def test_a_mask_survives_the_way_to_the_square_and_back(shape: tuple[int, int]) -> None:
    rows, columns = shape
    true = np.zeros(shape, dtype=np.bool_)
    true[rows // 5 : rows // 2 + 1, columns // 3 : 4 * columns // 5] = True
    square, extent = to_square(true.astype(np.uint8) * 255)
    logits = F.avg_pool2d(torch.from_numpy(square / 255.0 - 0.5).float()[None, None], 2)[:, 0]
    back = from_square(logits, extent, rows, columns, 0.0)
    assert back.shape == (1, rows, columns)
    overlap = 2 * (back[0] & true).sum() / (back[0].sum() + true.sum())
    assert overlap > (0.95 if min(shape) > 20 else 0.8)
    rows_drawn, columns_drawn = np.nonzero(back[0])
    rows_true, columns_true = np.nonzero(true)
    assert abs(rows_drawn.mean() - rows_true.mean()) < 0.02 * max(shape)
    assert abs(columns_drawn.mean() - columns_true.mean()) < 0.02 * max(shape)


@pytest.mark.parametrize("preprocessing", Preprocessing)
@pytest.mark.parametrize("shape", [(300, 500), (512, 100), (64, 64)])
def test_a_mask_survives_every_preprocessing(preprocessing: Preprocessing, shape: tuple[int, int]) -> None:
    rows, columns = shape
    true = np.zeros(shape, dtype=np.bool_)
    true[rows // 5 : rows // 2 + 1, columns // 3 : 4 * columns // 5] = True
    image = np.repeat(true[..., None], 3, axis=2).astype(np.uint8) * 255
    square, extent = grounding_square(image, preprocessing, 320)
    assert square.shape == (320, 320, 3)
    assert square.dtype == np.float32
    middle = (square[: extent[0], : extent[1]].min() + square.max()) / 2
    logits = torch.from_numpy(square[..., 1] - middle)[None]
    back = from_square(F.avg_pool2d(logits[None], 4)[0], extent, rows, columns, 0.0, 320)
    assert 2 * (back[0] & true).sum() / (back[0].sum() + true.sum()) > 0.95


def test_sam_pads_after_its_means_and_medsam_stretches() -> None:
    image = np.random.default_rng(0).integers(10, 200, (50, 100, 3), dtype=np.uint8)
    sam, extent = grounding_square(image, Preprocessing.SAM, 128)
    assert extent == (64, 128)
    assert (sam[64:] == 0).all()
    grey = np.full((4, 4, 3), 128, dtype=np.uint8)
    seen = grounding_square(grey, Preprocessing.SAM, 4)[0][0, 0]
    assert seen.tolist() == pytest.approx([(128 - 123.675) / 58.395, (128 - 116.28) / 57.12, (128 - 103.53) / 57.375])
    medsam, extent = grounding_square(image, Preprocessing.MEDSAM, 128)
    assert extent == (128, 128)
    assert (medsam.min(), medsam.max()) == (0.0, 1.0)
    assert (grounding_square(grey, Preprocessing.MEDSAM, 4)[0] == 0).all()


def test_padding_stays_below_and_to_the_right() -> None:
    square, extent = to_square(np.full((50, 100, 3), 200, dtype=np.uint8))
    assert square.shape == (SIDE, SIDE, 3)
    assert extent == (128, 256)
    assert (square[:128] == 200).all()
    assert (square[128:] == 0).all()


def test_a_blank_image_standardises_to_zeros() -> None:
    assert (standardise(np.full((8, 8, 3), 77, dtype=np.uint8)) == 0).all()
