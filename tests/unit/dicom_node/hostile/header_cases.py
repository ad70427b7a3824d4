"""Headers of too many elements, items and values, nested too deep, and tables that expand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom.uid import (
    UltrasoundMultiFrameImageStorage,
)

from tests.unit.dicom_node.hostile.encoding import (
    IMPLICIT,
    UNDEFINED,
    element,
    image,
    item,
    named,
    native,
    nested,
    save,
)
from tests.unit.dicom_node.hostile.making import (
    EIGHT,
    ENHANCED,
    MILLION,
    Hostile,
    plain_image,
)
from tests.unit.dicom_node.hostile.outcome import Way


def _with(elements: bytes, at: int = 0x00090000) -> Callable[[Path], object]:
    return lambda folder: save(folder / "a.dcm", image() | {at: elements}, tail=native())


def structure_cases() -> Iterator[Hostile]:
    for way in (Way.SERIES, Way.INTAKE):
        yield Hostile(
            f"private sequences nested 1,000 deep, without lengths: {way.value}",
            way,
            r"nests sequences more than 64 deep",
            _with(nested(0x00091010, 1000, defined=False)),
        )
    yield Hostile(
        "private sequences nested 1,000 deep, with lengths", Way.SERIES, None,
        _with(nested(0x00091010, 1000, defined=True)),
    )  # fmt: skip
    yield Hostile(
        "Other Patient IDs nested 1,000 deep", Way.SERIES, None,
        _with(nested(0x00101002, 1000, defined=True), 0x00101002),
    )  # fmt: skip
    yield Hostile(
        "a sequence that never ends",
        Way.SERIES,
        r"truncated-pixel-data: ",
        _with(element(0x00091010, "SQ", item(b"", length=UNDEFINED) * 3, length=UNDEFINED)),
    )
    yield Hostile(
        "an element of 4 GB in a file of 2 kB",
        Way.SERIES,
        r"truncated-pixel-data: ",
        _with(element(0x00091010, "OB", b"ab", length=0xFFFFFFFE)),
    )
    yield Hostile(
        "a million private elements",
        Way.SERIES,
        r"unreadable-header: .*more than 65,536 elements",
        _with(b"".join(element(0x00091000 + k % 0xF000, "LO", b"") for k in range(MILLION))),
    )
    yield Hostile("a million private items", Way.SERIES, None, _with(element(0x00091010, "SQ", item(b"") * MILLION)))
    yield Hostile(
        "a million functional groups for one frame",
        Way.SERIES,
        r"unreadable-header: .*Per-Frame Functional Groups Sequence holds more than",
        lambda folder: save(
            folder / "a.dcm",
            image(**ENHANCED) | {0x52009230: element(0x52009230, "SQ", item(b"") * MILLION)},
            tail=native(),
        ),
    )

    def zeros(folder: Path) -> None:
        with (folder / "a.dcm").open("wb") as file:
            file.truncate(1 << 30)

    yield Hostile("a gigabyte of zeros", Way.SERIES, r"unreadable-header: .*more than 65,536 elements", zeros)

    def bulk(folder: Path) -> None:
        save(folder / "a.dcm", {tag: one for tag, one in image().items() if tag < 0x00090000})
        with (folder / "a.dcm").open("r+b") as file:
            file.seek(0, 2)
            file.write(element(0x00091010, "OB", b"", length=1 << 29))
            file.seek(1 << 29, 1)
            file.write(b"".join(one for tag, one in sorted(image().items()) if tag > 0x00090000) + native())

    yield Hostile("half a gigabyte in a private element before the pixels", Way.SERIES, None, bulk)


# --- Values -----------------------------------------------------------------------------------------------------------


def _implicit(keyword: str, value: bytes) -> Callable[[Path], object]:
    elements = image(implicit=True) | dict([named(keyword, value, implicit=True)])
    return lambda folder: save(folder / "a.dcm", elements, IMPLICIT, native(implicit=True))


def value_cases() -> Iterator[Hostile]:
    many = b"1\\" * MILLION + b"1 "
    yield Hostile(
        "Image Position (Patient) of a million values",
        Way.SERIES,
        r"unreadable-header: .*Image Position \(Patient\) has 2,000,002 bytes",
        _implicit("ImagePositionPatient", many),
    )
    yield Hostile("Window Center of a million values", Way.SERIES, None, _implicit("WindowCenter", many))
    yield Hostile(
        "Instance Number of a million values",
        Way.INTAKE,
        r"Instance Number has 2,000,002 bytes",
        _implicit("InstanceNumber", many),
    )
    yield Hostile(
        "Patient's Name of 10 MB", Way.INTAKE, r"Patient's Name has 10,000,000 bytes",
        _implicit("PatientName", b"A" * 10_000_000),
    )  # fmt: skip
    yield Hostile(
        "Patient's Name of 60 kB, of escape sequences in 30 character sets",
        Way.INTAKE,
        None,
        lambda folder: save(
            folder / "a.dcm",
            image(
                SpecificCharacterSet=b"\\".join([b"", b"ISO 2022 IR 87", b"ISO 2022 IR 159", b"ISO 2022 IR 149"] * 8),
                PatientName=b"\x1b$B\x1b(B\x1b$)C^" * 4800,
            ),
            tail=native(),
        ),
    )
    numbers = ("nan\\nan\\nan", "inf\\0\\0", "1e308\\1e308\\1e308", "1e400\\0\\0")
    for position in numbers:
        yield Hostile(
            f"Image Position (Patient) {position}", Way.SERIES, r"missing-geometry: ",
            plain_image(ImagePositionPatient=position),
        )  # fmt: skip
    for spacing in ("1e308\\1e308", "1e-308\\1e-308", "nan\\1", "-1\\1"):
        yield Hostile(f"Pixel Spacing {spacing}", Way.SERIES, r"missing-spacing: ", plain_image(PixelSpacing=spacing))
    yield Hostile(
        "Image Orientation (Patient) of 1e308", Way.SERIES, r"missing-geometry: ",
        plain_image(ImageOrientationPatient="1e308\\0\\0\\0\\1e308\\0"),
    )  # fmt: skip
    yield Hostile(
        "Rescale Slope 1e308", Way.SERIES, r"unreadable-header: .*Rescale Slope", plain_image(RescaleSlope="1e308")
    )

    def scattered(folder: Path) -> None:
        angles = np.linspace(0, np.pi, 700)
        for number, angle in enumerate(angles):
            orientation = f"{np.cos(angle):.6f}\\{np.sin(angle):.6f}\\0\\0\\0\\1"
            attributes = {"SOPInstanceUID": f"1.2.3.{number}", "ImageOrientationPatient": orientation}
            save(folder / f"{number}.dcm", image(**attributes), tail=native())

    yield Hostile("700 slices, each in a direction of its own", Way.SERIES, r"mixed-shapes: .*200 kinds", scattered)


def table_cases() -> Iterator[Hostile]:
    def lut(entries: int, bits: int, size: int) -> Callable[[Path], object]:
        table = named("LUTDescriptor", struct.pack("<HHH", entries, 0, bits), vr="US")[1]
        table += named("ModalityLUTType", "HU")[1] + named("LUTData", bytes(2 * size), vr="OW")[1]
        sequence = element(0x00283000, "SQ", item(table))
        return lambda folder: save(folder / "a.dcm", image() | {0x00283000: sequence}, tail=native())

    yield Hostile("a Modality LUT of a million entries", Way.SERIES, r"LUT Data .*has 2,000,000 bytes",
                  lut(0, 16, MILLION))  # fmt: skip
    yield Hostile("a Modality LUT of 65,535 bits", Way.SERIES, r"unreadable-header: ", lut(256, 65535, 256))
    yield Hostile("a Modality LUT that claims more than it has", Way.SERIES, r"unreadable-header: ", lut(60000, 16, 9))

    def palette(segments: bytes) -> Callable[[Path], object]:
        attributes: dict[str, bytes | str | int] = {
            "SOPClassUID": str(UltrasoundMultiFrameImageStorage), "PhotometricInterpretation": "PALETTE COLOR",
        }  # fmt: skip
        elements = image(**attributes, **EIGHT)
        for place in range(3):
            elements[0x00281101 + place] = element(0x00281101 + place, "US", struct.pack("<HHH", 0, 0, 16))
            elements[0x00281221 + place] = element(0x00281221 + place, "OW", segments)
        return lambda folder: save(folder / "a.dcm", elements, tail=native(bytes(16 * 24)))

    line = struct.pack("<5H", 0, 1, 0, 1, 65535) + struct.pack("<H", 65535)
    yield Hostile(
        "a segmented palette of 200 kB that expands to 3,200,000,000 entries",
        Way.SERIES,
        r"undecodable-pixel-data: .*expands to more than",
        palette(line + struct.pack("<4H", 2, 2, 0, 0) * 25_000),
    )
    yield Hostile(
        "a segmented palette that copies itself",
        Way.SERIES,
        r"undecodable-pixel-data: .*copies",
        palette(struct.pack("<3H", 0, 1, 0) + struct.pack("<4H", 2, 3, 3, 0) * 4),
    )
    yield Hostile(
        "an overlay of 65,535 x 65,535", Way.SERIES, None,
        lambda folder: save(
            folder / "a.dcm",
            image() | {0x60000010: element(0x60000010, "US", b"\xff\xff"),
                       0x60000011: element(0x60000011, "US", b"\xff\xff"),
                       0x60003000: element(0x60003000, "OW", bytes(100))},
            tail=native(),
        ),
    )  # fmt: skip
