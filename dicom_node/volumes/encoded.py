"""EncodedImage: the Image Pixel attributes of a file and its frames as they were encoded, read without the rest.

Only what decoding needs is looked at: a broken element elsewhere stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import UnparseableInstance, VolumeRefusal, VolumeRefused
from dicom_node.headers.raw import UNDEFINED_LENGTH, RawElement, RawHeader, inflated, read_raw_header
from dicom_node.volumes.bounds import require_believable, require_few_frames, require_few_pixels
from dicom_node.volumes.fragments import Fragments, TruncatedFragments, fragments_in

__all__ = ["PLAIN_SYNTAXES", "EncodedImage", "ImagePixel", "open_image"]


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

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames without compression."""
        return (self.native_frame_bits * self.number_of_frames + 7) // 8

    @property
    def told(self) -> str:
        """The size that the header claims."""
        return (
            f"{self.number_of_frames:,} x {self.rows:,} x {self.columns:,} x {self.samples_per_pixel:,} of "
            f"{self.bits_allocated:,} bits"
        )


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


_LONGEST_UID = 64
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
PLAIN_SYNTAXES = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.113619.5.2"})
"""Transfer syntaxes in which each pixel takes its bits in the file."""
_NATIVE = PLAIN_SYNTAXES | {DeflatedExplicitVRLittleEndian}


def open_image(path: Path) -> EncodedImage:
    """Find a file's pixels.

    Raises VolumeRefused with NO_PIXEL_DATA, TRUNCATED_PIXEL_DATA or UNDECODABLE_PIXEL_DATA, or OSError.
    """
    with path.open("rb") as stream:
        try:
            raw = read_raw_header(stream)
        except UnparseableInstance as error:
            raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{path.name}: {error}") from error
        if not raw.whole:
            raise VolumeRefused(
                VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{path.name} ends inside its header; send it again"
            )
        values = {element.tag: raw.value(element) for element in raw.elements if element.tag in _WANTED}
        uid, syntax = _text(values.get(_SOP_INSTANCE_UID, b"")), raw.transfer_syntax_uid
        name = f"instance {uid[:_LONGEST_UID]}" if uid else path.name
        if raw.pixels is None:
            where = " (JPIP: its pixels lie on a server)" if syntax in _JPIP else ""
            raise VolumeRefused(VolumeRefusal.NO_PIXEL_DATA, f"{name} has no Pixel Data{where}; send the image itself")
        pixel = _image_pixel(raw, raw.pixels, values, name)
        if syntax == DeflatedExplicitVRLittleEndian:
            return _deflated(pixel, raw.pixels, stream)
        in_file = os.fstat(stream.fileno()).st_size - raw.pixels.start
        if pixel.is_float or pixel.transfer_syntax_uid in _NATIVE:
            _require_whole(pixel, raw.pixels.length, in_file)
            _require_readable(pixel)
            return EncodedImage(pixel, path, raw.pixels.start, None)
        _require_readable(pixel)
        require_believable(name, pixel.native_bytes, in_file, pixel.told)
        return EncodedImage(pixel, path, raw.pixels.start, _fragments(pixel, raw.pixels, stream, in_file, values))


def _deflated(pixel: ImagePixel, pixels: RawElement, stream: BinaryIO) -> EncodedImage:
    """Inflated up to where the pixels that the header speaks of end, and no further."""
    _require_readable(pixel)
    require_believable(pixel.name, pixel.native_bytes, os.fstat(stream.fileno()).st_size, pixel.told)
    stream.seek(0)
    contents = inflated(stream, pixels.start + pixel.native_bytes)
    _require_whole(pixel, pixels.length, len(contents) - pixels.start)
    return EncodedImage(pixel, contents, pixels.start, None)


def _fragments(
    pixel: ImagePixel, pixels: RawElement, stream: BinaryIO, in_file: int, values: Mapping[int, bytes]
) -> Fragments:
    delimited = pixels.length == UNDEFINED_LENGTH
    stream.seek(pixels.start)
    encapsulated = stream.read(in_file if delimited else min(pixels.length, in_file))
    table = values.get(_EXTENDED_OFFSETS, b"")
    try:
        return fragments_in(encapsulated, frames=pixel.number_of_frames, extended=table, delimited=delimited)
    except TruncatedFragments as error:
        raise VolumeRefused(VolumeRefusal.TRUNCATED_PIXEL_DATA, f"{pixel.name} {error}; send it again") from error
    except ValueError as error:
        raise VolumeRefused(VolumeRefusal.UNDECODABLE_PIXEL_DATA, f"{pixel.name} {error}") from error


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
    return ImagePixel(
        name=name,
        transfer_syntax_uid=raw.transfer_syntax_uid or _guessed_syntax(raw, pixels),
        rows=numbers["Rows"] or 0,
        columns=numbers["Columns"] or 0,
        samples_per_pixel=samples,
        photometric_interpretation=_text(values.get(_PHOTOMETRIC, b"")) or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar_configuration=numbers["PlanarConfiguration"] or 0,
        number_of_frames=_frames(values.get(_NUMBER_OF_FRAMES, b"")),
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


def _require_readable(pixel: ImagePixel) -> None:
    require_few_pixels(pixel.name, pixel.rows, pixel.columns, pixel.samples_per_pixel, pixel.bits_allocated)
    require_few_frames(pixel.name, pixel.number_of_frames)


def _require_whole(pixel: ImagePixel, length: int, in_file: int) -> None:
    if length == UNDEFINED_LENGTH:
        raise VolumeRefused(
            VolumeRefusal.UNDECODABLE_PIXEL_DATA,
            f"{pixel.name} holds compressed pixels and its transfer syntax says that they are not; convert it first",
        )
    needed, held = pixel.native_bytes, max(0, min(length, in_file))
    if held < needed:
        raise VolumeRefused(
            VolumeRefusal.TRUNCATED_PIXEL_DATA,
            f"{pixel.name} claims {needed} bytes of pixels and holds {held} ({pixel.told}); send it again",
        )


def _unsigned(value: bytes, little: bool) -> int | None:
    return int.from_bytes(value[:4], "little" if little else "big") if value else None


def _text(value: bytes) -> str:
    return value.split(b"\\")[0].decode("ascii", "replace").strip(" \0")


_MOST_DIGITS = 15
"""More say no more: so many frames are refused."""


def _frames(value: bytes) -> int:
    """Number of Frames (IS): 1 where it is no number from 1 on."""
    digits = _text(value).removeprefix("+").lstrip("0")
    if not digits.isdigit():
        return 1
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
