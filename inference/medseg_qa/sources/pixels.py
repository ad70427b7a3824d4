"""Pixels and masks as the adapters of sources read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.medseg_qa.sources.types import Pixels, Problem, Skip
from inference.pictures import PictureView

__all__ = [
    "as_uint8",
    "labelled_slices",
    "pictured",
    "read_image",
    "read_label_mask",
    "read_masks",
    "split_labels",
]


def as_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey values as 8 bit, scaled between their percentiles 0.5 and 99.5 where they are not that already."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.asarray(scaled, dtype=np.uint8)


def pictured(view: PictureView, plane: NDArray[Any], masks: Mapping[str, NDArray[np.bool_]]) -> Pixels:
    """Return a slice as a model will be shown it, with its masks; `view`: of the whole volume."""
    picture = view.picture(plane)
    grey = picture if view.limits is None else np.ascontiguousarray(picture[..., 0])
    return Pixels(grey, {label: np.ascontiguousarray(view.cut(mask)) for label, mask in masks.items()})


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels of a PNG or JPEG, grey `rows columns` or RGB `rows columns 3`; raises Skip."""
    with _opened(path) as image:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F"))
        if image.mode.startswith(("I", "F")):
            return as_uint8(np.asarray(image, dtype=np.float64))
        return np.array(image.convert("L" if grey else "RGB"), dtype=np.uint8)


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise Skip(Problem.MISSING_FILE, str(path.name))
    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Skip(Problem.BROKEN_IMAGE, f"{path.name}: {error}") from error
    return image


def read_label_mask(path: Path, labels: Mapping[str, str]) -> dict[str, NDArray[np.bool_]]:
    """Masks of a PNG that holds label values; raises Skip if it cannot be read."""
    with _opened(path) as image:
        values = np.asarray(image if image.mode in ("L", "P", "I", "I;16") else image.convert("L"))
    return split_labels(values, labels)


def split_labels(
    values: NDArray[Any], labels: Mapping[str, str], *, strict: bool = True
) -> dict[str, NDArray[np.bool_]]:
    """A mask per label; with `strict` an empty one stays, to be counted, else it is left out."""
    masks = {str(name): values == int(value) for value, name in labels.items()}
    return {name: mask for name, mask in masks.items() if strict or mask.any()}


def read_masks(files: Mapping[str, Path]) -> dict[str, NDArray[np.bool_]]:
    """Masks of one 0/255 PNG per label; raises Skip if one cannot be read."""
    masks = {}
    for label, path in files.items():
        with _opened(path) as image:
            masks[label] = np.asarray(image.convert("L")) > 127
    return masks


def labelled_slices(marked: NDArray[Any], labels: Mapping[str, str]) -> list[int]:
    """Indices on the third axis: every slice with a label, and the neighbour beyond each end as "nothing here"."""
    values = [int(value) for value in labels]
    shown = np.flatnonzero(np.isin(marked, values).any(axis=(0, 1)))
    if not shown.size:
        return []
    ends = {int(shown[0]) - 1, int(shown[-1]) + 1}
    return sorted({int(k) for k in shown} | {k for k in ends if 0 <= k < marked.shape[2]})
