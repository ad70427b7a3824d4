"""Codestream: what a compressed frame says of itself, read before any decoder is called.

A decoder allocates what the codestream claims, so that is compared with the header and with the bytes that there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from struct import Struct, unpack_from

from pydicom.uid import RLELossless

__all__ = ["Codestream", "jpeg_2000_codestream", "jpeg_codestream", "run_length_codestream"]


@dataclass(frozen=True)
class Codestream:
    """What a codestream says of its samples; None where it does not say, or, as JPEG of their sign, cannot know.

    `rows`, `columns`, `samples`: its size. `tiles`: in how many pieces JPEG 2000 cuts it.
    """

    precision: int | None = None
    signed: bool | None = None
    rows: int | None = None
    columns: int | None = None
    samples: int | None = None
    tiles: int = 1

    def contradiction(self, rows: int, columns: int, samples: int) -> str | None:
        """How its size differs from the header's, in words; None where it does not, or does not say."""
        if self.rows is not None and (self.rows, self.columns) != (rows, columns):
            return f"says {self.rows:,} x {self.columns:,} in its codestream, {rows:,} x {columns:,} in its header"
        if self.samples is not None and self.samples != samples:
            return f"says {self.samples:,} samples for a pixel in its codestream, {samples:,} in its header"
        if self.tiles > _MOST_TILES:
            return f"is cut into {self.tiles:,} tiles, and at most {_MOST_TILES:,} are read"
        return None


_MOST_TILES = 1 << 14
"""A decoder keeps 6 kB for each."""
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # of JPEG (ITU T.81) and JPEG-LS (T.87)
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME = Struct(">BHHB").unpack_from


def jpeg_codestream(codestream: bytes, *, is_ls: bool) -> Codestream | None:
    """What the start of frame says (ITU T.81 B.2.2, T.87 C.2.2), found as decoders find it; None if there is none."""
    at = 2
    while (at := codestream.find(b"\xff", at)) >= 0 and at + 4 <= len(codestream):
        marker = codestream[at + 1]
        if marker in _START_OF_FRAME and at + 10 <= len(codestream):
            precision, rows, columns, samples = _FRAME(codestream, at + 4)
            return Codestream(precision, False if is_ls else None, rows, columns, samples)
        if marker in (0x00, 0xFF):  # a stuffed byte, a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(codestream[at + 2 : at + 4], "big"))
    return None


_SOC_SIZ = b"\xff\x4f\xff\x51"
_SIZ = Struct(">HHLLLLLLLLHB").unpack_from


def jpeg_2000_codestream(contents: bytes) -> Codestream | None:
    """What SIZ says (ITU T.800 A.5.1), of a bare codestream or of one in JP2's boxes (I.4); None if there is none."""
    at = _codestream_box(contents) if contents[4:8] == b"jP  " else 0
    if contents[at : at + 4] != _SOC_SIZ or at + 43 > len(contents):
        return None
    _length, _profile, right, bottom, left, top, wide, high, tile_left, tile_top, samples, depth = _SIZ(
        contents, at + 4
    )
    if right <= left or bottom <= top or not wide or not high or tile_left > left or tile_top > top:
        return None
    tiles = -(-(right - tile_left) // wide) * -(-(bottom - tile_top) // high)
    return Codestream((depth & 0x7F) + 1, bool(depth & 0x80), bottom - top, right - left, samples, tiles)


def _codestream_box(contents: bytes) -> int:
    """Where the first Contiguous Codestream box has its contents; the end where there is none."""
    at = 0
    while at + 8 <= len(contents):
        length, kind = unpack_from(">L4s", contents, at)
        head = 8
        if length == 1:
            length, head = int.from_bytes(contents[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return at + head
        if length < head:  # 0: up to the end
            break
        at += length
    return len(contents)


def run_length_codestream(codestream: bytes, segments: int) -> str | None:
    """Why the header of a frame of RLE Lossless (PS3.5 G.5) cannot be of `segments` segments; None: it can."""
    if len(codestream) < 64:
        return f"has {len(codestream)} bytes, and the header of {RLELossless.name} alone has 64"
    count, *offsets = unpack_from("<16L", codestream)
    if count != segments:
        return f"says {count:,} segments, and {segments:,} are its header's samples and bits"
    used = [*offsets[:count], len(codestream)]
    if used[0] != 64 or any(one > other for one, other in pairwise(used)):
        return "has segments that do not follow each other"
    return None
