"""Masks as the node keeps them beside result objects: exact, small, and there whatever objects an archive wants.

A file holds the masks of one part, each cut to the box that it fills. The review page draws from it, and a correction
is such a file with one mask.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ResultRefused

__all__ = ["BoxedMask", "boxed", "key_slice", "mask_file_name", "read_boxed_masks", "read_masks", "write_masks"]


@dataclass(frozen=True)
class BoxedMask:
    """A mask on a grid of `shape` (slices rows columns) as it is kept: packed bits of the box that it fills.

    `box`: first and end of slices, rows and columns.
    """

    shape: tuple[int, int, int]
    box: tuple[tuple[int, int], ...]
    bits: NDArray[np.uint8]

    @property
    def extent(self) -> tuple[int, int, int]:
        """How many slices, rows and columns the box has."""
        slices, rows, columns = (end - first for first, end in self.box)
        return slices, rows, columns

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Bool `slices rows columns` on the whole grid."""
        mask = np.zeros(self.shape, dtype=bool)
        cut = np.unpackbits(self.bits, count=int(np.prod(self.extent))).astype(bool).reshape(self.extent)
        mask[tuple(slice(first, end) for first, end in self.box)] = cut
        return mask

    def slice(self, index: int) -> NDArray[np.bool_]:
        """One slice of it, bool `rows columns` on the whole grid."""
        plane = np.zeros(self.shape[1:], dtype=bool)
        (first, end), *sides = self.box
        if first <= index < end:
            rows, columns = (slice(*side) for side in sides)
            plane[rows, columns] = self._cut(index - first)
        return plane

    def _cut(self, place: int) -> NDArray[np.bool_]:
        """A slice of the box, by its place there."""
        _, rows, columns = self.extent
        start = place * rows * columns
        packed = self.bits[start // 8 : (start + rows * columns + 7) // 8]
        return np.unpackbits(packed)[start % 8 :][: rows * columns].reshape(rows, columns).astype(bool)

    def counts(self) -> NDArray[np.int64]:
        """`slices`: how many voxels it marks on each slice of the grid."""
        counts = np.zeros(self.shape[0], dtype=np.int64)
        first, end = self.box[0]
        for index in range(first, end):
            counts[index] = int(np.count_nonzero(self._cut(index - first)))
        return counts


def key_slice(counts: NDArray[np.int64]) -> int | None:
    """The slice with the most voxels, the middle one of several; None where there is none. `counts`: of each slice."""
    if not counts.any():
        return None
    most = np.flatnonzero(counts == counts.max())
    return int(most[most.size // 2])


def boxed(mask: NDArray[np.bool_]) -> BoxedMask:
    """A mask `slices rows columns` as a file would keep it."""
    box = _box(mask)
    cut = mask[tuple(slice(first, end) for first, end in box)]
    slices, rows, columns = mask.shape
    return BoxedMask((slices, rows, columns), tuple(box), np.packbits(cut.reshape(-1)))


def mask_file_name(part: int) -> str:
    """The name of a part's file in the folder of its result objects. `part`: its ordinal, from 0."""
    return f"masks-{part + 1}.npz" if part else "masks.npz"


def write_masks(path: Path, masks: Sequence[NDArray[np.bool_]], shape: tuple[int, int, int], about: str = "") -> None:
    """Write masks, each bool `slices rows columns` on the part's source grid of `shape`, in the order of its findings.

    The same masks give the same bytes. `about`: what tells a file from another with the same masks; it is kept in the
    file, and not read. Raises ResultRefused where a mask is not on the grid.
    """
    arrays: dict[str, NDArray[np.generic]] = {"shape": np.asarray(shape, dtype=np.int64)}
    if about:
        arrays["about"] = np.frombuffer(about.encode(), dtype=np.uint8)
    for number, mask in enumerate(masks):
        if mask.shape != tuple(shape):
            raise ResultRefused(f"a mask of {mask.shape} is not on the source grid {tuple(shape)}")
        kept = boxed(mask)
        arrays[f"box_{number}"] = np.asarray(kept.box, dtype=np.int64)
        arrays[f"bits_{number}"] = kept.bits
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    draft.replace(path)


def read_masks(path: Path) -> tuple[NDArray[np.bool_], ...]:
    """The masks of a file, bool `slices rows columns` on the source grid.

    Raises ResultRefused where the file is damaged, FileNotFoundError where there is none.
    """
    try:
        return tuple(mask.whole for mask in read_boxed_masks(path))
    except ValueError as error:
        raise ResultRefused(f"{path.name} is no file of masks, or is damaged: {error}") from error


def read_boxed_masks(path: Path) -> tuple[BoxedMask, ...]:
    """The same, as they are kept: whole masks of many slices take much memory. Raises as `read_masks` does."""
    try:
        with np.load(path, allow_pickle=False) as file:
            slices, rows, columns = (int(length) for length in file["shape"])
            count = sum(name.startswith("box_") for name in file.files)
            return tuple(
                _checked(BoxedMask((slices, rows, columns), _pairs(file[f"box_{one}"]), file[f"bits_{one}"]))
                for one in range(count)
            )
    except (ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ResultRefused(f"{path.name} is no file of masks, or is damaged: {error}") from error


def _box(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    box = []
    for axis in range(3):
        others = tuple(one for one in range(3) if one != axis)
        there = np.flatnonzero(mask.any(axis=others))
        box.append((int(there[0]), int(there[-1]) + 1) if there.size else (0, 0))
    return box


def _pairs(box: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(end)) for first, end in box)


def _checked(mask: BoxedMask) -> BoxedMask:
    inside = all(0 <= first <= end <= length for (first, end), length in zip(mask.box, mask.shape, strict=True))
    if not inside or mask.bits.dtype != np.uint8 or mask.bits.size * 8 < int(np.prod(mask.extent)):
        raise ValueError("a box is not within the grid, or has fewer voxels than it says")
    return mask
