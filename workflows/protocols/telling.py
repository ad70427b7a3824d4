"""Telling: clauses of a reason. What a header says is cut and on one line; who the patient is is not said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.conditions import Check, Coded, Equals, Pattern, Present, TimeOfDay
from workflows.protocols.fields import Field, Value

__all__ = ["a_few", "given", "named", "quote", "source_of", "told_values", "wanted"]

_LONGEST = 60
_A_FEW = 4
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def named(text: str) -> str:
    """A text of a header on one line, at most 60 characters."""
    short = text[: _LONGEST + 1].strip()
    short = short if short.isprintable() else "".join(letter if letter.isprintable() else " " for letter in short)
    return short if len(short) <= _LONGEST else f"{short[: _LONGEST - 3]}..."


def quote(text: str) -> str:
    """The same in quotes."""
    return f"'{named(text)}'"


def a_few(texts: Iterable[str], last: str = ", ") -> str:
    """Texts in a row, `last` before the last one; of many the first ones."""
    listed = list(dict.fromkeys(texts))
    if len(listed) > _A_FEW:
        return f"{', '.join(listed[:_A_FEW])} and {len(listed) - _A_FEW} more"
    return ", ".join(listed[:-1]) + (last if listed[:-1] else "") + "".join(listed[-1:])


def source_of(field: Field, study: StudyHeader, series: SeriesHeader | None) -> Callable[[Value], str]:
    """Which attribute a value of a field is of, as a sentence names it."""
    if field.name != "description":
        return lambda _: field.label
    texts = {
        study.study_description: "study description",
        study.requested_procedure_description: "requested procedure",
        **({} if series is None else {series.protocol_name: "protocol name"}),
        **({} if series is None else {series.series_description: "series description"}),
    }
    return lambda value: texts.get(value, field.label) if isinstance(value, str) else field.label


def told_values(field: Field, values: Sequence[Value], source: Callable[[Value], str]) -> str:
    """What stands in a header: `series description 'Head', study description 'CT'`."""
    if not field.quoted:
        return f"the {field.label} that is given"
    some = values if len(values) <= _A_FEW else values[:_A_FEW]
    more = f" and {len(values) - len(some)} more" if len(some) < len(values) else ""
    if field.name == "description":
        return a_few(f"{source(value)} {_told(field, value)}" for value in some) + more
    return f"{_label(field)} {a_few(_told(field, value) for value in some)}{more}"


def given(check: Check, field: Field, value: Value, source: Callable[[Value], str]) -> str:
    """Why a check is met, by this value."""
    if isinstance(check, Present):
        return f"{field.label} is given" if check.wanted else f"no {field.attributes}"
    if isinstance(check, Pattern):
        where = f"{source(value)} {_told(field, value)}" if field.quoted else f"the {field.label}"
        return f"{_check(check, field)} in {where}"
    return f"{_label(field)} {_told(field, value)}" if field.quoted else f"the {field.label} is as wanted"


def wanted(checks: Sequence[Check], field: Field) -> str:
    """What a test wants: `CT or MR`, `at least 3 mm`, `/abdomen/`."""
    said = [said for check in checks for said in _each(check, field)]
    patterns_or_codes = all(isinstance(check, Pattern | Coded) for check in checks)
    return a_few(said, ", " if patterns_or_codes else " or ")


def _each(check: Check, field: Field) -> Iterable[str]:
    if isinstance(check, Equals):
        return map(named, check.values)
    if isinstance(check, Coded):
        return (f"{concept.scheme}:{concept.value}" for concept in check.concepts)
    return (_check(check, field),)


def _check(check: Check, field: Field) -> str:
    if isinstance(check, Pattern):
        return f"/{named(check.expression)}/"
    if isinstance(check, Present):
        return "a value" if check.wanted else "none"
    if isinstance(check, TimeOfDay):
        days = f" on {', '.join(_DAYS[day % 7] for day in check.days)}" if check.days else ""
        return f"{_clock(check.from_minute)} to {_clock(check.to_minute)}{days}"
    return f"{check}{field.unit}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _label(field: Field) -> str:
    return _LABELS.get(field.name, field.label)


_LABELS = {
    "procedure": "procedure code", "reason_code": "code of the reason", "protocol_code": "protocol code",
    "instances": "number of instances", "frames": "number of frames", "sop_class": "SOP class",
    "series_count": "number of series", "instance_count": "number of instances in the study",
    "body_part_examined": "Body Part Examined", "calling_ae": "calling AE title",
}  # fmt: skip


def _told(field: Field, value: Value) -> str:
    if isinstance(value, CodedHeader):
        return named(f"{value.scheme}:{value.value} {value.meaning}")
    if isinstance(value, datetime):
        return f"{_DAYS[value.weekday()]} {value:%H:%M}"
    if isinstance(value, str):
        return quote(value) if field.quoted and field.name in _SENTENCES else named(value)
    return f"{value:g}{field.unit}"


_SENTENCES = frozenset(
    ["description", "study_description", "requested_procedure", "series_description", "protocol_name", "contrast_agent"]
)
