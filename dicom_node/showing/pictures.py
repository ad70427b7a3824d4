"""Pictures: grey or colour slices as PNG, and values of a slice as bytes for a page that windows them itself."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["RawSlice", "png_of", "raw_slice"]

_LEVEL = 1
"""Of deflate: higher ones cost several times as long for a tenth of the size."""


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """8-bit `rows columns` grey or `rows columns 3` RGB as a PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=_LEVEL)
    return stream.getvalue()


@dataclass(frozen=True)
class RawSlice:
    """Values of a slice, `rows columns` in display orientation, little-endian, in gzip.

    `kind`: int16, uint16 or float32, whichever holds the values exactly; rgb8 for colour, three bytes a pixel.
    """

    kind: str
    rows: int
    columns: int
    content: bytes


def raw_slice(values: NDArray[np.float32] | NDArray[np.uint8]) -> RawSlice:
    """A slice as `ShownStack.displayed` gives it."""
    rows, columns = values.shape[:2]
    kind, plain = ("rgb8", values) if values.ndim == 3 else _smallest(np.asarray(values, dtype=np.float32))
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    content = packer.compress(np.ascontiguousarray(plain).tobytes()) + packer.flush()
    return RawSlice(kind, rows, columns, content)


def _smallest(values: NDArray[np.float32]) -> tuple[str, NDArray[np.generic]]:
    if not np.isfinite(values).all():
        return "float32", values.astype("<f4")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    for kind, code, lowest, highest in (("int16", "<i2", -32768, 32767), ("uint16", "<u2", 0, 65535)):
        if lowest <= low and high <= highest:
            whole = values.astype(code)
            if np.array_equal(whole, values):
                return kind, whole
    return "float32", values.astype("<f4")
