"""Folders of image and mask: images/NAME.png with masks/NAME.png and a labels.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.sources.pixels import read_image, read_label_mask
from inference.medseg_qa.sources.types import Pixels, Skip, SourceImage

__all__ = ["FolderSource", "open_folder", "read_settings"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def read_settings(directory: Path) -> dict[str, Any]:
    """labels.json of a folder: `labels` (value to name), `modality`, and if known `spacing_mm`, `licence`,
    and by name `groups`, `splits`, `lateralities` (L or R); for volumes `window`, the values shown as black and white.

    Raises SourceError if it is missing or lacks a field.
    """
    path = directory / "labels.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings["labels"].items(), settings["modality"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f'{path}: {error!r}; write {{"modality": "CT", "labels": {{"1": "liver"}}}} there') from error
    return settings


def open_folder(directory: Path) -> FolderSource | None:
    """The source of a folder with images/ and masks/, or None."""
    fits = (directory / "images").is_dir() and (directory / "masks").is_dir()
    return FolderSource(directory) if fits else None


class FolderSource:
    """images/ and masks/ with the same names; mask values are named in labels.json."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings = read_settings(directory)
        self._images = sorted(path for path in (directory / "images").iterdir() if path.suffix.lower() in _SUFFIXES)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[SourceImage | Skip]:
        settings = self._settings
        spacing = settings.get("spacing_mm")
        for path in self._images:
            yield SourceImage(
                id=path.stem,
                dataset=str(settings.get("dataset", self._directory.name)),
                group=str(settings.get("groups", {}).get(path.stem, path.stem)),
                split=settings.get("splits", {}).get(path.stem),
                modality=settings["modality"],
                source=path.name,
                licence=str(settings.get("licence", "")),
                load=partial(self._load, path),
                spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
                orientation=settings.get("orientation"),
                laterality=settings.get("lateralities", {}).get(path.stem),
                searched=tuple(settings["labels"].values()),
            )

    def _load(self, path: Path) -> Pixels:
        masks = read_label_mask(self._directory / "masks" / f"{path.stem}.png", self._settings["labels"])
        # the folder lists every label of the set, so that one without pixels is known not to be there
        return Pixels(read_image(path), {name: mask for name, mask in masks.items() if mask.any()})
