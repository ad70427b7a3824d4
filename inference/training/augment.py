"""Random views of one training image with its masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inference.medseg_qa.labels import MIRRORED
from inference.medseg_r.transform import Extent, to_square
from inference.training.contrast import recontrast

__all__ = ["augment", "body_crop", "crop_beside", "displayed", "recast", "rewindow", "shift_and_turn"]

_BODY_CROPPED = frozenset({"acdc", "btcv"})  # sets with air around the body, which serving crops off
_ARRAY_ORDER = frozenset({"hippocampus"})  # packed as the array lies; serving shows slices as a person sees them
_ONE_LABEL = frozenset({"busi", "kvasir_seg"})  # sets where a part of an image without its label is an image without
_CROPPED = 0.4  # of the images that have air around the body
_BESIDE = 0.15  # of the images whose only label can be cut off
_BODY_LEVEL = 20  # of 255; the body is brighter
_LEAST_BODY, _MOST_BODY = 0.25, 0.95  # of a side: less is no body, more has nothing around it


def recast(
    image: NDArray[np.uint8],
    masks: NDArray[np.uint16],
    extent: Extent,
    dataset: str,
    random: np.random.Generator,
    *,
    contrast: float = 0.5,
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Show a packed square and its label bits in another contrast, cut and turned as serving may; shapes kept.

    `extent`: rows and columns of the image inside its square; the rest stays black, as it is when served.
    `contrast`: the share of the images that get another one.
    """
    rows, columns = (int(length) for length in extent)
    inside, bits = image[:rows, :columns], masks[:rows, :columns]
    if dataset in _BODY_CROPPED and random.random() < _CROPPED:
        inside, bits = body_crop(inside, bits, random)
    if dataset in _ONE_LABEL and random.random() < _BESIDE:
        inside, bits = crop_beside(inside, bits, random)
    if dataset in _ARRAY_ORDER and random.random() < 0.5:
        inside, bits = displayed(inside), displayed(bits)
    if random.random() < contrast:
        inside = recontrast(inside, dataset, random)
    seen, _ = to_square(np.ascontiguousarray(inside), image.shape[0])
    labels = np.zeros_like(masks)
    for bit in range(16):
        plane = (bits >> np.uint16(bit) & np.uint16(1)).astype(np.uint8)
        if plane.any():
            labels |= to_square(plane, image.shape[0], nearest=True)[0].astype(np.uint16) << np.uint16(bit)
    return seen, labels


def body_crop(
    image: NDArray[np.uint8], masks: NDArray[np.uint16], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Cut an image to the body and a random margin of up to a tenth; as it is where it shows nothing around a body."""
    parts, count = ndimage.label(ndimage.uniform_filter(image[..., 0], 3) > _BODY_LEVEL)
    if not count:
        return image, masks
    largest = 1 + int(np.argmax(np.bincount(parts.reshape(-1))[1:]))
    [box] = ndimage.find_objects((parts == largest).view(np.uint8))
    shares = [(side.stop - side.start) / length for side, length in zip(box, parts.shape, strict=True)]
    if min(shares) < _LEAST_BODY or min(shares) > _MOST_BODY:
        return image, masks
    cut = []
    for side, length in zip(box, parts.shape, strict=True):
        before, after = (random.uniform(0, 0.1, 2) * (side.stop - side.start)).astype(int)
        cut.append(slice(max(0, side.start - int(before)), min(length, side.stop + int(after))))
    return image[tuple(cut)], masks[tuple(cut)]


def crop_beside(
    image: NDArray[np.uint8], masks: NDArray[np.uint16], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Cut off all that is marked, and keep the larger part beside it; or as much, with what is marked in it.

    Both ways by turns: otherwise the size of an image would tell that nothing is there.
    """
    [box] = ndimage.find_objects((masks > 0).astype(np.uint8)) or [None]
    if box is None:
        return image, masks
    room = []  # pixels beside the mask, and the slices that keep them
    for axis, (side, length) in enumerate(zip(box, masks.shape, strict=True)):
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(0, side.start), slice(side.stop, length)
        room += [(side.start / length, axis, tuple(before)), ((length - side.stop) / length, axis, tuple(after))]
    share, axis, beside = max(room, key=lambda one: one[0])
    if share < 0.3:
        return image, masks
    if random.random() < 0.5:
        return image[beside], masks[beside]
    kept = round(share * masks.shape[axis])
    first = max(0, min(box[axis].start - int(random.integers(kept)), masks.shape[axis] - kept))
    within = [slice(None)] * 2
    within[axis] = slice(first, first + kept)
    return image[tuple(within)], masks[tuple(within)]


def displayed(values: NDArray[Any]) -> NDArray[Any]:
    """Turn a slice `x y ...` of an array whose axes point to the patient's right and front to display orientation."""
    return values.swapaxes(0, 1)[::-1, ::-1]


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
