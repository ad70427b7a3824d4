"""Sources of images and masks: manifests, folders of image and mask, NIfTI pairs; other packages may pass in more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.medseg_qa.errors import SourceError

__all__ = ["Pixels", "Problem", "Skip", "Source", "SourceImage", "open_source"]

Opener = Callable[[Path], "Source | None"]


class Problem(Enum):
    """Why an image or one of its labels is left out; the value stands in the build report."""

    SIZE_MISMATCH = "mask-of-another-size"
    EMPTY_MASK = "empty-mask"
    UNKNOWN_LABEL = "unknown-label"
    BROKEN_IMAGE = "broken-image"
    MISSING_FILE = "missing-file"
    BAD_ROW = "bad-manifest-row"
    DUPLICATE_ID = "duplicate-id"
    NOTHING_TO_ASK = "nothing-to-ask"
    FAILED_CHECK = "failed-check"
    ANNOTATOR_FAILED = "annotator-failed"


class Skip(Exception):
    """An image or label that is left out and counted."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(f"{problem.value}: {detail}")
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True)
class Pixels:
    """Image uint8 `rows columns` or `rows columns 3` and its masks, bool `rows columns`, by label."""

    image: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class SourceImage:
    """One image before it is read. `load` may raise Skip.

    `spacing_mm`: row and column spacing or None. `searched`: labels the annotators looked for, so that a missing mask
    means "not there"; None takes what the knowledge says about the dataset. `context`: age and sex in words.
    """

    id: str
    dataset: str
    group: str
    split: str | None
    modality: str
    source: str
    licence: str
    load: Callable[[], Pixels]
    spacing_mm: tuple[float, float] | None = None
    orientation: str | None = None
    laterality: str | None = None
    context: str = ""
    searched: tuple[str, ...] | None = None


class Source(Protocol):
    """Images one after another, always in the same order; a Skip in their place is counted."""

    def __iter__(self) -> Iterator[SourceImage | Skip]: ...

    def __len__(self) -> int: ...


def open_source(directory: Path, extra: tuple[Opener, ...] = ()) -> Source:
    """The source that fits a folder: a manifest, image and mask folders, NIfTI pairs, or one of `extra`.

    Raises SourceError if none fits.
    """
    from inference.medseg_qa.sources.folders import open_folder
    from inference.medseg_qa.sources.nifti import open_nifti

    if not directory.is_dir():
        raise SourceError(f"{directory} is not a folder")
    for opener in (open_manifest, open_nifti, open_folder, *extra):
        source = opener(directory)
        if source is not None:
            return source
    raise SourceError(
        f"{directory} holds no manifest.jsonl, no images/ with masks/, no NIfTI pairs and no DICOM series with SEG"
    )


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
        for k in wanted_slices(marked, row["labels"]):
            # the third axis runs from below to above; rows and columns keep the order of the stored array
            pixels = Pixels(_as_uint8(values[:, :, k]), split_labels(marked[:, :, k], row["labels"], strict=False))
            yield _source_image(row, f"{row['id']}_slice_{k:03d}", lambda pixels=pixels: pixels)  # type: ignore[misc]


def wanted_slices(marked: NDArray[Any], labels: Mapping[str, str]) -> list[int]:
    """Indices on the third axis: every slice with a label, and the neighbour beyond each end as "nothing here"."""
    values = [int(value) for value in labels]
    shown = np.flatnonzero(np.isin(marked, values).any(axis=(0, 1)))
    if not shown.size:
        return []
    ends = {int(shown[0]) - 1, int(shown[-1]) + 1}
    return sorted({int(k) for k in shown} | {k for k in ends if 0 <= k < marked.shape[2]})


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


def _as_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.asarray(scaled, dtype=np.uint8)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels of a PNG or JPEG, grey `rows columns` or RGB `rows columns 3`; raises Skip."""
    with _opened(path) as image:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F"))
        if image.mode.startswith(("I", "F")):
            return _as_uint8(np.asarray(image, dtype=np.float64))
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
