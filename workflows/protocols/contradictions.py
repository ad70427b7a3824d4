"""Contradictions: conditions that no header can meet, and tests that say nothing of the images at hand. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workflows.protocols.conditions import (
    AllOf,
    AnyOf,
    Condition,
    Count,
    Equals,
    Not,
    NumberRange,
    Present,
    Test,
)
from workflows.protocols.fields import FIELDS, Kind

__all__ = ["allowed", "contradictions"]

_SEVERAL = frozenset(
    {"description", "image_type", "calling_ae", "sop_class", "region", "phase", "software", "kernel"}
)  # fmt: skip
"""Texts that a header may have several of: two tests may be met by two of them."""
_ALWAYS_THERE = frozenset({"modality", "sop_class", "instances", "series_count", "instance_count"})
_WITHOUT_PLACES = frozenset({"CR", "DX", "US", "ES", "OP", "XC", "SM", "GM", "OPT"})
_OF_SECTIONS = frozenset({"CT", "MR", "PT", "NM"})
_NEVER_THERE = {
    "slice_thickness": _WITHOUT_PLACES, "plane": _WITHOUT_PLACES, "kernel": _WITHOUT_PLACES | {"MR", "MG"},
    "field_strength": _WITHOUT_PLACES | {"CT", "MG", "PT"}, "echo_time": _WITHOUT_PLACES | {"CT", "MG", "PT"},
    "repetition_time": _WITHOUT_PLACES | {"CT", "MG", "PT"}, "kvp": frozenset({"MR", "US", "ES", "OP", "XC", "SM"}),
    "view_position": _OF_SECTIONS | {"US", "ES", "OP", "XC", "SM"},
}  # fmt: skip
"""Attributes that images of these modalities do not have (PS3.3 A.1)."""


def contradictions(condition: Condition) -> Iterator[tuple[str, str]]:
    """Places of a condition (its `where`) that can never be met, or that always are, and why.

    Of `when`, whose tests of series may be met by different ones, give the parts that speak of the study alone.
    """
    if told := _never(condition):
        yield told
    for test in _tests(condition):
        if test.field in _ALWAYS_THERE and any(isinstance(check, Present) for check in test.checks):
            yield test.where, f"{test.field} stands in every image: `present` says nothing here"
    modalities = allowed(condition, "modality")
    for test in _tests(condition):
        absent = _NEVER_THERE.get(test.field, frozenset())
        if modalities and modalities <= absent and test.if_missing is None and not _asks_absence(test):
            told_modalities = ", ".join(sorted(modalities))
            yield test.where, f"images of {told_modalities} have no {FIELDS[test.field].label}: it is never known"


def allowed(condition: Condition, field: str) -> frozenset[str] | None:
    """The values that a condition lets a field of one text have, in capitals; None: it does not say."""
    match condition:
        case Test():
            equals = [check for check in condition.checks if isinstance(check, Equals)]
            if condition.field != field or len(equals) != len(condition.checks):
                return None
            return frozenset(value.strip().upper() for check in equals for value in check.values)
        case AllOf(conditions):
            known = [one for part in conditions if (one := allowed(part, field)) is not None]
            return frozenset.intersection(*known) if known else None
        case AnyOf(conditions):
            every = [allowed(part, field) for part in conditions]
            if not every or any(one is None for one in every):
                return None
            return frozenset().union(*(one for one in every if one is not None))
        case _:
            return None


def _never(condition: Condition) -> tuple[str, str] | None:
    """Where a condition can never be met, and why; None where it can be, as far as can be seen."""
    match condition:
        case AllOf():
            return _never_together(condition)
        case AnyOf(conditions):
            found = [_never(part) for part in conditions]
            return found[0] if found and all(found) else None
        case _:
            return None


def _never_together(condition: AllOf) -> tuple[str, str] | None:
    parts = list(_conjuncts(condition))
    for part in parts:
        if isinstance(part, AnyOf) and (told := _never(part)):
            return told
    tests = [part for part in parts if isinstance(part, Test)]
    by_field: dict[str, list[Test]] = {}
    for test in tests:
        by_field.setdefault(test.field, []).append(test)
    for field, same in by_field.items():
        if len(same) > 1 and (why := _exclude(field, same)):
            return same[-1].where, f"no image can meet this beside {_other(same)}: {why}"
    for part in parts:
        if isinstance(part, Not):
            for test in tests:
                if _implies(test, part.condition):
                    why = f"{_name(test.where)} on the one hand and under not on the other"
                    return part.where, f"no image can meet this: it wants {why}"
    return None


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    """What must hold, all of it."""
    if isinstance(condition, AllOf):
        for part in condition.conditions:
            yield from _conjuncts(part)
    elif isinstance(condition, AnyOf) and len(condition.conditions) == 1:
        yield from _conjuncts(condition.conditions[0])
    else:
        yield condition


def _exclude(field: str, tests: Sequence[Test]) -> str:
    """Why tests of one field exclude each other; "" where they do not, as far as can be seen."""
    absent = [test for test in tests if _asks_absence(test)]
    if absent and len(absent) < len(tests) and all(test.if_missing is not True for test in tests if test not in absent):
        return f"{field} is to be missing and to have a value"
    known = FIELDS.get(field)
    if known is None or field in _SEVERAL or known.kind not in (Kind.TEXT, Kind.NUMBER):
        return ""
    lets = [one for test in tests if (one := allowed(test, field)) is not None]
    if len(lets) > 1 and not frozenset.intersection(*lets):
        return f"{field} has one value, and these have none in common"
    ranges = [test.checks[0] for test in tests if len(test.checks) == 1 and isinstance(test.checks[0], NumberRange)]
    if any(test.if_missing for test in tests):
        return ""
    low = max((one.minimum for one in ranges if one.minimum is not None), default=None)
    high = min((one.maximum for one in ranges if one.maximum is not None), default=None)
    if low is not None and high is not None and low > high:
        return f"{field} is to be at least {low:g} and at most {high:g}"
    return ""


def _asks_absence(test: Test) -> bool:
    return all(isinstance(check, Present) and not check.wanted for check in test.checks)


def _implies(test: Test, other: Condition) -> bool:
    """Whether whatever meets a test meets the other condition, too."""
    match other:
        case Test():
            if test.field != other.field or (test.if_missing is True and other.if_missing is not True):
                return False
            few, many = allowed(test, test.field), allowed(other, test.field)
            return set(test.checks) <= set(other.checks) or (few is not None and many is not None and few <= many)
        case AnyOf(conditions):
            return any(_implies(test, part) for part in conditions)
        case AllOf(conditions):
            return bool(conditions) and all(_implies(test, part) for part in conditions)
        case _:
            return False


def implies(condition: Condition, other: Condition) -> bool:
    """Whether whatever meets `condition` meets `other`, as far as their form shows: False where it does not show it."""
    if isinstance(other, AllOf):
        return all(implies(condition, part) for part in other.conditions)
    if condition == other:
        return True
    match condition:
        case AllOf(conditions):
            if any(implies(part, other) for part in conditions):
                return True
        case AnyOf(conditions):
            if conditions and all(implies(part, other) for part in conditions):
                return True
        case Test():
            if isinstance(other, Test) and _implies(condition, other):
                return True
            if isinstance(other, Test) and _within(condition, other):
                return True
        case Not():
            if isinstance(other, Not) and implies(other.condition, condition.condition):
                return True
        case _:
            pass
    return isinstance(other, AnyOf) and any(implies(condition, part) for part in other.conditions)


def _within(test: Test, other: Test) -> bool:
    """Whether a range of numbers lies in another of the same field."""
    if test.field != other.field or len(test.checks) != 1 or (test.if_missing and not other.if_missing):
        return False
    inner, outer = test.checks[0], other.checks[0]
    if len(other.checks) != 1 or not isinstance(inner, NumberRange) or not isinstance(outer, NumberRange):
        return False
    low = outer.minimum is None or (inner.minimum is not None and inner.minimum >= outer.minimum)
    return low and (outer.maximum is None or (inner.maximum is not None and inner.maximum <= outer.maximum))


def _tests(condition: Condition) -> Iterator[Test]:
    match condition:
        case Test():
            yield condition
        case AllOf(conditions) | AnyOf(conditions):
            for part in conditions:
                yield from _tests(part)
        case Not(beneath) | Count(beneath):
            yield from _tests(beneath)


def _other(tests: Sequence[Test]) -> str:
    return " and ".join(dict.fromkeys(_name(test.where) for test in tests[:-1]))


def _name(where: str) -> str:
    return where or "another test"
