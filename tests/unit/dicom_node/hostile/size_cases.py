"""Sizes, frames, fragments and deflated pixels that claim more than there is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from tests.unit.dicom_node.hostile.encoding import (
    PIXELS,
    UNDEFINED,
    compressed,
    deflated,
    element,
    image,
    item,
    native,
    save,
)
from tests.unit.dicom_node.hostile.making import (
    ENHANCED,
    J2K,
    MILLION,
    ULTRASOUND,
    Hostile,
    one,
    plain_image,
    squeezed,
)
from tests.unit.dicom_node.hostile.outcome import Way


def size_cases() -> Iterator[Hostile]:
    yield Hostile(
        "65,535 x 65,535 pixels in a file of 2 kB",
        Way.SERIES,
        r"truncated-pixel-data: .*claims 8589672450 bytes of pixels and holds 768",
        plain_image(Rows=65535, Columns=65535),
    )
    yield Hostile(
        "65,535 samples for a pixel of 65,535 bits",
        Way.SERIES,
        r"truncated-pixel-data: .*65,535 bits",
        plain_image(SamplesPerPixel=65535, BitsAllocated=65535),
    )
    yield Hostile(
        "65,535 samples for a pixel, compressed",
        Way.SERIES,
        r"undecodable-pixel-data: .*65,535 samples for a pixel",
        squeezed(JPEG2000Lossless, [J2K], SamplesPerPixel=65535),
    )
    for frames in ("1000000000", "999999999999", "1e9", "9" * 60):
        yield Hostile(
            f"Number of Frames {frames if len(frames) < 20 else 'of 60 digits'}, enhanced CT",
            Way.SERIES,
            r"truncated-pixel-data: .*frames",
            plain_image(NumberOfFrames=frames, **ENHANCED),
        )
        yield Hostile(
            f"Number of Frames {frames if len(frames) < 20 else 'of 60 digits'}, ultrasound in JPEG 2000",
            Way.SERIES,
            r"truncated-pixel-data: .*frames",
            squeezed(JPEG2000Lossless, [J2K], NumberOfFrames=frames, **ULTRASOUND),
        )
    for frames in ("-5", "", "0", "NaN"):
        yield Hostile(
            f"Number of Frames {frames!r}: one frame",
            Way.SERIES,
            None,
            plain_image(NumberOfFrames=frames, **ULTRASOUND),
        )
    yield Hostile(
        "190,000 frames of which 4 MB are there",
        Way.SERIES,
        r"truncated-pixel-data: .*190,000 frames, which take",
        lambda folder: one(folder, tail=native(bytes(4 << 20)), NumberOfFrames="190000", **ENHANCED),
    )
    yield Hostile(
        "500,000 frames in compressed fragments of nothing",
        Way.SERIES,
        r"too-large: .*claims 500,000 frames",
        lambda folder: one(
            folder,
            JPEG2000Lossless,
            element(PIXELS, "OB", item(b"") + item(b"ab") * 500_000 + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0),
                    length=UNDEFINED),
            NumberOfFrames="500000",
            **ENHANCED,
        ),
    )  # fmt: skip


def fragment_cases() -> Iterator[Hostile]:
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)

    def pixels(value: bytes) -> Callable[[Path], object]:
        return lambda folder: one(folder, JPEG2000Lossless, element(PIXELS, "OB", value, length=UNDEFINED))

    yield Hostile(
        "a million empty fragments",
        Way.SERIES,
        r"undecodable-pixel-data: .*fragments",
        pixels(item(b"") * MILLION + end),
    )
    yield Hostile(
        "a fragment of 4 GB in a file of 2 kB",
        Way.SERIES,
        r"truncated-pixel-data: ",
        pixels(item(b"") + item(J2K, length=0xFFFFFFFE)),
    )
    yield Hostile("no fragment at all", Way.SERIES, r"undecodable-pixel-data: .*fragments", pixels(item(b"") + end))
    nonsense = struct.pack("<L", 0xFFFFFFF0) * MILLION
    yield Hostile(
        "a Basic Offset Table of a million entries beyond the file", Way.SERIES, None,
        squeezed(JPEG2000Lossless, [J2K], nonsense),
    )  # fmt: skip
    yield Hostile(
        "a Basic Offset Table that claims 4 GB",
        Way.SERIES,
        r"truncated-pixel-data: ",
        pixels(item(b"", length=0xFFFFFFFC) + item(J2K) + end),
    )

    def extended(folder: Path) -> None:
        elements = image() | {0x7FE00001: element(0x7FE00001, "OV", struct.pack("<Q", 1 << 60) * 500_000)}
        elements[0x7FE00001] = elements[0x7FE00001].replace(b"OV", b"OB", 1)
        save(folder / "a.dcm", elements, JPEG2000Lossless, compressed([J2K]))

    yield Hostile("an Extended Offset Table of 500,000 entries beyond the file", Way.SERIES, None, extended)


def deflate_cases() -> Iterator[Hostile]:
    def before_the_pixels(folder: Path) -> None:
        elements = image() | {0x00091010: element(0x00091010, "OB", bytes(300 << 20))}
        save(folder / "a.dcm", elements, DeflatedExplicitVRLittleEndian, native())

    def pixels(folder: Path) -> None:
        zeros = native(bytes(2 * 11000 * 11000))
        save(folder / "a.dcm", image(Rows=11000, Columns=11000), DeflatedExplicitVRLittleEndian, zeros)

    yield Hostile(
        "300 MB of zeros before the pixels, deflated to 300 kB",
        Way.SERIES,
        r"unreadable-header: .*inflates to more than 32 MiB",
        before_the_pixels,
    )
    yield Hostile(
        "the same, as it is received",
        Way.INTAKE,
        r"inflates to more than 32 MiB",
        before_the_pixels,
    )
    yield Hostile(
        "242 MB of pixels, all zero, deflated to 240 kB",
        Way.SERIES,
        r"undecodable-pixel-data: .*no image compresses",
        lambda folder: save(
            folder / "a.dcm",
            image(Rows=11000, Columns=11000),
            DeflatedExplicitVRLittleEndian,
            native(bytes(2 * 11000 * 11000)),
        ),
    )
    frame = deflated(bytes(300 << 20))
    yield Hostile(
        "a frame that inflates to 300 MB in an image of 16 x 24", Way.SERIES, None,
        squeezed("1.2.840.10008.1.2.8.1", [frame]),
    )  # fmt: skip
    yield Hostile(
        "a frame that inflates to 300 MB, and a header of 11,500 x 11,500",
        Way.SERIES,
        r"undecodable-pixel-data: .*no image compresses",
        squeezed("1.2.840.10008.1.2.8.1", [frame], Rows=11500, Columns=11500),
    )
