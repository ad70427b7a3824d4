"""Files with values that no library would write: elements as bytes, in any transfer syntax."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian
from pydicom.uid import ImplicitVRLittleEndian as Implicit

Value = bytes | Sequence["Item"]
Item = dict[str, Value]

SYNTAXES = [Implicit, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
_LONG = ("OB", "OW", "SQ", "UN", "UC", "UT")


@dataclass(frozen=True)
class Encoding:
    """`undefined`: sequences and items end with delimiters instead of having lengths (PS3.5 7.5.2)."""

    implicit: bool
    order: str = "<"
    undefined: bool = False

    def elements(self, item: Item) -> bytes:
        """In the order of their tags. US values are given in little endian and turned where that is needed."""
        tags = sorted((tag_for_keyword(keyword), keyword) for keyword in item)
        return b"".join(self._element(tag, dictionary_VR(tag)[:2], item[keyword]) for tag, keyword in tags)

    def _element(self, tag: int, vr: str, value: Value) -> bytes:
        length: int | None = None
        if not isinstance(value, bytes):
            value = b"".join(self._item(self.elements(item)) for item in value)
            if self.undefined:
                value, length = value + self._tag(0xFFFEE0DD) + bytes(4), 0xFFFFFFFF
        elif vr == "US" and self.order == ">":
            value = value[::-1]
        length = len(value) if length is None else length
        if self.implicit:
            return self._tag(tag) + struct.pack(f"{self.order}L", length) + value
        start = self._tag(tag) + vr.encode()
        if vr in _LONG:
            return start + struct.pack(f"{self.order}HL", 0, length) + value
        return start + struct.pack(f"{self.order}H", length) + value

    def _item(self, content: bytes) -> bytes:
        if self.undefined:
            return self._tag(0xFFFEE000) + b"\xff" * 4 + content + self._tag(0xFFFEE00D) + bytes(4)
        return self._tag(0xFFFEE000) + struct.pack(f"{self.order}L", len(content)) + content

    def _tag(self, tag: int) -> bytes:
        return struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)


def write(path: Path, item: Item, syntax: str = ExplicitVRLittleEndian, *, undefined: bool = False) -> Path:
    encoding = Encoding(syntax == Implicit, ">" if syntax == ExplicitVRBigEndian else "<", undefined)
    body = encoding.elements(item)
    if syntax == DeflatedExplicitVRLittleEndian:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = compressor.compress(body) + compressor.flush()
    uids: Item = {
        "MediaStorageSOPClassUID": even(CTImageStorage.encode(), b"\0"),
        "MediaStorageSOPInstanceUID": b"1.2.3\0",
        "TransferSyntaxUID": even(syntax.encode(), b"\0"),
    }
    path.write_bytes(bytes(128) + b"DICM" + Encoding(False).elements(uids) + body)
    return path


def even(value: bytes, pad: bytes = b" ") -> bytes:
    return value + pad * (len(value) % 2)
