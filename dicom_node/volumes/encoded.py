"""EncodedImage: the Image Pixel attributes of a file and its frames as they were encoded, read without the rest.

Only what decoding needs is looked at: a broken element elsewhere stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import UnparseableInstance, VolumeRefusal, VolumeRefused
from dicom_node.headers.raw import UNDEFINED_LENGTH, RawElement, RawHeader, read_raw_header
from dicom_node.volumes.fragments import Fragments, TruncatedFragments, fragments_in

__all__ = ["EncodedImage", "ImagePixel", "open_image"]


@dataclass(frozen=True)
class ImagePixel:
    """Image Pixel Module of one instance (PS3.3 C.7.6.3), and the transfer syntax of its pixels.

    `name`: the instance, for messages. `is_float`: the pixels are Float or Double Float Pixel Data. `palette`: the raw
    values of the Palette Color Lookup Table attributes by tag. `little_endian`, `word_vr`: how native pixels lie in
    the file.
    """

    name: str
    transfer_syntax_uid: str
    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    planar_configuration: int
    number_of_frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_float: bool
    palette: Mapping[int, bytes]
    little_endian: bool
    word_vr: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """`rows columns`, or `rows columns samples`."""
        plane = (self.rows, self.columns)
        return plane if self.samples_per_pixel == 1 else (*plane, self.samples_per_pixel)

    @property
    def native_frame_bits(self) -> int:
        """Bits of a frame that is not compressed; YBR_FULL_422 keeps two samples for a pixel (PS3.3 C.7.6.3.1.2)."""
        subsampled = self.photometric_interpretation == "YBR_FULL_422"
        return self.rows * self.columns * (2 if subsampled else self.samples_per_pixel) * self.bits_allocated


@dataclass(frozen=True)
class EncodedImage:
    """One file's pixels as they were encoded.

    `source`: the file, or the inflated data set; native pixels begin at `offset` in it. `fragments`: the compressed
    pixels instead, None where they are native.
    """

    pixel: ImagePixel
    source: Path | bytes
    offset: int
    fragments: Fragments | None

    def native_bytes(self, start: int, count: int) -> NDArray[np.uint8]:
        """A copy of `count` bytes of the native pixels, from byte `start` on."""
        if isinstance(self.source, Path):
            return np.fromfile(self.source, np.uint8, count=count, offset=self.offset + start)
        return np.frombuffer(self.source, np.uint8, count=count, offset=self.offset + start).copy()


_INFLATE_AT_MOST = 1 << 30
_SOP_INSTANCE_UID, _PHOTOMETRIC, _NUMBER_OF_FRAMES = 0x00080018, 0x00280004, 0x00280008
_PIXEL_DATA, _EXTENDED_OFFSETS = 0x7FE00010, 0x7FE00001
_US = {
    "SamplesPerPixel": 0x00280002,
    "PlanarConfiguration": 0x00280006,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
}
_PALETTE = frozenset({*range(0x00281101, 0x00281104), *range(0x00281201, 0x00281204), *range(0x00281221, 0x00281224)})
_WANTED = frozenset({_SOP_INSTANCE_UID, _PHOTOMETRIC, _NUMBER_OF_FRAMES, _EXTENDED_OFFSETS, *_US.values(), *_PALETTE})
_JPIP = frozenset(
    {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"}
)
# PS3.5 A.1 to A.3 and A.5; the last is GE's private one. Every other transfer syntax encapsulates its pixels (A.4).
_NATIVE = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        "1.2.840.113619.5.2",
    }
)


def open_image(path: Path) -> EncodedImage:
    """Find a file's pixels.

    Raises VolumeRefused with NO_PIXEL_DATA, TRUNCATED_PIXEL_DATA or UNDECODABLE_PIXEL_DATA, or OSError.
    """
    with path.open("rb") as stream:
        try:
            raw = read_raw_header(stream, _INFLATE_AT_MOST)
        except UnparseableInstance as error:
            raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{path.name}: {error}") from error
        if not raw.whole:
            raise VolumeRefused(
                VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{path.name} ends inside its header; send it again"
            )
        values = {element.tag: raw.value(element) for element in raw.elements if element.tag in _WANTED}
        uid, syntax = _text(values.get(_SOP_INSTANCE_UID, b"")), raw.transfer_syntax_uid
        name = f"instance {uid}" if uid else path.name
        if raw.pixels is None:
            where = " (JPIP: its pixels lie on a server)" if syntax in _JPIP else ""
            raise VolumeRefused(VolumeRefusal.NO_PIXEL_DATA, f"{name} has no Pixel Data{where}; send the image itself")
        pixel = _image_pixel(raw, raw.pixels, values, name)
        _tag, _vr, offset, length, _end = raw.pixels
        if pixel.is_float or pixel.transfer_syntax_uid in _NATIVE:
            in_contents = syntax == DeflatedExplicitVRLittleEndian
            size = len(raw.contents) if in_contents else os.fstat(stream.fileno()).st_size
            _require_whole(pixel, length, size - offset)
            return EncodedImage(pixel, raw.contents if in_contents else path, offset, None)
        stream.seek(offset)
        encapsulated = stream.read(-1 if length == UNDEFINED_LENGTH else length)
    try:
        table = _offsets(values.get(_EXTENDED_OFFSETS, b""))
        fragments = fragments_in(encapsulated, offsets=table, delimited=length == UNDEFINED_LENGTH)
    except TruncatedFragments as error:
        raise VolumeRefused(VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{name} {error}; send it again") from error
    except ValueError as error:
        raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{name} {error}") from error
    return EncodedImage(pixel, path, offset, fragments)


def _image_pixel(raw: RawHeader, pixels: RawElement, values: Mapping[int, bytes], name: str) -> ImagePixel:
    little = raw.little_endian
    numbers = {keyword: _unsigned(values.get(tag, b""), little) for keyword, tag in _US.items()}
    missing = [keyword for keyword in ("Rows", "Columns", "BitsAllocated") if not numbers[keyword]]
    if missing:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{name} has pixels but no {' nor '.join(missing)}; send it again whole",
        )
    allocated, samples = numbers["BitsAllocated"] or 0, numbers["SamplesPerPixel"] or 1
    stored = min(numbers["BitsStored"] or allocated, allocated)
    high_bit = numbers["HighBit"]
    frames = _text(values.get(_NUMBER_OF_FRAMES, b""))
    return ImagePixel(
        name=name,
        transfer_syntax_uid=raw.transfer_syntax_uid or _guessed_syntax(raw, pixels),
        rows=numbers["Rows"] or 0,
        columns=numbers["Columns"] or 0,
        samples_per_pixel=samples,
        photometric_interpretation=_text(values.get(_PHOTOMETRIC, b"")) or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar_configuration=numbers["PlanarConfiguration"] or 0,
        number_of_frames=max(1, int(frames)) if frames.isdigit() else 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if high_bit is not None and stored <= high_bit + 1 <= allocated else stored - 1,
        signed=numbers["PixelRepresentation"] == 1,
        is_float=pixels.tag != _PIXEL_DATA,
        palette={tag: value for tag, value in values.items() if tag in _PALETTE},
        little_endian=little,
        word_vr=pixels.vr == b"OW" or raw.implicit,
    )


def _guessed_syntax(raw: RawHeader, pixels: RawElement) -> str:
    """PS3.5 10.1's default or what the elements look like; "" for pixels that are compressed nobody says how."""
    if pixels.length == UNDEFINED_LENGTH:
        return ""
    if raw.implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if raw.little_endian else ExplicitVRBigEndian)


def _require_whole(pixel: ImagePixel, length: int, in_file: int) -> None:
    if length == UNDEFINED_LENGTH:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{pixel.name} holds compressed pixels and its transfer syntax says that they are not; convert it first",
        )
    needed, held = (pixel.native_frame_bits * pixel.number_of_frames + 7) // 8, min(length, in_file)
    if held < needed:
        raise VolumeRefused(
            VolumeRefusal.TRUNCATED_PIXEL_DATA,
            f"{pixel.name} claims {needed} bytes of pixels and holds {held}; send it again",
        )


def _unsigned(value: bytes, little: bool) -> int | None:
    return int.from_bytes(value[:4], "little" if little else "big") if value else None


def _text(value: bytes) -> str:
    return value.split(b"\\")[0].decode("ascii", "replace").strip(" \0")


def _offsets(value: bytes) -> tuple[int, ...]:
    """Extended Offset Table (PS3.3 C.7.6.3.1.8): 64 bits each."""
    return tuple(int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value) - 7, 8))
