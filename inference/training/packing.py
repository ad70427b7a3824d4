"""Images and masks of the manifest, packed once into arrays that training reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from inference.errors import InferenceError
from inference.medseg_qa.labels import DATASETS, canonical
from inference.medseg_r.transform import SIDE, to_square
from inference.progress import Counter

__all__ = ["Pack", "check_manifest", "held_out", "pack"]

_TRAIN_SLICE_STEP = 3  # of a hippocampus volume: neighbouring slices are almost the same
_FEWEST_GROUPS = 60  # a set of fewer patients gives none up
_COLUMNS = ("images", "masks", "datasets", "ids", "modalities", "splits", "extents", "groups")

_log = structlog.get_logger()


@dataclass(frozen=True)
class Pack:
    """Square images with their masks.

    `images`: uint8 `records 256 256 3`. `masks`: uint16 `records 256 256`, bit i set where label i of the record's
    data set (`DATASETS`) is. `datasets`, `ids`, `modalities`, `splits`: one text per record.
    `extents`: int `records 2`, rows and columns of the image inside the square. `groups`: one text per record, the same
    for all of a patient.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint16]
    datasets: NDArray[np.str_]
    ids: NDArray[np.str_]
    modalities: NDArray[np.str_]
    splits: NDArray[np.str_]
    extents: NDArray[np.int64]
    groups: NDArray[np.str_]

    @cached_property
    def shown(self) -> NDArray[np.uint16]:
        """The bits of the labels that have at least one pixel: uint16 `records`."""
        return np.array([np.bitwise_or.reduce(mask, axis=None) for mask in self.masks], dtype=np.uint16)

    def present(self, record: int) -> tuple[str, ...]:
        """Return the labels that have at least one pixel in a record."""
        bits = int(self.shown[record])
        return tuple(label for i, label in enumerate(DATASETS[str(self.datasets[record])]) if bits >> i & 1)

    def mask(self, record: int, label: str) -> NDArray[np.bool_]:
        """Return the mask of one label: bool `256 256`."""
        bit = DATASETS[str(self.datasets[record])].index(label)
        mask: NDArray[np.bool_] = (self.masks[record] >> np.uint16(bit) & np.uint16(1)).astype(np.bool_)
        return mask


def pack(images: Path, cache: Path) -> Pack:
    """Read `images`/manifest.jsonl into a `Pack`, or read it back from `cache` where that was done before.

    A record takes a third of a megabyte there.

    Raises `InferenceError` where there is no manifest, or where `cache` was packed from another one.
    """
    manifest = check_manifest(images)
    _check_source(manifest, cache)
    if not (cache / f"{_COLUMNS[-1]}.npy").exists():
        rows = [json.loads(line) for line in manifest.read_text().splitlines()]
        records: list[tuple[Any, ...]] = []
        with np.load(images / "hippocampus" / "hippocampus.npz") as volumes, Counter("packing images") as progress:
            for number, row in enumerate(rows):
                progress(number + 1, len(rows))
                records.extend(_slices(row, volumes) if row["dataset"] == "hippocampus" else [_record(row, images)])
        for name, column in zip(_COLUMNS, zip(*records, strict=True), strict=True):
            np.save(cache / f"{name}.npy", np.asarray(column))
        _log.info("packed", records=len(records), cache=str(cache))
    arrays = {name: np.load(cache / f"{name}.npy", mmap_mode="r") for name in _COLUMNS}
    return Pack(**arrays)


def held_out(pack: Pack, share: float) -> NDArray[np.bool_]:
    """Return which training records are kept from the grounding, so that the object score may learn from them.

    About `share` of the patients of every set that has enough of them, the same at every call; bool `records`.
    """
    kept = np.zeros(len(pack.ids), dtype=np.bool_)
    for name in np.unique(pack.datasets):
        records = np.flatnonzero((pack.datasets == name) & (pack.splits == "train"))
        groups = sorted(
            {str(group) for group in pack.groups[records]},
            key=lambda group: hashlib.sha256(f"{name}/{group}".encode()).digest(),
        )
        if len(groups) >= _FEWEST_GROUPS:
            kept[records] = np.isin(pack.groups[records], groups[: round(share * len(groups))])
    return kept


def check_manifest(images: Path) -> Path:
    """Return the manifest of a folder of images; raises `InferenceError` where there is none."""
    manifest = images / "manifest.jsonl"
    if not manifest.is_file():
        raise InferenceError(f"{manifest} does not exist; `images` must name a folder with manifest.jsonl")
    return manifest


def _check_source(manifest: Path, cache: Path) -> None:
    """Make sure that what is packed is what `manifest` names; its digest stands in `cache`/source.txt."""
    digest, noted = hashlib.sha256(manifest.read_bytes()).hexdigest(), cache / "source.txt"
    if noted.is_file() and noted.read_text().strip() != digest:
        raise InferenceError(
            f"{cache} was packed from another manifest than {manifest}; delete that folder to pack again"
        )
    cache.mkdir(parents=True, exist_ok=True)
    noted.write_text(digest + "\n")


def _record(row: dict[str, Any], images: Path) -> tuple[Any, ...]:
    labels = DATASETS[row["dataset"]]
    image, extent = to_square(np.asarray(Image.open(images / row["image"]).convert("RGB")))
    bits = np.zeros((SIDE, SIDE), dtype=np.uint16)
    if "masks" in row:
        for name, path in row["masks"].items():
            if name in labels:
                mask, _ = to_square(np.asarray(Image.open(images / path).convert("L")), nearest=True)
                bits |= (mask > 127).astype(np.uint16) << np.uint16(labels.index(name))
    else:
        values, _ = to_square(np.asarray(Image.open(images / row["mask"])), nearest=True)
        for value, name in row["labels"].items():
            bits |= (values == int(value)).astype(np.uint16) << np.uint16(labels.index(canonical(name)))
    return image, bits, row["dataset"], row["id"], row["modality"], row["split"], extent, _group(row)


def _group(row: dict[str, Any]) -> str:
    return str(row.get("group") or row["id"])


def _slices(row: dict[str, Any], volumes: Any) -> list[tuple[Any, ...]]:
    values, labels = volumes[f"{row['id']}_img"], volumes[f"{row['id']}_lab"]
    depth = values.shape[2]
    chosen = range(0, depth, _TRAIN_SLICE_STEP) if row["split"] == "train" else (depth // 3, depth // 2, 2 * depth // 3)
    records = []
    for index in chosen:
        image, extent = to_square(values[:, :, index])
        mask, _ = to_square(labels[:, :, index], nearest=True)
        bits = (mask == 1).astype(np.uint16) | (mask == 2).astype(np.uint16) << np.uint16(1)
        grey = np.repeat(image[..., None], 3, axis=2)
        records.append((grey, bits, "hippocampus", f"{row['id']}/{index}", "MR", row["split"], extent, _group(row)))
    return records
