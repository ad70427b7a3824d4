"""Small real files, and ways to spoil them: what the fuzzers of the suite and `make fuzz` begin from."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import imagecodecs
import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from tests.unit.dicom_node.hostile.encoding import IMPLICIT, compressed, element, image, item, named, native, save

Spoil = Callable[[bytearray, Random], None]

_INTERESTING = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def seeds(folder: Path) -> list[bytes]:
    """Files of each kind that is read, made here: one in each family of transfer syntaxes, and structured headers."""
    frame = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24)
    places = [named("PlanePositionSequence", item(named("ImagePositionPatient", f"0\\0\\{k}")[1]))[1] for k in range(2)]
    shared = (
        named("PlaneOrientationSequence", item(named("ImageOrientationPatient", "1\\0\\0\\0\\1\\0")[1]))[1],
        named("PixelMeasuresSequence", item(named("SliceThickness", "1")[1] + named("PixelSpacing", "1\\1")[1]))[1],
    )
    enhanced = image(SOPClassUID=str(EnhancedCTImageStorage), NumberOfFrames="2") | {
        0x52009229: element(0x52009229, "SQ", item(b"".join(shared))),
        0x52009230: element(0x52009230, "SQ", b"".join(map(item, places))),
    }
    planes = frame.astype("<u2").tobytes()
    literal = [b"".join(b"\x7f" + plane[at : at + 128] for at in range(0, len(plane), 128))
               for plane in (planes[1::2], planes[::2])]  # fmt: skip
    run_lengths = struct.pack("<16L", 2, 64, 64 + len(literal[0]), *[0] * 13) + b"".join(literal)
    palette = image(
        SOPClassUID=str(UltrasoundMultiFrameImageStorage), PhotometricInterpretation="PALETTE COLOR",
        BitsAllocated=8, BitsStored=8, HighBit=7,
    )  # fmt: skip
    for place in range(3):
        palette[0x00281101 + place] = element(0x00281101 + place, "US", struct.pack("<3H", 256, 0, 16))
        segments = struct.pack("<8H", 0, 2, 0, 5, 1, 254, 65535, 0)
        palette[0x00281221 + place] = element(0x00281221 + place, "OW", segments)
    lut = named("LUTDescriptor", struct.pack("<3H", 384, 0, 16), vr="US")[1]
    lut += named("ModalityLUTType", "HU")[1] + named("LUTData", bytes(768), vr="OW")[1]
    jpeg_2000 = imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0)
    lossless = imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16)
    made: list[tuple[dict[int, bytes], str, bytes]] = [
        (image(), "1.2.840.10008.1.2.1", native(planes)),
        (image(implicit=True), IMPLICIT, native(planes, implicit=True)),
        (image(), DeflatedExplicitVRLittleEndian, native(planes)),
        (enhanced, "1.2.840.10008.1.2.1", native(planes * 2)),
        (palette, "1.2.840.10008.1.2.1", native(bytes(range(256)) + bytes(128))),
        (image() | {0x00283000: element(0x00283000, "SQ", item(lut))}, "1.2.840.10008.1.2.1", native(planes)),
        (image(), RLELossless, compressed([run_lengths])),
        (image(), JPEG2000Lossless, compressed([jpeg_2000])),
        (image(), JPEGLSLossless, compressed([imagecodecs.jpegls_encode(frame, out=1 << 16)])),
        (image(), JPEGLosslessSV1, compressed([lossless])),
    ]  # fmt: skip
    return [save(folder / "seed.dcm", *one).read_bytes() for one in made]


def _flip(contents: bytearray, random: Random) -> None:
    contents[random.randrange(len(contents))] ^= 1 << random.randrange(8)


def _number(contents: bytearray, random: Random) -> None:
    """Write a number that programs stumble over where a length, a count or a size may stand."""
    size, form = random.choice(((1, "<B"), (2, "<H"), (2, ">H"), (4, "<L"), (4, ">L")))
    at = random.randrange(max(1, len(contents) - size))
    struct.pack_into(form, contents, at, random.choice(_INTERESTING) & ((1 << 8 * size) - 1))


def _cut(contents: bytearray, random: Random) -> None:
    del contents[random.randrange(132, len(contents)) :]


def _swap(contents: bytearray, random: Random) -> None:
    """Exchange two stretches: elements, items or fragments land in each other's place."""
    size = random.choice((8, 12, 16, 40))
    one, other = (random.randrange(132, max(133, len(contents) - size)) for _ in range(2))
    contents[one : one + size], contents[other : other + size] = (
        contents[other : other + size],
        contents[one : one + size],
    )


def _repeat(contents: bytearray, random: Random) -> None:
    at, size = random.randrange(132, len(contents)), random.choice((8, 20, 64))
    contents[at:at] = contents[at : at + size] * random.choice((1, 3, 50))


def _drop(contents: bytearray, random: Random) -> None:
    at = random.randrange(132, len(contents))
    del contents[at : at + random.choice((1, 2, 8, 20))]


_SPOILS: tuple[Spoil, ...] = (_flip, _flip, _number, _number, _cut, _swap, _repeat, _drop)


def spoilt(seed: bytes, random: Random) -> bytes:
    """The file with a few faults."""
    contents = bytearray(seed)
    for _ in range(random.choice((1, 1, 2, 5))):
        if len(contents) > 140:
            random.choice(_SPOILS)(contents, random)
    return bytes(contents)
