"""Paths: what stands in a header under a path of DICOM keywords; what is not as it should be is not there. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dicom_node.headers.attributes import Attributes
from dicom_node.headers.coded import CodedHeader

__all__ = ["path_values"]

_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def path_values(
    attributes: Attributes, path: tuple[str, ...], *, coded: bool = False, numbers: bool = False
) -> tuple[str | float | CodedHeader, ...]:
    """The values under a path; () where there are none. An attribute that does not stand at the top of an enhanced
    multi-frame instance is looked for in its functional groups (PS3.3 C.7.6.16).

    `coded`: the path ends in a sequence, and its items are read as coded concepts; one without a code has a value "".
    `numbers`: finite numbers alone.
    """
    *sequences, last = path
    values = list(_under(_at(attributes, path[0]), sequences, last))
    if coded:
        return tuple(dict.fromkeys(_code(item) for item in values if isinstance(item, Mapping) and item))
    texts = [text for value in values if (text := _text(value))]
    return tuple(_finite(texts)) if numbers else tuple(texts)


def _at(attributes: Attributes, keyword: str) -> list[Attributes]:
    """The attributes that hold a keyword: the header, or else its functional groups."""
    if not isinstance(attributes, Mapping):
        return []
    if attributes.get(keyword):
        return [attributes]
    groups = [group for name in _GROUPS for group in _items(attributes, name)]
    macros = [macro for group in groups for name in group for macro in _items(group, name)]
    return [one for one in (*groups, *macros) if one.get(keyword)]


def _under(holders: Iterable[Attributes], sequences: list[str], last: str) -> Iterator[Any]:
    for keyword in sequences:
        holders = [item for holder in holders for item in _items(holder, keyword)]
    for holder in holders:
        yield from _values(holder, last)


def _values(attributes: Attributes, keyword: str) -> tuple[Any, ...]:
    values: Any = attributes.get(keyword, ())
    return tuple(values) if isinstance(values, list | tuple) else () if values is None else (values,)


def _items(attributes: Attributes, keyword: str) -> list[Attributes]:
    return [item for item in _values(attributes, keyword) if isinstance(item, Mapping)]


def _text(value: Any) -> str:
    return "" if isinstance(value, Mapping) or value is None else str(value).strip()


def _finite(texts: Iterable[str]) -> Iterator[float]:
    for text in texts:
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            yield number


def _code(item: Attributes) -> CodedHeader:
    value, scheme, meaning = (
        next((text for keyword in keywords for one in _values(item, keyword) if (text := _text(one))), "")
        for keywords in _OF_CODES
    )
    return CodedHeader(value, scheme, meaning)


_OF_CODES = (("CodeValue", "LongCodeValue", "URNCodeValue"), ("CodingSchemeDesignator",), ("CodeMeaning",))
