"""Codestreams that claim more than there is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

import imagecodecs
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.unit.dicom_node.hostile.making import (
    BYTES,
    EIGHT,
    J2K,
    SIZE,
    Hostile,
    squeezed,
)
from tests.unit.dicom_node.hostile.outcome import Way


def _jpeg(codestream: bytes, rows: int, columns: int) -> bytes:
    """The codestream with another size in its start of frame."""
    at = next(place for place in range(2, len(codestream)) if codestream[place] == 0xFF
              and codestream[place + 1] in (0xC0, 0xC1, 0xC3, 0xF7))  # fmt: skip
    return codestream[: at + 5] + struct.pack(">HH", rows, columns) + codestream[at + 9 :]


def _siz(codestream: bytes, **fields: int) -> bytes:
    """The codestream of JPEG 2000 with other numbers in its SIZ."""
    places = {"columns": (8, ">L"), "rows": (12, ">L"), "tile_columns": (24, ">L"), "tile_rows": (28, ">L"),
              "samples": (40, ">H")}  # fmt: skip
    changed = bytearray(codestream)
    for name, value in fields.items():
        at, form = places[name]
        struct.pack_into(form, changed, at, value)
    return bytes(changed)


CODESTREAMS: dict[str, tuple[bytes, Callable[[int, int], bytes], dict[str, int]]] = {}
for _syntax, _codestream, _bits in (
    (JPEGBaseline8Bit, imagecodecs.jpeg8_encode(BYTES, level=90), EIGHT),
    (JPEGLosslessSV1, imagecodecs.jpeg8_encode(SIZE, lossless=True, predictor=1, bitspersample=16), {}),
    (JPEGLSLossless, imagecodecs.jpegls_encode(SIZE, out=1 << 16), {}),
):
    CODESTREAMS[_syntax] = (_codestream, partial(_jpeg, _codestream), _bits)
for _syntax, _codestream in (
    (JPEG2000Lossless, J2K),
    (HTJ2KLossless, imagecodecs.htj2k_encode(SIZE, reversible=True)),
):
    CODESTREAMS[_syntax] = (
        _codestream,
        lambda rows, columns, codestream=_codestream: _siz(codestream, rows=rows, columns=columns),
        {},
    )


def _run_lengths(segments: list[bytes], count: int | None = None, first: int = 64) -> bytes:
    offsets, at = [], first
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    count = len(segments) if count is None else count
    return struct.pack("<16L", count, *(offsets + [0] * 15)[:15]) + b"".join(segments)


def codestream_cases() -> Iterator[Hostile]:
    for syntax, (_, resized, bits) in CODESTREAMS.items():
        bomb = resized(65535, 65535)
        yield Hostile(
            f"{syntax.name.partition(' (')[0]}: a codestream of 65,535 x 65,535 in an image of 16 x 24",
            Way.SERIES,
            r"undecodable-pixel-data: .*says 65,535 x 65,535 in its codestream, 16 x 24 in its header",
            squeezed(syntax, [bomb], **bits),
        )
        yield Hostile(
            f"{syntax.name.partition(' (')[0]}: a codestream of 65,535 x 65,535 and a header that agrees",
            Way.SERIES,
            r"too-large: .*claims 65,535 x 65,535 pixels",
            squeezed(syntax, [bomb], Rows=65535, Columns=65535, **bits),
        )
        yield Hostile(
            f"{syntax.name.partition(' (')[0]}: 11,000 x 11,000 pixels in a kilobyte",
            Way.SERIES,
            r"undecodable-pixel-data: .*no image compresses",
            squeezed(syntax, [resized(11000, 11000)], Rows=11000, Columns=11000, **bits),
        )
    wide = _siz(J2K, rows=4096, columns=4096, tile_rows=1, tile_columns=1)
    yield Hostile(
        "JPEG 2000: 16,777,216 tiles of one pixel",
        Way.SERIES,
        r"undecodable-pixel-data: .*16,777,216 tiles",
        squeezed(JPEG2000Lossless, [wide], Rows=4096, Columns=4096),
    )
    yield Hostile(
        "JPEG 2000: 16,384 components",
        Way.SERIES,
        r"undecodable-pixel-data: .*16,384 samples for a pixel in its codestream, 1 in its header",
        squeezed(JPEG2000Lossless, [_siz(J2K, samples=16384)]),
    )
    runs = b"\x81\x07" * 4_000_000
    yield Hostile(
        "RLE: runs of a gigabyte in an image of 16 x 24",
        Way.SERIES,
        r"undecodable-pixel-data: .*runs make more than",
        squeezed(RLELossless, [_run_lengths([runs, runs])]),
    )
    yield Hostile(
        "RLE: segments beyond the frame",
        Way.SERIES,
        r"undecodable-pixel-data: .*(segments|divided)",
        squeezed(RLELossless, [struct.pack("<16L", 2, 64, 0xFFFFFFF0, *[0] * 13) + bytes(64)]),
    )
