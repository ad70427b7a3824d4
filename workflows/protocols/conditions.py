"""Conditions: what a protocol wants of a study or a series, as typed data. Pure.

A condition is a tree of `AllOf`, `AnyOf`, `Not`, `Count` and `Test`. A `Test` asks one field (`fields.py`), or one path
of DICOM keywords, with one check; of several values one that meets it is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

import re2

from dicom_node.headers.coded import CodedHeader, canonical

__all__ = [
    "ALWAYS", "AllOf", "AnyOf", "Check", "Coded", "Condition", "Count", "Equals", "Not", "NumberRange", "Pattern",
    "Present", "Test", "TimeOfDay", "utf8",
]  # fmt: skip


def utf8(text: str) -> bytes:
    """A text for a search; what no encoding has becomes a question mark."""
    return text.encode("utf-8", "replace")


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return options


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Equals:
    """One of these texts; case and blanks at the ends do not matter. YAML: a text or a list of texts."""

    values: tuple[str, ...]

    def takes(self, text: str) -> bool:
        """Whether `text` is one of them."""
        return text.strip().casefold() in self._folded

    def takes_number(self, number: float) -> bool:
        """Whether one of them is this number."""
        return number in self._numbers

    @cached_property
    def _folded(self) -> frozenset[str]:
        return frozenset(value.strip().casefold() for value in self.values)

    @cached_property
    def _numbers(self) -> frozenset[float]:
        return frozenset(number for value in self.values if (number := _number(value)) is not None)


@dataclass(frozen=True)
class NumberRange:
    """A closed range; None is open. YAML: `{at_least: 1, at_most: 5}`."""

    minimum: float | None = None
    maximum: float | None = None

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the range, ends included."""
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)

    def __str__(self) -> str:
        low, high = (None if bound is None else f"{bound:g}" for bound in (self.minimum, self.maximum))
        if low is None or high is None:
            return f"at least {low}" if low is not None else f"at most {high}" if high is not None else "any"
        return f"{low} to {high}"


@dataclass(frozen=True)
class Pattern:
    """A regular expression that runs in linear time (RE2); case does not matter, a match anywhere counts.

    YAML: `{pattern: '\\\\babdomen\\\\b'}` or a list of them. Raises re2.error for what RE2 does not take.
    """

    expression: str

    def __post_init__(self) -> None:
        self._compiled, self._of_lines  # noqa: B018 (compiled now, not while a study is matched)

    def matches(self, text: str) -> bool:
        """Whether the expression occurs in `text`."""
        return self._compiled.search(utf8(text)) is not None

    def may_match_a_line(self, lines: bytes) -> bool:
        """Whether it may match one of several texts, UTF-8 in lines of their own; False: it matches none of them.

        One search instead of many, for most expressions do not occur.
        """
        return self._of_lines is None or self._of_lines.search(lines) is not None

    @cached_property
    def _compiled(self) -> Any:
        return re2.compile(self.expression, _options())

    @cached_property
    def _of_lines(self) -> Any:
        """The expression with ^ and $ at each line; None where that may miss what the expression itself matches."""
        if _OF_WHOLE_TEXT.search(self.expression):
            return None
        return re2.compile(f"(?m){self.expression}", _options())


_OF_WHOLE_TEXT = re.compile(r"\\[AzZQ]|\(\?[^:P]")


@dataclass(frozen=True)
class Coded:
    """One of these concepts, by value and scheme; a synonym in another scheme (SRT for SCT) is the same concept.

    YAML: `{code: SCT:818981001}`, a list of them, or `{code: {value:, scheme:, synonyms: [SCHEME:VALUE, ...]}}`.
    """

    concepts: tuple[CodedHeader, ...]

    def takes(self, code: CodedHeader) -> bool:
        """Whether `code` is one of these concepts."""
        return canonical(code) in self._canonical

    @cached_property
    def _canonical(self) -> frozenset[CodedHeader]:
        return frozenset(map(canonical, self.concepts))


@dataclass(frozen=True)
class Present:
    """There is a value (or, `wanted` False, none). Never unknown. YAML: `{present: true}`."""

    wanted: bool = True


@dataclass(frozen=True)
class TimeOfDay:
    """A time of receipt between two hours of this host's day (`from_hour` may lie after `to_hour`: over midnight), on
    these days of the week (0 Monday); none: any. YAML: `{from: "18:00", to: "07:00", days: [sat, sun]}`.

    A time over midnight belongs to the day on which it begins: 03:00 on Saturday to the night of Friday.
    """

    from_minute: int = 0
    to_minute: int = 24 * 60
    days: tuple[int, ...] = ()

    def contains(self, moment: datetime) -> bool:
        """Whether an aware moment lies between them, the end not included."""
        local = moment.astimezone()
        minute, day = 60 * local.hour + local.minute, local.weekday()
        if self.from_minute < self.to_minute:
            return self.from_minute <= minute < self.to_minute and self._on(day)
        if minute >= self.from_minute:
            return self._on(day)
        return minute < self.to_minute and self._on((day - 1) % 7)

    def _on(self, day: int) -> bool:
        return not self.days or day in self.days


Check = Equals | NumberRange | Pattern | Coded | Present | TimeOfDay


@dataclass(frozen=True)
class Test:
    """A field or a path of keywords (`RequestAttributesSequence/ReasonForTheRequestedProcedure`), and what is wanted.

    `checks`: one that is met is enough. `if_missing`: what the test counts as where the header says nothing; None:
    unknown. `where`: its place in the file, such as `series.where.modality`, for explanations.
    """

    field: str
    checks: tuple[Check, ...]
    if_missing: bool | None = None
    where: str = ""
    __test__: ClassVar[bool] = False  # pytest takes it for none of its own

    @cached_property
    def asks(self) -> SameTest:
        """What it asks, wherever it stands: tests with an equal one have the same outcome."""
        return SameTest((self.field, self.checks, self.if_missing))


class SameTest:
    """A key that knows its hash."""

    __slots__ = ("_asked", "_hash")

    def __init__(self, asked: tuple[object, ...]) -> None:
        self._asked, self._hash = asked, hash(asked)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameTest) and self._asked == other._asked


@dataclass(frozen=True)
class AllOf:
    """Every one of these."""

    conditions: tuple[Condition, ...]
    where: str = ""


@dataclass(frozen=True)
class AnyOf:
    """At least one of these."""

    conditions: tuple[Condition, ...]
    where: str = ""


@dataclass(frozen=True)
class Not:
    """The opposite."""

    condition: Condition
    where: str = ""


@dataclass(frozen=True)
class Count:
    """How many series of the study meet a condition. YAML: `count: {of: {modality: CT}, at_least: 2}`."""

    condition: Condition
    range: NumberRange
    where: str = ""


Condition = Test | AllOf | AnyOf | Not | Count
ALWAYS = AllOf(())
"""The condition that every study and series meets."""
