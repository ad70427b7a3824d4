"""In words: conditions, preferences and limits as a person reads them, with the names that reasons use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from dicom_node.headers.coded import CodedHeader
from workflows.protocols.conditions import (
    AllOf,
    AnyOf,
    Check,
    Coded,
    Condition,
    Count,
    Equals,
    Not,
    NumberRange,
    Pattern,
    Present,
    Test,
    TimeOfDay,
)
from workflows.protocols.fields import FIELDS
from workflows.protocols.schema import ImageKind, Limits, OnlyIf, Order, Preference, Priority

__all__ = ["Told", "told", "told_flat", "told_kind", "told_limits", "told_only_if", "told_preference"]

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ORDERS = {
    Order.ORIGINAL: "original before derived",
    Order.AXIAL: "axial before other planes",
    Order.THIN: "thin slices before thick ones",
    Order.THICK: "thick slices before thin ones",
    Order.MOST_IMAGES: "the most images",
    Order.LATEST: "the latest",
}
_KINDS = {
    ImageKind.REFORMATS: "reformatted images",
    ImageKind.CAPTURES: "captures and secondary images",
    ImageKind.LOCALIZERS: "localizers",
    ImageKind.OWN_RESULTS: "results of this node",
}


@dataclass(frozen=True)
class Told:
    """A clause, and what stands beneath it: "all of" with its parts, or a test with none."""

    text: str
    beneath: tuple[Told, ...] = ()


def told(condition: Condition) -> Told:
    """A condition as a tree of clauses: "all of", "one of", "none of", and what each test wants."""
    match condition:
        case Test():
            return _told_test(condition)
        case AllOf(conditions):
            return _joined("all of", conditions, "anything")
        case AnyOf(conditions):
            return _joined("one of", conditions, "nothing")
        case Not(condition=inner):
            return _denied(inner)
        case Count(condition=inner, range=wanted):
            return Told(f"{wanted} series of the study where", (told(inner),))
        case _:
            assert_never(condition)


def told_flat(condition: Condition) -> str:
    """The same in one line, for a list: "phase is portal"."""
    return _flat(told(condition))


def told_preference(preference: Preference) -> str:
    """What comes first: "thin slices before thick ones", "phase is portal"."""
    return _ORDERS[preference] if isinstance(preference, Order) else told_flat(preference)


def told_kind(kind: ImageKind) -> str:
    """Images that are asked only where a protocol includes them."""
    return _KINDS[kind]


def told_only_if(only_if: OnlyIf) -> str:
    """When a follow-up is asked: "only if liver is seen and larger than 1500 ml"."""
    sizes = ((only_if.larger_than_ml, "ml"), (only_if.larger_than_mm, "mm along its long axis"))
    larger = " and than ".join(f"{size:g} {unit}" for size, unit in sizes if size is not None)
    return f"only if {only_if.finding or 'a finding'} is seen" + (f" and larger than {larger}" if larger else "")


def told_limits(limits: Limits) -> tuple[str, ...]:
    """A sentence for each limit that is set."""
    sentences = ["Its jobs come before others (stat)." if limits.priority is Priority.STAT else ""]
    if limits.useful_for_minutes is not None:
        sentences.append(f"An answer is of use for {limits.useful_for_minutes:g} minutes after the last image.")
    if limits.largest_study is not None:
        sentences.append(f"A study of more than {limits.largest_study:,} images is not asked.")
    if limits.prior_deadline_s is not None:
        sentences.append(f"Archives are asked for earlier results for {limits.prior_deadline_s:g} s at most.")
    return tuple(filter(None, sentences))


def _joined(word: str, conditions: Sequence[Condition], none: str) -> Told:
    """Several under a word; one stands for itself."""
    if len(conditions) == 1:
        return told(conditions[0])
    return Told(word, tuple(map(told, conditions))) if conditions else Told(none)


def _denied(inner: Condition) -> Told:
    """ "none of" where any would do; "not" before what stands alone."""
    if isinstance(inner, AnyOf) and len(inner.conditions) > 1:
        return Told("none of", tuple(map(told, inner.conditions)))
    denied = told(inner)
    if denied.beneath:
        return Told("not", (denied,))
    return Told(f"not: {denied.text}")


def _told_test(test: Test) -> Told:
    """A path of keywords stays as it is; a field has its unit."""
    field = FIELDS.get(test.field)
    name, unit = (field.label, field.unit) if field is not None else (test.field, "")
    missing = {None: "", True: ", or is not given", False: " (no if it is not given)"}
    return Told(f"{name} {_checks(test.checks, unit)}{missing[test.if_missing]}")


def _checks(checks: Sequence[Check], unit: str) -> str:
    """Texts, patterns and codes of one kind together, what else there is after them."""
    texts = [text for check in checks if isinstance(check, Equals) for text in check.values]
    patterns = [f"/{check.expression}/" for check in checks if isinstance(check, Pattern)]
    codes = [_code(code) for check in checks if isinstance(check, Coded) for code in check.concepts]
    told_checks = [_one_of("is", texts), _one_of("matches", patterns), _one_of("is coded", codes)]
    told_checks += [_other(check, unit) for check in checks]
    return " or ".join(filter(None, told_checks)) or "is given"


def _other(check: Check, unit: str) -> str:
    match check:
        case Equals() | Pattern() | Coded():
            return ""
        case NumberRange():
            return f"is {check}{unit}"
        case Present(wanted):
            return "is given" if wanted else "is not given"
        case TimeOfDay():
            return f"is {_time(check)}"
        case _:
            assert_never(check)


def _one_of(verb: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    return f"{verb} {entries[0]}" if len(entries) == 1 else f"{verb} one of {', '.join(entries)}"


def _code(code: CodedHeader) -> str:
    return f"{code.scheme}:{code.value} {code.meaning}".strip()


def _time(check: TimeOfDay) -> str:
    hours = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in (check.from_minute, check.to_minute)]
    days = ", ".join(_DAYS[day] for day in check.days)
    return f"from {hours[0]} to {hours[1]}" + (f" on {days}" if days else "")


def _flat(tree: Told) -> str:
    if not tree.beneath:
        return tree.text
    word = " and " if tree.text == "all of" else " or " if tree.text == "one of" else ""
    parts = [f"({_flat(part)})" if part.beneath else part.text for part in tree.beneath]
    return word.join(parts) if word else f"{tree.text} {', '.join(parts)}"
