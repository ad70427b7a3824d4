"""Images and masks of a set: read from a source, measured, fingerprinted and written as PNG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from inference.medseg_qa.duplicates import Fingerprint, fingerprint
from inference.medseg_qa.knowledge import LabelKnowledge
from inference.medseg_qa.measure import measured_target
from inference.medseg_qa.records import Target
from inference.medseg_qa.sources.types import Problem, Skip, SourceImage

__all__ = ["StoredImage", "safe_name", "store_image"]


@dataclass(frozen=True)
class StoredImage:
    """An image in the set with its targets; `skips` are labels that were left out, `size` is rows, columns."""

    image: str
    size: tuple[int, int]
    targets: tuple[Target, ...]
    fingerprint: Fingerprint
    skips: tuple[Skip, ...]


def safe_name(text: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._") or "unnamed"


def store_image(source: SourceImage, directory: Path, labels: Mapping[str, LabelKnowledge]) -> StoredImage:
    """Write an image and the masks of known labels under `directory`.

    PNG is written anew from the pixels, so that no metadata of the source travels along. Raises Skip if the image
    cannot be read, OSError if it cannot be written.
    """
    pixels = source.load()
    size = (int(pixels.image.shape[0]), int(pixels.image.shape[1]))
    dataset, name = safe_name(source.dataset), safe_name(source.id)
    image_path = f"images/{dataset}/{name}.png"
    targets: list[Target] = []
    skips: list[Skip] = []
    for label, mask in pixels.masks.items():
        known = labels.get(label)
        if known is None:
            skips.append(Skip(Problem.UNKNOWN_LABEL, f"{source.id}: {label}"))
        elif mask.shape != size:
            skips.append(Skip(Problem.SIZE_MISMATCH, f"{source.id}: {label}: image {size}, mask {mask.shape}"))
        elif not mask.any():
            skips.append(Skip(Problem.EMPTY_MASK, f"{source.id}: {label}"))
        else:
            path = f"masks/{dataset}/{name}__{safe_name(label)}.png"
            _write_png(directory / path, mask.astype(np.uint8) * np.uint8(255))
            targets.append(measured_target(label, known.phrase, known.code[0], path, mask, source.spacing_mm))
    _write_png(directory / image_path, pixels.image)
    return StoredImage(image_path, size, tuple(targets), fingerprint(pixels.image), tuple(skips))


def _write_png(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, format="PNG", compress_level=6)
