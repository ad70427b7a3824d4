"""Judging: one test against what one header says, with the clause that tells it. Total and pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from functools import partial

from dicom_node.headers.attribute_values import first_text
from dicom_node.headers.body_regions import regions_exclude, regions_of_body_part
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader
from workflows.protocols.conditions import Check, Coded, Equals, NumberRange, Pattern, Present, Test, TimeOfDay
from workflows.protocols.fields import Anatomy, Field, Value
from workflows.protocols.outcome import ABOUT_AGE_ZERO, ABOUT_ANATOMY, BY_BODY_PART, SHOWN, Outcome
from workflows.protocols.telling import given, named, told_values, wanted
from workflows.protocols.truth import Truth

__all__ = ["age_flags", "anatomy_flags", "judge", "told_no"]

_YES, _NO, _UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN
_MARKS = {Anatomy.NO: 0, Anatomy.SHOWN: ABOUT_ANATOMY, Anatomy.BODY_PART: ABOUT_ANATOMY}
_MARKS_IF_MET = {**_MARKS, Anatomy.SHOWN: ABOUT_ANATOMY | SHOWN, Anatomy.BODY_PART: ABOUT_ANATOMY | BY_BODY_PART}
Source = Callable[[Value], str]
"""Which attribute a value is of, in words."""


def judge(
    test: Test,
    field: Field,
    values: tuple[Value, ...],
    series: SeriesHeader | None,
    source: Source,
    patterns: Container[Pattern],
) -> Outcome:
    """The outcome of a test. `series`: whose values they are; None of a field of the study. `patterns`: those of the
    test's that may match; the others are known to match nothing."""
    if series is not None and field.by_regions and (doubt := _doubtful(test, field, series)) is not None:
        return doubt
    age_zero = ABOUT_AGE_ZERO if field.name == "age" and 0.0 in values else 0
    truth = _NO
    for check in test.checks:
        one, value = _meets(check, values, patterns)
        if one is _YES:
            marks = _MARKS_IF_MET[field.anatomy] if values else _MARKS[field.anatomy]
            return Outcome(_YES, partial(given, check, field, value, source), (), marks | age_zero)
        if one is _UNKNOWN:
            truth = one
    if truth is _UNKNOWN:
        return _where_missing(test, field)
    missing = () if values else (field.attributes,)
    return Outcome(_NO, partial(told_no, test, field, values, source), missing, _MARKS[field.anatomy] | age_zero)


def _where_missing(test: Test, field: Field) -> Outcome:
    """What a test counts as whose attribute is not there, or not as it should be."""
    missing, marks = (field.attributes,), _MARKS[field.anatomy]
    told = f"no {field.attributes}"
    if test.if_missing is None:
        return Outcome(_UNKNOWN, told, missing, marks)
    if test.if_missing:
        return Outcome(_YES, f"{told}, which counts as met", missing, marks)
    return Outcome(_NO, f"{told}, which counts as not met", missing, marks)


def told_no(test: Test, field: Field, values: tuple[Value, ...], source: Source) -> str:
    """Why none of these values meets a test."""
    checks = test.checks
    if not checks:
        return f"nothing is asked of {field.label}"
    if not values:  # the test asks whether there are some
        return f"no {field.attributes}"
    stands, asked = told_values(field, values, source), wanted(checks, field)
    if all(isinstance(check, Pattern) for check in checks):
        return f"none of {asked} in {stands}"
    if all(isinstance(check, Coded) for check in checks):
        return f"none of {asked} among {stands}"
    if any(isinstance(check, NumberRange | Present) for check in checks):
        return f"{stands}, wanted is {asked}"
    return f"{stands} is not {asked}"


# --- Checks -----------------------------------------------------------------------------------------------------------

_Met = tuple[Truth, Value]


def _meets(check: Check, values: tuple[Value, ...], patterns: Container[Pattern]) -> _Met:
    """Whether one of the values meets a check, and which; unknown where none is such as it could be asked of."""
    if isinstance(check, Present):
        return (_YES if bool(values) is check.wanted else _NO), (values[0] if values else "")
    takes = _TAKES[type(check)] if not isinstance(check, Pattern) or check in patterns else _not_in_it
    truth = _UNKNOWN
    for value in values:
        taken = takes(check, value)
        if taken:
            return _YES, value
        if taken is not None:
            truth = _NO
    return truth, ""


def _not_in_it(_: Check, value: Value) -> bool | None:
    return None if _matchable(value) is None else False


def _equals(check: Equals, value: Value) -> bool | None:
    if isinstance(value, str):
        return check.takes(value)
    if isinstance(value, float | int):
        return check.takes_number(value)
    if isinstance(value, CodedHeader):
        return any(map(check.takes, (f"{value.scheme}:{value.value}", value.value, value.meaning)))
    return None


def _in_range(check: NumberRange, value: Value) -> bool | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, float | int) or value != value:
        return None
    return check.contains(value)


def _matches(check: Pattern, value: Value) -> bool | None:
    text = _matchable(value)
    return None if text is None else check.matches(text)


def _matchable(value: Value) -> str | None:
    """What a pattern is looked for in."""
    if isinstance(value, CodedHeader):
        return value.meaning or None
    return value if isinstance(value, str) else None


def _is_concept(check: Coded, value: Value) -> bool | None:
    if not isinstance(value, CodedHeader) or not value.value:
        return None
    return check.takes(value)


def _at_that_time(check: TimeOfDay, value: Value) -> bool | None:
    if not isinstance(value, datetime):
        return None
    try:
        return check.contains(value)
    except (OverflowError, OSError, ValueError):  # a year that no clock has
        return None


_TAKES: dict[type, Callable[..., bool | None]] = {
    Equals: _equals, NumberRange: _in_range, Pattern: _matches, Coded: _is_concept, TimeOfDay: _at_that_time,
}  # fmt: skip


# --- The age ----------------------------------------------------------------------------------------------------------


def age_flags(series: Sequence[SeriesHeader]) -> tuple[str, ...]:
    """What a person should look at where an age of 0 decided: pseudonymisation often writes 000Y."""
    stated = (first_text(one.attributes, "PatientAge") for one in series)
    found = next((age for age in stated if _ZERO_YEARS.fullmatch(age)), None)
    return () if found is None else (f"age {found.strip()}, often written by pseudonymisation",)


_ZERO_YEARS = re.compile(r" ?0{1,3} ?[Yy] ?")


# --- The part of the body ---------------------------------------------------------------------------------------------


def anatomy_flags(series: SeriesHeader) -> tuple[str, ...]:
    """What a person should look at where a header is not at one with itself about the part of the body."""
    regions = series.regions
    if regions.contradicted:
        return (f"codes and words name regions that exclude each other: {_listed(regions.regions)}",)
    if _body_part_disagrees(series):
        said = f"Body Part Examined {named(series.body_part_examined)}"
        return (f"{said} disagrees with what codes or words say: {_listed(regions.regions)}",)
    return ()


def _body_part_disagrees(series: SeriesHeader) -> bool:
    part, regions = regions_of_body_part(series.body_part_examined), series.regions.regions
    return bool(part) and bool(regions) and regions_exclude(part, regions)


def _listed(regions: frozenset[str]) -> str:
    return ", ".join(sorted(regions))


def _doubtful(test: Test, field: Field, series: SeriesHeader) -> Outcome | None:
    """Unknown where the header contradicts itself, or Body Part Examined is all that there is; None: judge as usual."""
    regions = series.regions
    if all(isinstance(check, Present) for check in test.checks):
        return None
    if field.anatomy is Anatomy.BODY_PART and _body_part_disagrees(series):
        return Outcome(_UNKNOWN, anatomy_flags(series)[0], (), ABOUT_ANATOMY)
    if field.name != "region":
        return None
    if regions.contradicted:
        return Outcome(_UNKNOWN, anatomy_flags(series)[0], (), ABOUT_ANATOMY)
    if regions.regions or not regions.by_body_part_alone:
        return None
    part = named(series.body_part_examined)
    told = f"Body Part Examined {part} alone does not decide, and neither a code nor a word names the part of the body"
    alone = tuple(sorted(regions.by_body_part_alone))
    patterns = [check for check in test.checks if isinstance(check, Pattern)]
    agrees = any(_meets(check, alone, patterns)[0] is _YES for check in test.checks)
    if test.if_missing is None or (test.if_missing and not agrees):
        return Outcome(_UNKNOWN, told, (field.attributes,), ABOUT_ANATOMY)
    return _where_missing(test, field)
