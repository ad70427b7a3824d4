"""Tolerant reading of data set headers: what can be read is read, what cannot be read is empty.

Nothing here decodes pixels, and nothing here trusts a length: a deflated data set is inflated up to a bound.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO

import pydicom
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.raw import (
    MOST_ITEMS,
    RawHeader,
    data_set_of,
    file_meta_of,
    holds_more_items,
    read_raw_data_set,
    read_raw_header,
    too_many_items,
)

__all__ = [
    "BROKEN", "codes", "integer", "items", "number", "numbers", "read_data_set_header", "read_file_header",
    "require_few_items", "text", "texts",
]  # fmt: skip

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


def read_data_set_header(stream: BinaryIO, transfer_syntax_uid: str, keywords: Iterable[str]) -> Dataset:
    """Read the attributes named by `keywords` from an encoded data set, up to its pixels.

    `stream` stands at the data set's first byte. Raises UnparseableInstance if the bytes are no data set.
    """
    return _attributes(read_raw_data_set(stream, transfer_syntax_uid), keywords)


def read_file_header(path: Path, keywords: Iterable[str]) -> tuple[Dataset, Dataset]:
    """Read file meta and the attributes named by `keywords` from a file, with or without a Part 10 prefix (PS3.10 7.1).

    Raises UnparseableInstance naming the file, or OSError if it cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            raw = read_raw_header(stream)
            return file_meta_of(raw), _attributes(raw, keywords)
        except UnparseableInstance as error:
            raise UnparseableInstance(f"{path}: {error}") from error


def _attributes(raw: RawHeader, keywords: Iterable[str]) -> Dataset:
    # Garbage read as elements has tags that nobody registered.
    if not any(dictionary_has_tag(element.tag) for element in raw.elements):
        raise UnparseableInstance("the bytes are no DICOM data set: no attribute of the standard stands in them")
    tags = {int(tag) for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None}
    return data_set_of(raw, tags)


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


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of the attribute as finite numbers; () if it is absent, empty or broken, or one of them is none."""
    try:
        values = tuple(float(value) for value in texts(header, keyword))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def number(header: Dataset, keyword: str) -> float | None:
    """The attribute's first value as a finite number, or None."""
    try:
        value = float(text(header, keyword))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def integer(header: Dataset, keyword: str) -> int | None:
    """The attribute's first value as a whole number, or None."""
    value = number(header, keyword)
    return None if value is None else int(value)


def require_few_items(header: Dataset, keyword: str, most: int = MOST_ITEMS) -> None:
    """Raise UnparseableInstance for a sequence of more than `most` items at any depth, before they are decoded."""
    tag = tag_for_keyword(keyword)
    element = header.get_item(tag) if tag is not None and tag in header else None
    if tag is None or not isinstance(element, RawDataElement) or element.value is None:
        return
    if holds_more_items(element.value, element.is_little_endian, most):
        raise too_many_items(tag, most)


def items(header: Dataset, *keywords: str) -> Iterator[Dataset]:
    """The items of the sequence that `keywords` lead to, one sequence inside the other; none where it is broken.

    Raises UnparseableInstance for a sequence of more items than any that means well.
    """
    keyword, *inner = keywords
    require_few_items(header, keyword)
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
