"""Tolerant reading of data set headers: what can be read is read, what cannot be read is empty.

Nothing here decodes pixels, and nothing here trusts a length: a deflated data set is inflated up to a bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO

import pydicom
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.coded import CodedHeader

__all__ = ["BROKEN", "codes", "integer", "items", "number", "read_data_set_header", "read_file_header", "text", "texts"]

# A value that does not conform would otherwise be quoted in a warning, and may be a patient's name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

# What pydicom raises on data sets and values that are not what they claim to be.
BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NameError,
    NotImplementedError,
    OSError,
    RecursionError,
    StructError,
    TypeError,
    ValueError,
    zlib.error,
)

# PS3.5 A.5, and the two JPIP syntaxes that deflate the same way (PS3.5 A.7, A.9).
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_INFLATE_AT_MOST = 64 * 1024 * 1024
_PIXELS = 0x7FE00000
_NO_DATA_SET = "the bytes are no DICOM data set: no attribute of the standard stands in them"
_FILE_META = 0x0002


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >= _PIXELS


def _after_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != _FILE_META


def read_data_set_header(stream: BinaryIO, transfer_syntax_uid: str, keywords: Iterable[str]) -> Dataset:
    """Read the attributes named by `keywords` from an encoded data set, up to its pixels.

    `stream` stands at the data set's first byte. An unknown transfer syntax is tried as Explicit, then as Implicit VR
    Little Endian. Raises UnparseableInstance if the bytes are no data set.
    """
    tags: list[BaseTag | int] = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]
    start = stream.tell()
    try:
        if transfer_syntax_uid in _DEFLATED:
            # The bound keeps a small file from filling the memory; a header does not need more.
            stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), _INFLATE_AT_MOST))
            start = 0
        for implicit, little in _encodings(transfer_syntax_uid):
            stream.seek(start)
            header = read_dataset(stream, implicit, little, stop_when=_at_pixels, specific_tags=tags)
            if len(header):
                return header
            stream.seek(start)
            if _is_data_set(read_dataset(stream, implicit, little, stop_when=_at_pixels)):
                return header
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnparseableInstance(f"the data set cannot be read ({type(error).__name__})") from error
    raise UnparseableInstance(_NO_DATA_SET)


def read_file_header(path: Path, keywords: Iterable[str]) -> tuple[Dataset, Dataset]:
    """Read file meta and the attributes named by `keywords` from a file, with or without a Part 10 prefix (PS3.10 7.1).

    Raises UnparseableInstance naming the file, or OSError if it cannot be opened.
    """
    wanted = list(keywords)
    with path.open("rb") as stream:
        try:
            if stream.read(132)[128:] != b"DICM":
                return _without_prefix(stream, wanted)
            meta = read_dataset(stream, False, True, stop_when=_after_file_meta)
            transfer_syntax = str(meta.get("TransferSyntaxUID", ""))
            if not transfer_syntax:
                return _without_prefix(stream, wanted)
            return meta, read_data_set_header(stream, transfer_syntax, wanted)
        except UnparseableInstance as error:
            raise UnparseableInstance(f"{path}: {error}") from error
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not the file
                raise
            raise UnparseableInstance(f"{path}: not a DICOM file ({type(error).__name__})") from error


def _without_prefix(stream: BinaryIO, keywords: Sequence[str]) -> tuple[Dataset, Dataset]:
    stream.seek(0)
    whole = pydicom.dcmread(stream, force=True, stop_before_pixels=True)
    if not _is_data_set(whole):
        raise UnparseableInstance(_NO_DATA_SET)
    header = Dataset()
    for keyword in ("SpecificCharacterSet", *keywords):
        if keyword in whole:
            header[keyword] = whole[keyword]
    meta = Dataset()
    meta.update(getattr(whole, "file_meta", Dataset()))
    return meta, header


def _encodings(transfer_syntax_uid: str) -> list[tuple[bool, bool]]:
    """(implicit VR, little endian) to try, in order."""
    uid = UID(transfer_syntax_uid)
    try:
        return [(uid.is_implicit_VR, uid.is_little_endian)]
    except ValueError:
        return [(False, True), (True, True)]


def _is_data_set(candidate: Dataset) -> bool:
    """Whether at least one element is in the dictionary; garbage read as elements has tags that nobody registered."""
    return any(dictionary_has_tag(tag) for tag in candidate.keys())  # noqa: SIM118 (iterating a Dataset converts every element)


def text(header: Dataset, keyword: str) -> str:
    """The attribute's first value as text, trimmed, or "" if it is absent, empty or broken."""
    values = texts(header, keyword)
    return values[0] if values else ""


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of the attribute as text, trimmed; () if it is absent, empty or broken."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return ()
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return tuple(str(item).strip() for item in (value if several else (value,)))
    except BROKEN:
        return ()


def number(header: Dataset, keyword: str) -> float | None:
    """The attribute's first value as a finite number, or None."""
    try:
        value = float(text(header, keyword))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def integer(header: Dataset, keyword: str) -> int | None:
    """The attribute's first value as a whole number, or None."""
    value = number(header, keyword)
    return None if value is None else int(value)


def items(header: Dataset, *keywords: str) -> Iterator[Dataset]:
    """The items of the sequence that `keywords` lead to, one sequence inside the other; none where it is broken."""
    keyword, *inner = keywords
    try:
        sequence = list(header.get(keyword) or ())
    except BROKEN:
        return
    for item in sequence:
        if not isinstance(item, Dataset):
            continue
        if inner:
            yield from items(item, *inner)
        else:
            yield item


def codes(header: Dataset, *keywords: str) -> tuple[CodedHeader, ...]:
    """The coded concepts of the code sequence that `keywords` lead to (PS3.3 8.8), without repetition."""
    concepts: dict[CodedHeader, None] = {}
    for item in items(header, *keywords):
        value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        if value:
            scheme = text(item, "CodingSchemeDesignator")
            concepts.setdefault(CodedHeader(value, scheme, text(item, "CodeMeaning")))
    return tuple(concepts)
