"""Stored pixels of one instance as arrays, or a named reason why they cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from dicom_node.errors import VolumeRefusal, VolumeRefused, without_values

__all__ = ["is_color", "stored_frames"]

_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_COLOR = frozenset(
    {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"}
)


def is_color(header: Dataset) -> bool:
    return str(header.get("PhotometricInterpretation", "")) in _COLOR


def stored_frames(path: Path, frames: list[int] | None = None) -> Iterator[NDArray[np.generic]]:
    """The instance's frames one after the other, so that memory holds one at a time.

    `frames`: indices from 0 in the order wanted, or None for all. Yields stored values `rows columns`, or uint8
    `rows columns 3` RGB where the instance is in colour. Raises VolumeRefused with NO_PIXEL_DATA,
    TRUNCATED_PIXEL_DATA or UNDECODABLE_PIXEL_DATA.
    """
    dataset = pydicom.dcmread(path, force=True)
    name = f"instance {dataset.get('SOPInstanceUID', '?')}"
    if "PixelData" not in dataset:
        if _PIXEL_DATA in path.read_bytes():  # pydicom drops an element that the file ends in
            raise VolumeRefused(VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{name} ends inside its Pixel Data")
        raise VolumeRefused(VolumeRefusal.NO_PIXEL_DATA, f"{name} has no Pixel Data")
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Without file meta information the data set was read as PS3.5 10.1's default or as it looked.
        dataset.file_meta.TransferSyntaxUID = _guessed_transfer_syntax(dataset)
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    _require_whole(dataset, syntax, path, name)
    try:
        for frame in iter_pixels(dataset, indices=frames, raw=False):
            yield _as_rgb(frame, dataset) if is_color(dataset) else frame
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, KeyError, TypeError, EOFError) as error:
        # What decoding plugins raise is not a closed set; pydicom wraps it in these.
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{name} ({syntax.name}): {_first_lines(without_values(error))}"
        ) from error


def _guessed_transfer_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _require_whole(dataset: Dataset, syntax: UID, path: Path, name: str) -> None:
    if syntax.is_encapsulated:
        contents = path.read_bytes()
        if contents.rfind(_SEQUENCE_DELIMITER) < contents.rfind(_PIXEL_DATA):
            raise VolumeRefused(VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{name} ends inside its compressed Pixel Data")
        return
    try:
        samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1))
        needed = samples * int(dataset.get("NumberOfFrames") or 1) * int(dataset.BitsAllocated) // 8
    except (AttributeError, TypeError, ValueError) as error:
        raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{name}: {without_values(error)}") from error
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        needed = needed * 2 // 3
    held = len(dataset.PixelData)
    if held < needed:
        raise VolumeRefused(
            VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{name} claims {needed} bytes of pixels and holds {held}"
        )


def _as_rgb(frame: NDArray[np.generic], dataset: Dataset) -> NDArray[np.generic]:
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        # Some writers declare 16 bits and fill 8 (PS3.3 C.7.6.3.1.5 tells to expect it).
        colors = apply_color_lut(frame, dataset)[..., :3]
        shift = 8 if bits > 8 and int(colors.max(initial=0)) > 255 else 0
        return np.asarray(colors >> shift, dtype=np.uint8)
    if frame.ndim != 3:
        raise ValueError(f"a colour image decoded to {frame.ndim} axes")
    shift = max(0, int(dataset.BitsStored) - 8)
    return np.asarray(np.asarray(frame, dtype=np.int64) >> shift, dtype=np.uint8)


def _first_lines(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines()[:3])[:300]
