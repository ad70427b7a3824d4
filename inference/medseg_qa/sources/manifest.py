"""Folders with a manifest.jsonl: a JSON object per image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.medseg_qa.sources.pixels import (
    as_uint8,
    labelled_slices,
    read_image,
    read_label_mask,
    read_masks,
    split_labels,
)
from inference.medseg_qa.sources.types import Pixels, Problem, Skip, Source, SourceImage

__all__ = ["ManifestSource", "open_manifest"]


def open_manifest(directory: Path) -> Source | None:
    """The source of a folder with a manifest.jsonl, or None."""
    return ManifestSource(directory) if (directory / "manifest.jsonl").is_file() else None


class ManifestSource:
    """A folder with a manifest.jsonl: a JSON object per image with `image` and `mask` or `masks`, or `volume`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with (directory / "manifest.jsonl").open(encoding="utf-8") as lines:
            self._rows = sum(1 for line in lines if line.strip())

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[SourceImage | Skip]:
        with (self._directory / "manifest.jsonl").open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not a JSON object")
                    row["id"], row["modality"]
                    yield from self._row(row)
                except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
                    wrong = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                    yield Skip(Problem.BAD_ROW, f"manifest.jsonl line {number}: {wrong}")

    def _row(self, row: dict[str, Any]) -> Iterator[SourceImage | Skip]:
        if "volume" in row:
            yield from self._volume(row)
            return
        image = self._directory / row["image"]
        if "masks" in row:
            files = {label: self._directory / path for label, path in row["masks"].items()}
            yield _source_image(row, row["id"], lambda: Pixels(read_image(image), read_masks(files)))
            return
        mask, labels = self._directory / row["mask"], dict(row["labels"])
        yield _source_image(row, row["id"], lambda: Pixels(read_image(image), read_label_mask(mask, labels)))

    def _volume(self, row: dict[str, Any]) -> Iterator[SourceImage | Skip]:
        try:
            with np.load(self._directory / row["volume"]) as volumes:
                values, marked = volumes[f"{row['id']}_img"], volumes[f"{row['id']}_lab"]
        except (OSError, KeyError, ValueError) as error:
            yield Skip(Problem.BROKEN_IMAGE, f"{row['id']}: {error}")
            return
        if values.shape != marked.shape or values.ndim != 3:
            yield Skip(Problem.SIZE_MISMATCH, f"{row['id']}: image {values.shape}, mask {marked.shape}")
            return
        for k in labelled_slices(marked, row["labels"]):
            # the third axis runs from below to above; rows and columns keep the order of the stored array
            pixels = Pixels(as_uint8(values[:, :, k]), split_labels(marked[:, :, k], row["labels"], strict=False))
            yield _source_image(row, f"{row['id']}_slice_{k:03d}", lambda pixels=pixels: pixels)  # type: ignore[misc]


def _source_image(row: Mapping[str, Any], identifier: str, load: Callable[[], Pixels]) -> SourceImage:
    dataset = str(row.get("dataset", "unnamed"))
    return SourceImage(
        id=identifier,
        dataset=dataset,
        group=str(row.get("group") or row["id"]),
        split=row.get("split"),
        modality=str(row["modality"]),
        source=str(row.get("source") or row.get("image") or row.get("volume")),
        licence=str(row.get("licence") or row.get("image_license") or ""),
        load=load,
        spacing_mm=_spacing(row),
        orientation=row.get("orientation"),
        laterality=_laterality(row),
        context=_context(row),
        searched=tuple(row["searched"]) if "searched" in row else None,
    )


def _spacing(row: Mapping[str, Any]) -> tuple[float, float] | None:
    spacing = row.get("spacing_mm")
    if spacing is None:
        return None
    # a manifest gives the spacing of the original grid; the stored image may be smaller
    rows, columns = (row["orig_size"][i] / row["size"][i] if "orig_size" in row else 1.0 for i in (0, 1))
    return float(spacing[0]) * rows, float(spacing[1]) * columns


def _laterality(row: Mapping[str, Any]) -> str | None:
    if row.get("laterality") in ("L", "R"):
        return str(row["laterality"])
    if row["modality"] == "OP" and str(row["id"])[-1:] in ("L", "R"):
        return str(row["id"])[-1]
    return None


def _context(row: Mapping[str, Any]) -> str:
    """Age and sex only: free-text notes may hold what is not ours to copy."""
    who = {"M": "man", "F": "woman"}.get(str(row.get("sex", "")), "")
    age = str(row.get("age", ""))
    if who and age.isdigit() and 18 <= int(age) < 90:
        return f"The patient is a {who} of {age} years."
    return f"The patient is a {who}." if who else ""
