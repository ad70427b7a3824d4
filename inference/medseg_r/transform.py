"""From pictures (`inference/pictures.py`) to the squares the model sees, and from its masks back to them."""

from __future__ import annotations

from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from inference.medseg_r.config import Preprocessing

__all__ = [
    "SIDE",
    "Extent",
    "from_square",
    "grounding_square",
    "standardise",
    "to_square",
]

SIDE = 256
"""Rows and columns of the square that `tiny` sees."""

Extent = tuple[int, int]
"""Rows and columns of the image inside its square; the rest, below and to the right, is padding."""

_SAM_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)  # segment_anything's build_sam.py
_SAM_DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def to_square(
    image: NDArray[np.uint8], side: int = SIDE, *, nearest: bool = False, stretched: bool = False
) -> tuple[NDArray[np.uint8], Extent]:
    """Scale the longest side to `side` and pad with zeros below and to the right; `rows columns [3]`, uint8.

    `stretched`: both sides are scaled to `side`, and there is no padding.
    """
    rows, columns = image.shape[:2]
    scale = side / max(rows, columns)
    extent = (side, side) if stretched else (max(1, round(rows * scale)), max(1, round(columns * scale)))
    if extent != (rows, columns):
        method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
        image = np.asarray(Image.fromarray(image).resize((extent[1], extent[0]), method))
    square = np.zeros((side, side, *image.shape[2:]), dtype=np.uint8)
    square[: extent[0], : extent[1]] = image
    return square, extent


def grounding_square(
    image: NDArray[np.uint8], preprocessing: Preprocessing, side: int = SIDE
) -> tuple[NDArray[np.float32], Extent]:
    """Return what pixel-level grounding sees of uint8 `rows columns 3`: float32 `side side 3`, and its extent."""
    square, extent = to_square(image, side, stretched=preprocessing.stretched)
    match preprocessing:
        case Preprocessing.STANDARDISED:
            return standardise(square), extent
        case Preprocessing.SAM:
            normal = np.zeros(square.shape, dtype=np.float32)
            rows, columns = extent
            normal[:rows, :columns] = (square[:rows, :columns] - _SAM_MEAN) / _SAM_DEVIATION
            return normal, extent
        case Preprocessing.MEDSAM:
            values = square.astype(np.float32)
            low, high = values.min(), values.max()
            return (values - low) / max(float(high - low), 1.0), extent
        case _:
            assert_never(preprocessing)


def from_square(
    logits: torch.Tensor, extent: Extent, rows: int, columns: int, threshold: float, side: int = SIDE
) -> NDArray[np.bool_]:
    """The inverse of `to_square` for mask logits: `masks size size` of a square to bool `masks rows columns`.

    Padding is cut off, never scaled into the image.
    """
    square = F.interpolate(logits[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
    inside = square[:, :, : extent[0], : extent[1]]
    if extent != (rows, columns):
        inside = F.interpolate(inside, size=(rows, columns), mode="bilinear", align_corners=False)
    mask: NDArray[np.bool_] = (inside[:, 0] > threshold).cpu().numpy()
    return mask


def standardise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image with mean 0 and deviation 1 over all its pixels and channels; float32, shape kept."""
    values = image.astype(np.float32)
    result: NDArray[np.float32] = (values - values.mean()) / max(float(values.std()), 1.0)
    return result
