"""RawHeader: the elements of a file up to its pixels, found by stepping over them; no value is looked at.

So a broken element stops nothing but itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.search import WHO_AND_WHAT, Inflating, Search, Stream, dictionary_vr, is_too_long, too_long
from dicom_node.headers.walk import (
    KNOWN_VRS,
    UNDEFINED_LENGTH,
    RawElement,
    Walk,
)

__all__ = [
    "MOST_ITEMS",
    "UNDEFINED_LENGTH",
    "RawElement",
    "RawHeader",
    "character_sets",
    "data_set_of",
    "file_meta_of",
    "find_elements",
    "find_items",
    "holds_more_items",
    "inflated",
    "read_header",
    "read_raw_data_set",
    "read_raw_header",
    "too_many_items",
]

_HEADER_AT_FIRST = 1 << 15
_HEADER_AT_MOST, _INFLATED_AT_MOST = 256 << 20, 32 << 20
_TRANSFER_SYNTAX_UID, _CHARACTER_SET = 0x00020010, 0x00080005
_PIXEL_GROUP, _PER_FRAME = 0x7FE00000, 0x52009230
# PS3.5 A.5, and the two JPIP syntaxes that deflate the same way (PS3.5 A.7, A.9).
_DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_NAMES: dict[bytes, str | None] = {b"": None} | {vr: vr.decode() for vr in KNOWN_VRS}
_BYTES_EACH = {b"AT": 4, b"FD": 8, b"FL": 4, b"SL": 4, b"SS": 2, b"SV": 8, b"UL": 4, b"US": 2, b"UV": 8}


@dataclass(frozen=True)
class RawHeader:
    """The elements of one data set, in their order.

    `contents`: the encoded bytes that the elements' places refer to: the file's beginning, or the inflated data set,
    without values of many megabytes, whose elements are left out. `pixels`: the element that holds the pixels, with its
    place in the whole file or inflated data set; None if there is none. `whole`: False if the file ends inside an
    element before any pixels.
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
    both can be passed over, copied and written. Raises UnparseableInstance where a text that is asked for, or that says
    who or what an instance is, is longer than its VR can say in any encoding; any other such element is left out.
    """
    data_set = Dataset(_elements_of(raw, tags))
    data_set.set_original_encoding(raw.implicit, raw.little_endian, _encodings(raw))
    return data_set


def _elements_of(raw: RawHeader, tags: Container[int] | None = None) -> dict[BaseTag, DataElement | RawDataElement]:
    implicit, little = raw.implicit, raw.little_endian
    elements: dict[BaseTag, DataElement | RawDataElement] = {}
    for element in raw.elements:
        if element.tag >= _PIXEL_GROUP or not (tags is None or element.tag in tags or element.tag == _CHARACTER_SET):
            continue
        if is_too_long(element):
            if tags is not None or element.tag >> 16 in WHO_AND_WHAT:
                raise too_long(element)
            continue
        if tags is not None and element.tag != _PER_FRAME:
            _require_few_items(raw, element)
        elements[BaseTag(element.tag)] = _as_pydicom(raw, element, implicit, little)
    return elements


MOST_ITEMS = 100_000
"""Items of a sequence and of those in it. Each costs 2 kB and more once it is decoded."""
_ITEM_TAGS = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}


def holds_more_items(value: bytes, little: bool, most: int, start: int = 0, end: int | None = None) -> bool:
    """Whether an encoded sequence has more than `most` items at any depth, told without decoding it."""
    end = len(value) if end is None else end
    return end - start > 8 * most and value.count(_ITEM_TAGS[little], start, end) > most


def too_many_items(tag: int, most: int) -> UnparseableInstance:
    """The refusal of an instance for such a sequence."""
    return UnparseableInstance(
        f"its {dictionary_description(tag)} holds more than {most:,} items; send it in smaller objects"
    )


def _require_few_items(raw: RawHeader, element: RawElement) -> None:
    if holds_more_items(raw.contents, raw.little_endian, MOST_ITEMS, element.start, element.end):
        raise too_many_items(element.tag, MOST_ITEMS)


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
        vr = dictionary_vr(tag)
    elif vr in _BYTES_EACH and length % _BYTES_EACH[vr]:
        vr = b"OB"
    value = raw.contents[start : start + length]
    return RawDataElement(BaseTag(tag), _NAMES[vr], length, value, start, implicit, little)


def _encodings(raw: RawHeader) -> str | list[str]:
    """Python's names of the declared character sets, as pydicom keeps them."""
    return list(character_sets(raw)) or default_encoding


def character_sets(raw: RawHeader) -> tuple[str, ...]:
    """Python's names of the declared character sets (PS3.3 C.12.1.1.2); none where none is declared."""
    for element in raw.elements:
        if element.tag == _CHARACTER_SET:
            return _python_encodings(raw.value(element))
        if element.tag > _CHARACTER_SET:  # elements ascend (PS3.5 7.1)
            break
    return ()


@lru_cache(maxsize=64)
def _python_encodings(declared: bytes) -> tuple[str, ...]:
    terms = [term.strip(" \0") for term in declared.decode("ascii", "replace").split("\\")]
    return tuple(convert_encodings(terms))


def read_raw_header(stream: BinaryIO) -> RawHeader:
    """Find the elements of a file; `stream` stands at its beginning and is read no further than needed.

    Raises UnparseableInstance if a deflated data set cannot be inflated, and where a header is larger, nested deeper or
    of more elements than any that means well: a small file must not fill the memory.
    """
    contents = stream.read(_HEADER_AT_FIRST)
    start, meta, syntax = _file_meta(contents)
    return _read_elements(contents, stream, syntax, start, meta)


def read_raw_data_set(stream: BinaryIO, transfer_syntax_uid: str) -> RawHeader:
    """Find the elements of a data set without file meta information, as it came over the network."""
    return _read_elements(stream.read(_HEADER_AT_FIRST), stream, transfer_syntax_uid, 0, ())


def inflated(stream: BinaryIO, at_most: int) -> bytes:
    """The first bytes of a deflated file: its file meta as it stands, then the data set inflated.

    `stream` stands at the file's beginning. Raises UnparseableInstance if it cannot be inflated.
    """
    contents = stream.read(_HEADER_AT_FIRST)
    start, _meta, _syntax = _file_meta(contents)
    return contents[:start] + Inflating(contents[start:], stream, at_most).read(max(0, at_most - start))


def _read_elements(contents: bytes, stream: Stream, syntax: str, start: int, meta: tuple[RawElement, ...]) -> RawHeader:
    at_most = _HEADER_AT_MOST
    if syntax in _DEFLATED:
        stream, contents, at_most = Inflating(contents[start:], stream, _INFLATED_AT_MOST), contents[:start], 0
        contents += stream.read(_HEADER_AT_FIRST)
    elif start > len(contents):
        raise UnparseableInstance(f"its file meta information claims {start:,} bytes; send it again")
    search = Search(contents, syntax, start)
    while not search.over:
        if search.skip(stream):
            continue
        if at_most and len(search.contents) >= at_most:
            raise UnparseableInstance(
                f"its header has more than {at_most >> 20} MiB before any pixels; send it smaller"
            )
        if not (more := stream.read(3 * len(search.contents) or 1)):
            break
        search.go_on(more)
    return _found(search, syntax, meta)


def find_elements(
    contents: bytes, transfer_syntax_uid: str, start: int = 0, meta: tuple[RawElement, ...] = ()
) -> RawHeader:
    """The elements of an encoded data set from `start` on, up to its pixels; a deflated one is given inflated."""
    return _found(Search(contents, transfer_syntax_uid, start), transfer_syntax_uid, meta)


def _found(search: Search, syntax: str, meta: tuple[RawElement, ...]) -> RawHeader:
    return RawHeader(
        search.contents,
        meta,
        tuple(search.elements),
        search.pixels,
        syntax,
        search.implicit,
        search.little,
        search.whole,
    )


def find_items(value: bytes, transfer_syntax_uid: str) -> Iterator[RawHeader]:
    """The items of a sequence, each as a data set (PS3.5 7.5). `value`: its bytes from the first item to its end.

    Raises UnparseableInstance where something else stands among the items, or the last is cut off.
    """
    implicit, little = transfer_syntax_uid == ImplicitVRLittleEndian, transfer_syntax_uid != ExplicitVRBigEndian
    walk = Walk(value, implicit=implicit, little=little)
    at = 0
    try:
        while (item := walk.item(at)) is not None:
            found = find_elements(value[item.start : item.start + item.length], transfer_syntax_uid)
            if item.end > len(value) or not found.whole:
                raise StructError
            yield found
            at = item.end
    except StructError as error:
        raise UnparseableInstance("a sequence does not consist of whole items") from error


def _file_meta(contents: bytes) -> tuple[int, tuple[RawElement, ...], str]:
    """Where the data set begins, the elements before it, and its transfer syntax, "" where nobody says (PS3.10 7.1)."""
    at = 132 if contents[128:132] == b"DICM" else 0
    syntax, meta = "", []
    walk = Walk(contents, implicit=False, little=True)
    try:
        while contents[at : at + 2] == b"\x02\x00":
            meta.append(element := walk.element(at))
            if element.tag == _TRANSFER_SYNTAX_UID:
                syntax = contents[element.start : element.end].decode("ascii", "replace").strip(" \0")
            at = element.end
    except StructError:  # the file ends here
        at = len(contents)
    return at, tuple(meta), syntax
