"""What hostile inputs are made with, and what is expected of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.uid import (
    EnhancedCTImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from tests.unit.dicom_node.hostile.encoding import (
    compressed,
    image,
    native,
    save,
)
from tests.unit.dicom_node.hostile.outcome import Way


@dataclass(frozen=True)
class Hostile:
    """`expected`: what the refusal has to say (a regular expression), or None where the input is read, harmlessly."""

    name: str
    way: Way
    expected: str | None
    build: Callable[[Path], object]


MILLION = 1_000_000
SIZE = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24)
BYTES = (SIZE % 251).astype(np.uint8)


def one(path: Path, syntax: str = "", tail: bytes = b"", **attributes: bytes | str | int) -> None:
    save(path / "a.dcm", image(**attributes), syntax or "1.2.840.10008.1.2.1", tail)


def plain_image(**attributes: bytes | str | int) -> Callable[[Path], object]:
    return lambda folder: one(folder, tail=native(), **attributes)


def squeezed(
    syntax: str, frames: list[bytes], table: bytes = b"", **attributes: bytes | str | int
) -> Callable[[Path], object]:
    return lambda folder: one(folder, syntax, compressed(frames, table), **attributes)


EIGHT: dict[str, int] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


ENHANCED = {"SOPClassUID": str(EnhancedCTImageStorage)}
ULTRASOUND = {"SOPClassUID": str(UltrasoundMultiFrameImageStorage)}
J2K = imagecodecs.jpeg2k_encode(SIZE, codecformat="j2k", reversible=True, level=0)
