"""RawHeader: the elements of a file up to its pixels, found by stepping over them; no value is looked at.

So a broken element stops nothing but itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import BinaryIO, NamedTuple

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import UnparseableInstance

__all__ = [
    "UNDEFINED_LENGTH",
    "RawElement",
    "RawHeader",
    "data_set_of",
    "file_meta_of",
    "find_elements",
    "find_items",
    "read_header",
    "read_raw_data_set",
    "read_raw_header",
]

UNDEFINED_LENGTH = 0xFFFFFFFF

_HEADER_AT_FIRST = 1 << 15
_HEADER_AT_MOST = 64 << 20
_ITEM, _ITEM_DELIMITER, _SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX_UID, _CHARACTER_SET = 0x00020010, 0x00080005
_PIXEL_GROUP, _FIRST_PIXELS, _LAST_PIXELS = 0x7FE00000, 0x7FE00008, 0x7FE00010
# PS3.5 A.5, and the two JPIP syntaxes that deflate the same way (PS3.5 A.7, A.9).
_DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
# PS3.5 7.1.2: value representations with a length of 16 bits, and those with one of 32.
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_KNOWN = _SHORT | _LONG
_NAMES: dict[bytes, str | None] = {b"": None} | {vr: vr.decode() for vr in _KNOWN}
_BYTES_EACH = {b"AT": 4, b"FD": 8, b"FL": 4, b"SL": 4, b"SS": 2, b"SV": 8, b"UL": 4, b"US": 2, b"UV": 8}


class RawElement(NamedTuple):
    """Where an element's value lies. `vr` is b"" where none is written, or one that no edition of the standard has."""

    tag: int
    vr: bytes
    start: int
    length: int
    end: int
    """Where the next element begins: behind the delimiter of a sequence of undefined length."""


@dataclass(frozen=True)
class RawHeader:
    """The elements of one data set, in their order.

    `contents`: the encoded bytes that the elements' places refer to: the file's beginning, or the inflated data set.
    `pixels`: the element that holds the pixels, its value mostly beyond `contents`; None if there is none. `whole`:
    False if the file ends inside an element before any pixels.
    """

    contents: bytes
    meta: tuple[RawElement, ...]
    elements: tuple[RawElement, ...]
    pixels: RawElement | None
    transfer_syntax_uid: str
    implicit: bool
    little_endian: bool
    whole: bool

    def value(self, element: RawElement) -> bytes:
        return self.contents[element.start : element.start + element.length]


def read_header(path: Path) -> FileDataset:
    """A file's data set up to its pixels, with or without a Part 10 prefix (PS3.10 7.1).

    A value is decoded when it is asked for, as with pydicom. Raises UnparseableInstance if nothing in the file is an
    element, or OSError.
    """
    with path.open("rb") as stream:
        raw = read_raw_header(stream)
    if not raw.elements:
        raise UnparseableInstance(f"{path.name}: no element of a DICOM data set stands in it")
    header = FileDataset(str(path), _elements_of(raw), None, file_meta_of(raw), raw.implicit, raw.little_endian)
    header.set_original_encoding(raw.implicit, raw.little_endian, _encodings(raw))
    return header


def data_set_of(raw: RawHeader, tags: Container[int] | None = None) -> Dataset:
    """The elements with these tags, or all, undecoded, as pydicom's data set.

    An element whose VR no edition has gets the dictionary's, and one whose length does not fit its VR is bytes (OB):
    both can be passed over, copied and written.
    """
    data_set = Dataset(_elements_of(raw, tags))
    data_set.set_original_encoding(raw.implicit, raw.little_endian, _encodings(raw))
    return data_set


def _elements_of(raw: RawHeader, tags: Container[int] | None = None) -> dict[BaseTag, DataElement | RawDataElement]:
    implicit, little = raw.implicit, raw.little_endian
    return {
        BaseTag(element.tag): _as_pydicom(raw, element, implicit, little)
        for element in raw.elements
        if element.tag < _PIXEL_GROUP and (tags is None or element.tag in tags or element.tag == _CHARACTER_SET)
    }


def file_meta_of(raw: RawHeader) -> FileMetaDataset:
    """The File Meta Information, empty where the file has none."""
    elements: dict[BaseTag, DataElement | RawDataElement] = {
        BaseTag(element.tag): _as_pydicom(raw, element, implicit=False, little=True) for element in raw.meta
    }
    return FileMetaDataset(elements)


def _as_pydicom(raw: RawHeader, element: RawElement, implicit: bool, little: bool) -> RawDataElement:
    tag, vr, start, length, end = element
    if length == UNDEFINED_LENGTH:
        length = end - start - 8  # without the delimiter
        if vr == b"UN":  # PS3.5 6.2.2: an unknown value of undefined length is in implicit VR little endian
            implicit = little = True
        if vr in (b"", b"UN"):
            vr = b"SQ"
    elif not vr and not implicit:
        vr = _dictionary_vr(tag)
    elif vr in _BYTES_EACH and length % _BYTES_EACH[vr]:
        vr = b"OB"
    value = raw.contents[start : start + length]
    return RawDataElement(BaseTag(tag), _NAMES[vr], length, value, start, implicit, little)


def _dictionary_vr(tag: int) -> bytes:
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"


def _encodings(raw: RawHeader) -> str | list[str]:
    """Python's names of the declared character sets (PS3.3 C.12.1.1.2), as pydicom keeps them."""
    for element in raw.elements:
        if element.tag == _CHARACTER_SET:
            return list(_python_encodings(raw.value(element)))
        if element.tag > _CHARACTER_SET:  # elements ascend (PS3.5 7.1)
            break
    return default_encoding


@lru_cache(maxsize=64)
def _python_encodings(declared: bytes) -> tuple[str, ...]:
    terms = [term.strip(" \0") for term in declared.decode("ascii", "replace").split("\\")]
    return tuple(convert_encodings(terms))


def read_raw_header(stream: BinaryIO, inflate_at_most: int = _HEADER_AT_MOST) -> RawHeader:
    """Find the elements of a file; `stream` stands at its beginning and is read no further than needed.

    A deflated data set is inflated up to `inflate_at_most` bytes: a small file must not fill the memory. Raises
    UnparseableInstance if it cannot be inflated.
    """
    contents = stream.read(_HEADER_AT_FIRST)
    start, meta, syntax = _file_meta(contents)
    return _read_elements(contents, stream, syntax, start, meta, inflate_at_most)


def read_raw_data_set(stream: BinaryIO, transfer_syntax_uid: str) -> RawHeader:
    """Find the elements of a data set without file meta information, as it came over the network."""
    return _read_elements(stream.read(_HEADER_AT_FIRST), stream, transfer_syntax_uid, 0, (), _HEADER_AT_MOST)


def _read_elements(
    contents: bytes, stream: BinaryIO, syntax: str, start: int, meta: tuple[RawElement, ...], inflate_at_most: int
) -> RawHeader:
    if syntax in _DEFLATED:
        data_set = _inflated(contents[start:] + stream.read(), inflate_at_most)
        return find_elements(contents[:start] + data_set, syntax, start, meta)
    raw = find_elements(contents, syntax, start, meta)
    while raw.pixels is None and (more := stream.read(3 * len(contents))):
        contents += more
        raw = find_elements(contents, syntax, start, meta)
    return raw


def find_elements(
    contents: bytes, transfer_syntax_uid: str, start: int = 0, meta: tuple[RawElement, ...] = ()
) -> RawHeader:
    """The elements of an encoded data set from `start` on, up to its pixels; a deflated one is given inflated."""
    implicit, little = _encoding(contents, start, transfer_syntax_uid)
    walk = _Walk(contents, implicit=implicit, little=little)
    elements: list[RawElement] = []
    pixels: RawElement | None = None
    at, end, whole = start, len(contents), True
    try:
        while at < end and pixels is None:
            element = walk.element(at)
            at = element.end
            if _FIRST_PIXELS <= element.tag <= _LAST_PIXELS:
                pixels = element
            elif element.tag > _LAST_PIXELS:
                break
            elif at > end:
                whole = False
            else:
                elements.append(element)
    except (StructError, RecursionError):  # `contents` ends inside an element, or nests without end
        whole = False
    return RawHeader(contents, meta, tuple(elements), pixels, transfer_syntax_uid, implicit, little, whole)


def find_items(value: bytes, transfer_syntax_uid: str) -> Iterator[RawHeader]:
    """The items of a sequence, each as a data set (PS3.5 7.5). `value`: its bytes from the first item to its end.

    Raises UnparseableInstance where something else stands among the items, or the last is cut off.
    """
    implicit, little = transfer_syntax_uid == ImplicitVRLittleEndian, transfer_syntax_uid != ExplicitVRBigEndian
    walk = _Walk(value, implicit=implicit, little=little)
    at = 0
    try:
        while (item := walk.item(at)) is not None:
            found = find_elements(value[item.start : item.start + item.length], transfer_syntax_uid)
            if item.end > len(value) or not found.whole:
                raise StructError
            yield found
            at = item.end
    except (StructError, RecursionError) as error:
        raise UnparseableInstance("a sequence does not consist of whole items") from error


def _file_meta(contents: bytes) -> tuple[int, tuple[RawElement, ...], str]:
    """Where the data set begins, the elements before it, and its transfer syntax, "" where nobody says (PS3.10 7.1)."""
    at = 132 if contents[128:132] == b"DICM" else 0
    syntax, meta = "", []
    walk = _Walk(contents, implicit=False, little=True)
    try:
        while contents[at : at + 2] == b"\x02\x00":
            meta.append(element := walk.element(at))
            if element.tag == _TRANSFER_SYNTAX_UID:
                syntax = contents[element.start : element.end].decode("ascii", "replace").strip(" \0")
            at = element.end
    except StructError:  # the file ends here
        at = len(contents)
    return at, tuple(meta), syntax


def _inflated(deflated: bytes, at_most: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, at_most)
    except zlib.error as error:
        raise UnparseableInstance("the data set is deflated and cannot be inflated; send it again") from error


def _encoding(contents: bytes, start: int, syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian): as the transfer syntax says, unless the first element shows that it is wrong."""
    if syntax:
        little = syntax != ExplicitVRBigEndian
    else:  # groups are small numbers
        little = contents[start : start + 1] != b"\0" or contents[start + 1 : start + 2] == b"\0"
    vr = contents[start + 4 : start + 6]
    declared = syntax in ("", ImplicitVRLittleEndian)
    return vr not in _KNOWN and (declared or not (vr.isalpha() or vr == b"??")), little


class _Walk:
    """Steps from element to element of encoded bytes; struct.error tells that the bytes end."""

    def __init__(self, contents: bytes, *, implicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self._contents = contents
        self._implicit = implicit
        self._tag = Struct(order + "HH").unpack_from
        self._whole_head = Struct(order + "HH2sH").unpack_from
        self._short = Struct(order + "H").unpack_from
        self._long = Struct(order + "L").unpack_from

    def element(self, at: int) -> RawElement:
        """The element at `at`. Pixels of undefined length end where they begin: nobody steps over them."""
        if not self._implicit:  # most elements of most files
            group, element, vr, length = self._whole_head(self._contents, at)
            if vr in _SHORT:
                return RawElement(group << 16 | element, vr, at + 8, length, at + 8 + length)
        tag, vr, start, length = self._head(at)
        if length != UNDEFINED_LENGTH:
            return RawElement(tag, vr, start, length, start + length)
        if _FIRST_PIXELS <= tag <= _LAST_PIXELS:
            return RawElement(tag, vr, start, length, start)
        # PS3.5 6.2.2: an unknown value of undefined length is a sequence in implicit VR little endian.
        inner = _Walk(self._contents, implicit=True, little=True) if vr == b"UN" else self
        return RawElement(tag, vr, start, length, inner._behind_sequence(start))

    def _head(self, at: int) -> tuple[int, bytes, int, int]:
        group, element = self._tag(self._contents, at)
        tag = group << 16 | element
        if self._implicit or group == 0xFFFE:
            return tag, b"", at + 8, self._long(self._contents, at + 4)[0]
        vr = self._contents[at + 4 : at + 6]
        if vr in _SHORT:
            return tag, vr, at + 8, self._short(self._contents, at + 6)[0]
        if vr in _LONG:
            return tag, vr, at + 12, self._long(self._contents, at + 8)[0]
        return self._head_with_unknown_vr(tag, at)

    def _head_with_unknown_vr(self, tag: int, at: int) -> tuple[int, bytes, int, int]:
        """A VR that no edition has: of the three forms of a length, the first that leads to a next tag."""
        forms = (
            (at + 8, self._short(self._contents, at + 6)[0]),
            (at + 12, self._long(self._contents, at + 8)[0]),
            (at + 8, self._long(self._contents, at + 4)[0]),
        )
        for start, length in forms:
            if start + length + 4 <= len(self._contents):
                group, element = self._tag(self._contents, start + length)
                if tag < group << 16 | element <= _LAST_PIXELS or group == 0xFFFE:
                    return tag, b"", start, length
        return tag, b"", *forms[0]

    def _behind_sequence(self, at: int) -> int:
        while True:
            tag, _vr, start, length = self._head(at)
            if tag == _SEQUENCE_DELIMITER:
                return start
            if tag != _ITEM:  # no sequence: where it ends cannot be told
                raise StructError
            at = start + length if length != UNDEFINED_LENGTH else self._behind_item(start)

    def item(self, at: int) -> RawElement | None:
        """The item of a sequence at `at`; None at the end of the sequence."""
        if at == len(self._contents):
            return None
        tag, vr, start, length = self._head(at)
        if tag == _SEQUENCE_DELIMITER:
            return None
        if tag != _ITEM:
            raise StructError
        if length != UNDEFINED_LENGTH:
            return RawElement(tag, vr, start, length, start + length)
        end = self._behind_item(start)
        return RawElement(tag, vr, start, end - start - 8, end)  # without the delimiter

    def _behind_item(self, at: int) -> int:
        while True:
            element = self.element(at)
            if element.tag == _ITEM_DELIMITER:
                return element.start
            at = element.end
