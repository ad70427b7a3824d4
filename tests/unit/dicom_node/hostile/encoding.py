"""Files as bytes, element by element: what no library would write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"})


def element(tag: int, vr: str, value: bytes, *, length: int | None = None, implicit: bool = False) -> bytes:
    """An element in little endian; `length`: what it claims, where that is not the length of its value."""
    value += b"\0" * (len(value) % 2) if vr in ("UI", "OB") else b" " * (len(value) % 2)
    claimed = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<L", claimed) + value
    if vr in _LONG:
        return head + vr.encode() + struct.pack("<HL", 0, claimed) + value
    return head + vr.encode() + struct.pack("<H", claimed) + value


def named(keyword: str, value: bytes | str | int, *, implicit: bool = False, vr: str = "") -> tuple[int, bytes]:
    """An attribute of the standard: its tag, and the element."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    vr = vr or dictionary_VR(tag)[:2]
    encoded = (
        struct.pack("<H", value) if isinstance(value, int) else value.encode() if isinstance(value, str) else value
    )
    return tag, element(tag, vr, encoded, implicit=implicit)


def item(contents: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(contents) if length is None else length) + contents


ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def nested(tag: int, depth: int, *, defined: bool) -> bytes:
    """Sequences inside each other, with lengths or with delimiters."""
    if not defined:
        head = element(tag, "SQ", b"", length=UNDEFINED) + item(b"", length=UNDEFINED)
        return head * depth + (ITEM_END + SEQUENCE_END) * depth
    value = b""
    for _ in range(depth):
        value = element(tag, "SQ", item(value))
    return value


def encapsulated(frames: Iterable[bytes], table: bytes = b"") -> bytes:
    """The value of an encapsulated Pixel Data element of undefined length."""
    return item(table) + b"".join(item(frame + b"\0" * (len(frame) % 2)) for frame in frames) + SEQUENCE_END


def deflated(contents: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(contents) + compressor.flush()


def save(path: Path, elements: dict[int, bytes], syntax: str = ExplicitVRLittleEndian, tail: bytes = b"") -> Path:
    """A Part 10 file of the elements in the order of their tags, and `tail` behind them."""
    meta = b"".join(
        named(keyword, value)[1]
        for keyword, value in (
            ("MediaStorageSOPClassUID", CTImageStorage),
            ("MediaStorageSOPInstanceUID", "1.2.3"),
            ("TransferSyntaxUID", syntax),
        )
    )
    body = b"".join(elements[tag] for tag in sorted(elements)) + tail
    if syntax == DeflatedExplicitVRLittleEndian:
        body = deflated(body)
    path.write_bytes(bytes(128) + b"DICM" + meta + body)
    return path


def image(*, implicit: bool = False, **attributes: bytes | str | int) -> dict[int, bytes]:
    """The elements of a CT slice of 16 x 24 without its pixels; `attributes` go in place of, or beside, its own."""
    stated: dict[str, bytes | str | int] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": "1.2.3", "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.1", "Modality": "CT", "PatientID": "P1",
        "PatientName": "Hostile^Input", "InstanceNumber": "1",
        "FrameOfReferenceUID": "1.2.9", "ImagePositionPatient": "0\\0\\0",
        "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
        "PixelSpacing": "1\\1", "SliceThickness": "1", "RescaleSlope": "1", "RescaleIntercept": "-1024",
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": 16, "Columns": 24,
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, **attributes,
    }  # fmt: skip
    return dict(named(keyword, value, implicit=implicit) for keyword, value in stated.items())


PIXELS = 0x7FE00010


def native(value: bytes = bytes(16 * 24 * 2), *, implicit: bool = False) -> bytes:
    return element(PIXELS, "OW", value, implicit=implicit)


def compressed(frames: Iterable[bytes], table: bytes = b"") -> bytes:
    return element(PIXELS, "OB", encapsulated(frames, table), length=UNDEFINED)


IMPLICIT = str(ImplicitVRLittleEndian)
