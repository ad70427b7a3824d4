"""Asking for: which attributes reading protocols look at, by keyword. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import assert_never

from dicom_node.headers.keywords import sequences_by_keyword, tag_told
from workflows.protocols.conditions import AllOf, AnyOf, Condition, Count, Not, Test
from workflows.protocols.fields import FIELDS
from workflows.protocols.schema import Order, ReadingProtocol

__all__ = ["asked_fields", "asked_keywords", "fields_of"]

_IN_BRACES = re.compile(r"\{(\w+)")
_TAG = re.compile(r"\(([0-9A-F]{4},[0-9A-F]{4})\)")
_DESCRIPTIONS = ("StudyDescription", "RequestedProcedureDescription", "SeriesDescription", "ProtocolName")
_CODES = (
    "AnatomicRegionSequence",
    "ProcedureCodeSequence",
    "RequestedProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
    "ScheduledProtocolCodeSequence",
)
# What a field is read from beside what an explanation names as missing.
_BEHIND = {
    "region": (*_DESCRIPTIONS, *_CODES, "BodyPartExamined"),
    "phase": (*_DESCRIPTIONS, "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    "plane": ("ImageOrientationPatient",),
    "laterality": ("Laterality", "ImageLaterality", "FrameLaterality"),
    "procedure": ("ProcedureCodeSequence", "RequestedProcedureCodeSequence"),
    "protocol_code": ("PerformedProtocolCodeSequence", "ScheduledProtocolCodeSequence"),
    "reason": ("ReasonForTheRequestedProcedure", "ReasonForStudy", "ReasonForRequestedProcedureCodeSequence"),
    "reason_code": ("ReasonForRequestedProcedureCodeSequence",),
    "age": ("PatientAge",),
}
_PREFERRED = {
    Order.ORIGINAL: ("ImageType",),
    Order.AXIAL: ("ImageOrientationPatient",),
    Order.THIN: ("SliceThickness",),
    Order.THICK: ("SliceThickness",),
    Order.MOST_IMAGES: (),
    Order.LATEST: ("SeriesNumber",),
}
_IN_TEXTS = {"age": "age", "sex": "sex", "side": "laterality", "reason": "reason"}


def asked_keywords(protocols: Iterable[ReadingProtocol]) -> frozenset[str]:
    """The attributes behind all that protocols ask, wherever they stand in a header: of a path its last keyword."""
    found: set[str] = set()
    for protocol in protocols:
        for field in asked_fields(protocol):
            found.update(_keywords(field))
        for preference in protocol.series.prefer:
            found.update(_PREFERRED[preference] if isinstance(preference, Order) else ())
    return frozenset(found)


def asked_fields(protocol: ReadingProtocol) -> frozenset[str]:
    """The fields, and paths of keywords, that its conditions, preferences and questions ask."""
    conditions = [protocol.when, protocol.series.where]
    conditions += [one for one in protocol.series.prefer if not isinstance(one, Order)]
    found = {field for condition in conditions for field in fields_of(condition)}
    names = {name for question in protocol.questions for name in _IN_BRACES.findall(question.text)}
    return frozenset(found | {_IN_TEXTS[name] for name in names if name in _IN_TEXTS})


def fields_of(condition: Condition) -> Iterator[str]:
    """The fields and paths that the tests of a condition ask."""
    match condition:
        case Test():
            yield condition.field
        case AllOf(conditions) | AnyOf(conditions):
            for one in conditions:
                yield from fields_of(one)
        case Not(one) | Count(one):
            yield from fields_of(one)
        case never:
            assert_never(never)


def _keywords(field: str) -> Iterator[str]:
    if field not in FIELDS:
        yield field.rpartition("/")[2]
        return
    yield from _BEHIND.get(field, ())
    yield from (_by_tag()[tag] for tag in _TAG.findall(FIELDS[field].attributes) if tag in _by_tag())


@cache
def _by_tag() -> dict[str, str]:
    """Keywords by tag, `0018,0050`."""
    tags = ((keyword, _TAG.findall(tag_told(keyword))) for keyword in sequences_by_keyword())
    return {found[-1]: keyword for keyword, found in tags if found}
