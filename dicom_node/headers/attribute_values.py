"""Attributes: what a header says as plain values by keyword, and how one is asked. Nothing is converted before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dicom_node.headers.coded import CodedHeader

__all__ = [
    "Attributes", "coded_values", "first_frame_groups", "first_text", "first_whole_number", "numbers_of", "sub_items",
    "text_values",
]  # fmt: skip

Attributes = Mapping[str, "tuple[str | Attributes, ...]"]
"""Values by DICOM keyword (PS3.6): texts as they stand in the file, decoded and without padding; items of a sequence as
attributes again. What is empty is left out. Without pixels, bulk data, private elements, and with the first item alone
of Per-Frame Functional Groups Sequence. In JSON and YAML a value alone stands for a list of one, numbers for their
texts."""


def text_values(attributes: Attributes, keyword: str) -> tuple[str, ...]:
    """All values of an attribute; none where it is a sequence."""
    values = attributes.get(keyword, ())
    return tuple(value for value in values if isinstance(value, str))


def first_text(attributes: Attributes, *keywords: str) -> str:
    """The first value of the first of these attributes that has one; "" where none has."""
    for keyword in keywords:
        for value in attributes.get(keyword, ()):
            if isinstance(value, str):
                if value:
                    return value
                break
    return ""


def numbers_of(attributes: Attributes, keyword: str) -> tuple[float, ...]:
    """All values as finite numbers; none where one of them is none."""
    try:
        numbers = tuple(float(value) for value in text_values(attributes, keyword))
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def first_whole_number(attributes: Attributes, keyword: str) -> int | None:
    """The first value as a whole number."""
    try:
        number = float(first_text(attributes, keyword))
    except ValueError:
        return None
    return int(number) if math.isfinite(number) else None


def sub_items(attributes: Attributes, *keywords: str) -> Iterator[Attributes]:
    """The items of the sequence that `keywords` lead to, one sequence inside the other."""
    keyword, *inner = keywords
    for item in attributes.get(keyword, ()):
        if isinstance(item, str):
            continue
        if inner:
            yield from sub_items(item, *inner)
        else:
            yield item


def first_frame_groups(attributes: Attributes, macro: str) -> tuple[Attributes, ...]:
    """The items of a functional group of the first frame: its own, or else the shared ones (PS3.3 C.7.6.16)."""
    for own in sub_items(attributes, "PerFrameFunctionalGroupsSequence"):
        if found := tuple(sub_items(own, macro)):
            return found
        break
    return tuple(sub_items(attributes, "SharedFunctionalGroupsSequence", macro))


def coded_values(attributes: Attributes, *keywords: str) -> tuple[CodedHeader, ...]:
    """The coded concepts of the code sequence that `keywords` lead to (PS3.3 8.8), without repetition."""
    concepts: dict[CodedHeader, None] = {}
    for item in sub_items(attributes, *keywords):
        if value := first_text(item, "CodeValue", "LongCodeValue", "URNCodeValue"):
            scheme, meaning = first_text(item, "CodingSchemeDesignator"), first_text(item, "CodeMeaning")
            concepts.setdefault(CodedHeader(value, scheme, meaning))
    return tuple(concepts)
