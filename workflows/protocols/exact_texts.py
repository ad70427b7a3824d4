"""Exact texts: tests that want a header's whole value where a part of it, or a range, is what was meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dicom_node.headers.attributes import Attributes
from dicom_node.headers.modalities import is_modality, modalities_meant
from workflows.protocols.condition_reader import loc_of
from workflows.protocols.conditions import Equals, Test
from workflows.protocols.nodes import Written
from workflows.protocols.schema import ReadingProtocol

__all__ = ["exact_text_hints"]

_FREE_TEXTS = {
    "study_description": ("StudyDescription",),
    "requested_procedure": ("RequestedProcedureDescription",),
    "reason": ("ReasonForTheRequestedProcedure", "ReasonForStudy"),
    "series_description": ("SeriesDescription",),
    "protocol_name": ("ProtocolName",),
    "description": ("StudyDescription", "RequestedProcedureDescription", "SeriesDescription", "ProtocolName"),
    "contrast_agent": ("ContrastBolusAgent",),
}
"""Fields of texts that people write, with the keywords that they read."""
_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)*")
_ONE_WORD = re.compile(r"[^\W\d_]+")


def exact_text_hints(test: Test, protocol: ReadingProtocol, written: Written | None) -> Iterator[str]:
    """What is odd about the values that a test wants exactly. What stands under `equals`, or in an example of the
    protocol as it is, is meant so."""
    said = _bare(test, written)
    if test.field in ("modality", "Modality"):
        for value in _equals(test):
            if not is_modality(value):
                meant = " or ".join(modalities_meant(value))
                hint = f"did you mean {meant}?" if meant else "write CT, MR, CR, DX, US, ..."
                yield f"{value!r} is no modality of DICOM (PS3.3 C.7.3.1.1.1), so no image has it; {hint}"
    elif test.field == "age":
        for value in said:
            yield f"age {value} is met by exactly {value} years; did you mean {{at_least: {value}}}?"
    elif (keywords := _keywords(test.field)) and (parts := [one for one in said if _is_part(one)]):
        whole = {one for example in protocol.examples for one in _texts(example.study.series, keywords)}
        for value in parts:
            if value.casefold() not in whole:
                pattern = "'" + rf"\b{value}".rstrip() + (r"\b" if value[-1].isascii() else "") + "'"
                if not value[0].isascii():
                    pattern = pattern.replace(r"'\b", "'", 1)
                yield (
                    f"{test.field}: {value} is met by a header that says this and nothing else; did you mean"
                    f" {{pattern: {pattern}}}? If not, write {{equals: {value}}}"
                )


def _equals(test: Test) -> tuple[str, ...]:
    return tuple(value for check in test.checks if isinstance(check, Equals) for value in check.values)


def _bare(test: Test, written: Written | None) -> tuple[str, ...]:
    """The values that stand without `equals`."""
    values = _equals(test)
    entry: Any = written.values if written is not None else None
    for part in loc_of(test.where):
        try:
            entry = entry[part]
        except (KeyError, IndexError, TypeError):
            return values
    entries = entry if isinstance(entry, list) else [entry]
    bare = {one.strip() for one in entries if isinstance(one, str)}
    if any(isinstance(one, str) for one in entries) or any(isinstance(one, dict) for one in entries):
        return values if test.field == "age" and bare else tuple(value for value in values if value in bare)
    return values


def _keywords(field: str) -> tuple[str, ...]:
    last = field.rsplit("/", 1)[-1]
    known = {keyword for keywords in _FREE_TEXTS.values() for keyword in keywords}
    return _FREE_TEXTS.get(field, (last,) if last in known else ())


def _is_part(value: str) -> bool:
    """Whether it is one word, or some in small letters: scanners and orders hardly ever say so little."""
    return _ONE_WORD.fullmatch(value) is not None or (_WORDS.fullmatch(value) is not None and value == value.lower())


def _texts(series: Any, keywords: tuple[str, ...]) -> Iterator[str]:
    for one in series:
        yield from _values(one.attributes, keywords)


def _values(attributes: Attributes, keywords: tuple[str, ...]) -> Iterator[str]:
    for keyword, values in attributes.items():
        for value in values:
            if not isinstance(value, str):
                yield from _values(value, keywords)
            elif keyword in keywords:
                yield value.strip().casefold()
