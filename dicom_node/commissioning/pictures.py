"""Pictures for the commissioning report: slices as sent and as they came back, with the sides of the patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation

from dicom_node.commissioning.body import BodyImage, BodySeries
from dicom_node.commissioning.placement import edge_letters
from dicom_node.commissioning.points import masks_by_image

__all__ = ["Pair", "capture_page", "pairs_of"]

_WIDE, _FINE = 420, 3
_MARKED = (64, 224, 255)


class Pair:
    """A slice as it was sent (`sent`) and as it came back with what was marked on it (`back`, None if it did not)."""

    def __init__(self, title: str, sent: Image.Image, back: Image.Image | None) -> None:
        self.title, self.sent, self.back = title, sent, back


def pairs_of(
    series: BodySeries, drawn: Sequence[Dataset], returned: Mapping[str, Dataset], most: int = 3
) -> list[Pair]:
    """The few slices of a series that show most marks, as they are numbered. `drawn`: SEGs and reports that came."""
    images = {one.sop_instance_uid: returned[one.sop_instance_uid] for one in series.images
              if one.sop_instance_uid in returned}  # fmt: skip
    masks = masks_by_image(drawn, images)
    pairs = []
    for image in sorted(_telling(series.images, most), key=lambda image: image.number):
        sent = pydicom.dcmread(image.path)
        back = images.get(image.sop_instance_uid)
        came = None if back is None else _picture(back, masks.get(image.sop_instance_uid))
        title = f"image {image.number}: {', '.join(image.marked)}"
        pairs.append(Pair(title, _picture(sent, None), came))
    return pairs


def capture_page(results: Sequence[Dataset]) -> Image.Image | None:
    """The last page of the secondary captures that came back, which shows a finding; None where there is none."""
    captures = [one for one in results if one.Modality == "OT" and "PixelData" in one]
    if not captures:
        return None
    pixels = np.asarray(max(captures, key=lambda one: int(one.InstanceNumber)).pixel_array, dtype=np.uint8)
    return Image.fromarray(pixels if pixels.ndim == 3 else pixels[-1])


def _telling(images: Sequence[BodyImage], most: int) -> list[BodyImage]:
    """Images that together show as many marks as `most` of them can, those with much of them first."""
    chosen: list[BodyImage] = []
    shown: set[str] = set()
    while len(chosen) < most:
        news = [_not_yet(image, shown) for image in images]
        best = images[news.index(max(news))]
        if max(news)[0] == 0:
            break
        chosen.append(best)
        shown |= set(best.marked)
    return chosen


def _not_yet(image: BodyImage, shown: set[str]) -> tuple[int, int]:
    """How many marks an image shows beside those shown, and how many pixels of them."""
    new = [pixels for name, pixels in image.marked.items() if name not in shown]
    return len(new), sum(map(len, new))


def _picture(image: Dataset, mask: NDArray[np.bool_] | None) -> Image.Image:
    """An image in its true shape, what is marked with a bright rim, and letters at its four edges."""
    grey = _grey(image)
    spacing = image.get("PixelSpacing") or image.get("ImagerPixelSpacing") or (1.0, 1.0)
    tall = grey.shape[0] * float(spacing[0]) / (grey.shape[1] * float(spacing[1]))
    size = _WIDE, max(1, round(_WIDE * tall))
    picture = Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    if mask is not None:
        fine = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 127
        rim = binary_dilation(fine, iterations=_FINE) & ~fine
        pixels = np.array(picture)
        pixels[rim] = _MARKED
        pixels[fine] = (0.45 * pixels[fine] + 0.55 * np.array(_MARKED)).astype(np.uint8)
        picture = Image.fromarray(pixels)
    letters = edge_letters(image)
    if letters is not None:
        _draw_letters(picture, *letters)
    return picture


def _grey(image: Dataset) -> NDArray[np.uint8]:
    values = np.asarray(image.pixel_array, dtype=np.float64)
    if image.Modality == "CT":
        slope, intercept = float(image.get("RescaleSlope") or 1), float(image.get("RescaleIntercept") or 0)
        values, low, high = values * slope + intercept, -900.0, 1300.0
    else:
        low, high = 0.0, float(max(values.max(), 1))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1) * 255, dtype=np.uint8)


_OPPOSITE = str.maketrans("LRPAHF", "RLAPFH")


def _draw_letters(picture: Image.Image, right: str, bottom: str) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(18, picture.height // 10))
    wide, tall = picture.size
    for letter, at, anchor in (
        (right, (wide - 10, tall / 2), "rm"),
        (right.translate(_OPPOSITE), (10, tall / 2), "lm"),
        (bottom, (wide / 2, tall - 8), "mb"),
        (bottom.translate(_OPPOSITE), (wide / 2, 8), "mt"),
    ):
        draw.text(at, letter, fill="#ffd54f", font=font, anchor=anchor, stroke_width=3, stroke_fill="#000000")
