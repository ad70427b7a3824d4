"""Random views of one training image with its masks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inference.medseg_qa.labels import MIRRORED

__all__ = ["augment", "rewindow", "shift_and_turn"]


def augment(
    image: NDArray[np.uint8], masks: NDArray[np.uint16], dataset: str, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Turn, scale, shift and rewindow an image (`256 256 3`) and its label bits (`256 256`) alike.

    Mirrored left to right only where no label of the set has a side.
    """
    if dataset in MIRRORED and random.random() < 0.5:
        image, masks = image[:, ::-1], masks[:, ::-1]
    if dataset == "kvasir_seg" and random.random() < 0.5:
        image, masks = image[::-1], masks[::-1]
    if random.random() < 0.9:
        image, masks = _affine(image, masks, random)
    return rewindow(image, random), masks


def shift_and_turn(
    image: NDArray[np.uint8], masks: NDArray[np.uint16], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Move and rewindow an image and its label bits; so little that what was said of its places stays true."""
    image, masks = _affine(image, masks, random, degrees=8, scale=0.08, stretch=0.0, shift=0.04)
    return rewindow(image, random), masks


def _affine(
    image: NDArray[np.uint8],
    masks: NDArray[np.uint16],
    random: np.random.Generator,
    *,
    degrees: float = 20,
    scale: float = 0.3,
    stretch: float = 0.12,
    shift: float = 0.1,
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    side = image.shape[0]
    angle = math.radians(random.uniform(-degrees, degrees))
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix *= math.exp(random.uniform(-scale, scale))
    matrix[:, 0] *= math.exp(random.uniform(-stretch, stretch))  # wider or narrower
    centre = np.full(2, (side - 1) / 2)
    offset = centre + random.uniform(-shift, shift, size=2) * side - matrix @ centre
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])  # x, y of the source for x, y of the result
    turned = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    labels = Image.fromarray(masks.astype(np.int32)).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST
    )
    return np.asarray(turned), np.asarray(labels).astype(np.uint16)


def rewindow(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Show an image with another brightness, contrast and gamma, now and then blurred; uint8, shape kept."""
    levels = np.arange(256) / 255
    curve = levels ** math.exp(random.uniform(-0.35, 0.35))
    curve = (curve - 0.5) * math.exp(random.uniform(-0.25, 0.25)) + 0.5 + random.uniform(-0.1, 0.1)
    seen: NDArray[np.uint8] = (curve.clip(0, 1) * 255).astype(np.uint8)[image]
    if random.random() < 0.15:
        seen = ndimage.uniform_filter(seen, size=(3, 3, 1))
    return seen
