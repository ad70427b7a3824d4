"""Asked: the outcomes of one test over a study and its series, each judged when it is first wanted. Pure.

Series whose headers say the same have one outcome, and texts are searched together before they are searched one by one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property, partial

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.conditions import Pattern, Test, utf8
from workflows.protocols.fields import Anatomy, Field, Value
from workflows.protocols.judging import judge, told_no
from workflows.protocols.outcome import ABOUT_ANATOMY, Outcome
from workflows.protocols.telling import source_of
from workflows.protocols.truth import Truth

__all__ = ["Asked", "Said", "together"]


class Said:
    """What the headers of a study say of one field. `same`: for each series which of the distinct ones it is like."""

    def __init__(self, study: StudyHeader, series: Sequence[SeriesHeader], field: Field) -> None:
        self.study, self.field = study, field
        self.same: list[int] = []
        self.distinct: list[tuple[tuple[Value, ...], SeriesHeader | None]] = []
        self.marks = 0 if field.anatomy is Anatomy.NO else ABOUT_ANATOMY
        if not field.of_series:
            self.same, self.distinct = [0] * len(series), [(field.read(study, _NO_SERIES), None)]
            return
        known: dict[Hashable, int] = {}
        for one in series:
            values = field.read(study, one)
            number = known.setdefault(_alike(field, one, values), len(self.distinct))
            if number == len(self.distinct):
                self.distinct.append((values, one))
            self.same.append(number)

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """Of all series, each once."""
        return tuple(dict.fromkeys(value for values, _ in self.distinct for value in values))

    @cached_property
    def sources(self) -> dict[Value, str]:
        """Which attribute each of them is of, in words."""
        found: dict[Value, str] = {}
        for values, series in self.distinct:
            source = source_of(self.field, self.study, series)
            found |= {value: source(value) for value in values if value not in found}
        return found

    @cached_property
    def has_texts(self) -> bool:
        """Whether each series has a text, and nothing else that the header says changes an outcome."""
        given = (any(isinstance(value, str) for value in values) for values, _ in self.distinct)
        return not self.field.by_regions and all(given)

    @cached_property
    def lines(self) -> bytes:
        """All texts of all series, each in a line."""
        texts = (value if isinstance(value, str) else getattr(value, "meaning", "") for value in self.values)
        return utf8("\n".join(filter(None, texts)))


_NO_SERIES = SeriesHeader("", "", (), 0)


def _alike(field: Field, series: SeriesHeader, values: tuple[Value, ...]) -> Hashable:
    """What must be the same of two series that have one outcome, its words included."""
    if field.by_regions:
        return values, series.regions, series.body_part_examined
    if field.name == "description":
        return series.series_description, series.protocol_name
    return values


class Asked:
    """The outcomes of one test."""

    def __init__(self, test: Test, said: Said) -> None:
        self._test, self._said = test, said
        self._distinct: list[Outcome | None] = [None] * len(said.distinct)
        self._of_study: Outcome | None = None
        self._is_of_patterns = bool(test.checks) and all(isinstance(check, Pattern) for check in test.checks)

    def of_series(self, indices: Sequence[int]) -> list[Outcome]:
        """Of each of these series, by their indices."""
        same, distinct, judge_one = self._said.same, self._distinct, self._judge
        return [distinct[same[index]] or judge_one(same[index]) for index in indices]

    def opposite_of_series(self, indices: Sequence[int]) -> list[Outcome]:
        """What `not` makes of them; one for all where a pattern stands nowhere, as most of those that exclude do."""
        if self._matches_nothing:
            return [self.of_study().opposite] * len(indices)
        return [outcome.opposite for outcome in self.of_series(indices)]

    def of_study(self) -> Outcome:
        """Whether one series meets it; of a field of the study, whether that does."""
        if self._of_study is None:
            self._of_study = self._one_of_them() if self._said.field.of_series else self._judge(0)
        return self._of_study

    def _one_of_them(self) -> Outcome:
        if not self._distinct:
            return Outcome(Truth.NO, "the study has no series")
        if self._matches_nothing:
            return Outcome(Truth.NO, self._told_of_all, (), self._said.marks)
        unknown = unmet = None
        for number, judged in enumerate(self._distinct):
            outcome = judged or self._judge(number)
            if outcome.truth is Truth.YES:
                return outcome
            if outcome.truth is Truth.UNKNOWN:
                unknown = outcome if unknown is None else together(unknown, outcome)
            else:
                unmet = outcome if unmet is None or (unmet.missing and not outcome.missing) else unmet
        if unknown is not None:
            return unknown
        assert unmet is not None
        return unmet if len(self._distinct) == 1 else Outcome(Truth.NO, self._told_of_all, unmet.missing, unmet.marks)

    @cached_property
    def _matches_nothing(self) -> bool:
        """Whether it asks for patterns alone, there is a text everywhere, and none of them stands in one."""
        return self._is_of_patterns and not self._may_match and self._said.has_texts

    def _told_of_all(self) -> str:
        field, sources = self._said.field, self._said.sources
        return told_no(self._test, field, self._said.values, lambda value: sources.get(value, field.label))

    def _judge(self, number: int) -> Outcome:
        said, test = self._said, self._test
        values, series = said.distinct[number]
        source = partial(_source, said, series)
        if self._matches_nothing:
            outcome = Outcome(Truth.NO, partial(told_no, test, said.field, values, source), (), said.marks)
        else:
            outcome = judge(test, said.field, values, series, source, self._may_match)
        self._distinct[number] = outcome
        return outcome

    @cached_property
    def _may_match(self) -> tuple[Pattern, ...]:
        """Those of its patterns that may stand in a text."""
        patterns = (check for check in self._test.checks if isinstance(check, Pattern))
        return tuple(one for one in patterns if one.may_match_a_line(self._said.lines))


def _source(said: Said, series: SeriesHeader | None, value: Value) -> str:
    return source_of(said.field, said.study, series)(value)


def together(one: Outcome, other: Outcome) -> Outcome:
    """The first of two that are not known, with what is missing for both."""
    missing = (*one.missing, *(name for name in other.missing if name not in one.missing))
    return Outcome(one.truth, lambda: one.told, missing, one.marks | other.marks)
