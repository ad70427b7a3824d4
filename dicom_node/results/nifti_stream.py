"""A stack as a stream of NIfTI, and masks on its grid: out to the page that draws, and back from it.

What comes in is checked before it is believed: its size, its grid, its values.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ExportRefused, MaskRefused, OtherGrid
from dicom_node.results.nifti import header_of, read_header, stack_affine
from dicom_node.volumes.geometry import StackGeometry

__all__ = ["VoxelGrid", "grid_of", "largest_mask_bytes", "mask_stream", "read_mask", "volume_stream"]

_VOLUME_LEVEL, _MASK_LEVEL = 0, 1
"""Of gzip. The noise of a CT packs to half at 20 to 60 MB a second, longer than a gigabit saves: volumes are stored
as they are. Masks pack to almost nothing."""
_EXTENSIONS = 1 << 16
"""Bytes that a file may have between its header and its voxels, or after them."""
_APART = 0.01
"""Share of the smallest voxel edge by which the corners of two grids may lie apart and still be one."""


@dataclass(frozen=True)
class VoxelGrid:
    """The grid of a part's voxels.

    `shape`: `slices rows columns`. `affine`: `4 4` from voxel (column, row, slice) to mm, RAS. Where slices lie on no
    grid of boxes, `why_none` says why, and `affine` is the identity: then it counts voxels.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    why_none: str = ""


def grid_of(geometry: StackGeometry | None, shape: tuple[int, int, int], name: str = "", *, color: bool) -> VoxelGrid:
    """The grid of a part. `shape`: `slices rows columns`. `name`: what tells the part from others, or ""."""
    try:
        if color:
            raise ExportRefused("three planes show grey images only; draw on the slices")
        if shape[0] < 2:
            raise ExportRefused("this is a single slice; draw on it")
        return VoxelGrid(shape, stack_affine(geometry, name, instead="draw on the slices"))
    except ExportRefused as refused:
        return VoxelGrid(shape, np.eye(4), str(refused).replace("NIfTI", "a volume"))


def volume_stream(values: NDArray[np.float32], grid: VoxelGrid) -> Iterator[bytes]:
    """The values of a grey stack, `slices rows columns`, as .nii.gz in pieces.

    int16 where they are whole numbers of that range, else float32. The same input gives the same bytes.
    """
    whole = all(_is_int16(one) for one in values)
    dtype: type[np.generic] = np.int16 if whole else np.float32
    header = header_of(grid.shape, grid.affine, dtype)
    yield from _zipped(header, (one.astype(dtype).tobytes() for one in values), _VOLUME_LEVEL)


def mask_stream(mask: NDArray[np.bool_], grid: VoxelGrid) -> Iterator[bytes]:
    """A mask, bool `slices rows columns`, as .nii.gz in pieces: uint8, 0 and 1."""
    yield from _zipped(
        header_of(grid.shape, grid.affine, np.uint8), (one.astype(np.uint8).tobytes() for one in mask), _MASK_LEVEL
    )


def largest_mask_bytes(grid: VoxelGrid) -> int:
    """How many bytes a file with a mask on this grid can have, zipped or not."""
    return int(np.prod(grid.shape)) + 2 * _EXTENSIONS


def read_mask(content: bytes, grid: VoxelGrid) -> NDArray[np.bool_]:
    """The mask of a .nii or .nii.gz on a part's grid, bool `slices rows columns`.

    It is unpacked no further than such a mask needs. Raises OtherGrid where its grid is another one, MaskRefused where
    it is no such file, damaged, or not of zeros and ones.
    """
    limit = int(np.prod(grid.shape)) + 2 * _EXTENSIONS
    unpacked = _Unpacked(content)
    header = read_header(unpacked.first(348))
    if header.dtype != np.uint8:
        raise MaskRefused(f"its voxels are {header.dtype}, and those of a mask are uint8: save it as uint8")
    if header.scaled:
        raise MaskRefused("its values are scaled (scl_slope), and a mask is of zeros and ones: save it without")
    _require_same_grid(header.shape, header.affine, grid)
    if not 348 <= header.offset <= 348 + _EXTENSIONS:
        raise MaskRefused(f"its voxels are said to begin at byte {header.offset:,}: send it written anew")
    end = header.offset + int(np.prod(grid.shape))
    whole = unpacked.all_of(limit)
    if len(whole) < end:
        raise MaskRefused(f"it ends after {len(whole):,} of {end:,} bytes: send it again")
    values = np.frombuffer(whole, np.uint8, int(np.prod(grid.shape)), header.offset)
    if values.max(initial=0) > 1:
        raise MaskRefused(f"it holds the value {values.max()}, and a mask is of zeros and ones: save one finding alone")
    return values.reshape(grid.shape).astype(bool)


def _require_same_grid(shape: tuple[int, ...], affine: NDArray[np.float64] | None, grid: VoxelGrid) -> None:
    instead = "draw on this series' own grid"
    if shape != grid.shape:
        theirs, ours = (" x ".join(str(length) for length in one) for one in (shape, grid.shape))
        raise OtherGrid(f"a correction on another grid: it has {theirs} voxels, the images have {ours}; {instead}")
    if affine is None:
        raise OtherGrid(f"a correction on another grid: it does not say where its voxels lie; {instead}")
    ends = np.array(np.meshgrid(*((0, length - 1) for length in reversed(shape)), indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    apart = float(np.linalg.norm(((affine - grid.affine) @ corners)[:3], axis=0).max())
    edge = float(np.linalg.norm(grid.affine[:3, :3], axis=0).min())
    if not apart <= _APART * edge:  # not a number is apart, too
        raise OtherGrid(
            f"a correction on another grid: its corners lie up to {apart:.2f} mm from the images'; {instead}"
        )


def _is_int16(values: NDArray[np.generic]) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(values.astype(np.int16), values))


def _zipped(header: bytes, slices: Iterable[bytes], level: int) -> Iterator[bytes]:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    yield packer.compress(header)
    for one in slices:
        if packed := packer.compress(one):
            yield packed
    yield packer.flush()


class _Unpacked:
    """Bytes of a file, gzip or not, unpacked as far as somebody asks."""

    def __init__(self, content: bytes) -> None:
        self._unzip = zlib.decompressobj(31) if content[:2] == b"\x1f\x8b" else None
        self._rest, self._there = content, b""

    def first(self, count: int) -> bytes:
        """So many bytes from the start, or fewer where there are no more."""
        if self._unzip is None:
            return self._rest[:count]
        if len(self._there) < count:
            try:
                self._there += self._unzip.decompress(self._rest, count - len(self._there))
            except zlib.error as error:
                raise MaskRefused(f"it cannot be unpacked ({error}): send it again") from error
            self._rest = self._unzip.unconsumed_tail
        return self._there[:count]

    def all_of(self, limit: int) -> bytes:
        """All bytes. Raises MaskRefused where they are more than `limit`, or the file is cut off."""
        found = self.first(limit + 1)
        if len(found) > limit:
            raise MaskRefused(f"unpacked it has more than {limit:,} bytes, and no mask on this grid has: send the mask")
        if self._unzip is not None and not self._unzip.eof:
            raise MaskRefused("it is cut off before its end: send it again")
        return found
