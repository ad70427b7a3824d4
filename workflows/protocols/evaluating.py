"""Evaluating: conditions against one study and its series, in three values. Pure.

Of a study, a test of a field of series is met if one series meets it. Tests that ask the same have one outcome,
whichever protocols they stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.asked import Asked, Said, together
from workflows.protocols.conditions import AllOf, AnyOf, Condition, Count, Not, NumberRange, SameTest, Test
from workflows.protocols.fields import field_of
from workflows.protocols.outcome import ABOUT_AGE_ZERO, ABOUT_ANATOMY, BY_BODY_PART, SHOWN, Outcome
from workflows.protocols.paths import path_values
from workflows.protocols.truth import Truth

__all__ = ["NO_CONDITION", "Evaluation", "number_of"]

_YES, _NO, _UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN
NO_CONDITION = Outcome(_YES, "no condition")
_NOTHING = Outcome(_NO, "none of no conditions")
OfSeries = Callable[[Sequence[int]], list[Outcome]]
"""The outcome for each of these series, by their indices."""


class Evaluation:
    """Of one study. `series`: as they are numbered here, by Series Number and Series Instance UID."""

    def __init__(self, study: StudyHeader) -> None:
        self.study = study
        self.series = tuple(sorted(study.series, key=_series_order))
        self._asked: dict[SameTest, Asked | Outcome] = {}
        self._said: dict[str, Said] = {}

    def of_study(self, condition: Condition) -> Outcome:
        """The outcome of a condition of the study, such as `when`."""
        if isinstance(condition, Test):
            asked = self._ask(condition)
            return asked.of_study() if isinstance(asked, Asked) else asked
        if isinstance(condition, AllOf):
            return _all_of(map(self.of_study, condition.conditions))
        if isinstance(condition, AnyOf):
            return _any_of(map(self.of_study, condition.conditions))
        if isinstance(condition, Not):
            return self.of_study(condition.condition).opposite
        return self._count(condition)

    def of_series(self, condition: Condition) -> OfSeries:
        """What gives the outcomes of a condition for series, by their indices in `series`."""
        if isinstance(condition, Test):
            asked = self._ask(condition)
            return asked.of_series if isinstance(asked, Asked) else partial(_same, asked)
        if isinstance(condition, AllOf):
            return partial(self._all_of_series, tuple(map(self.of_series, condition.conditions)))
        if isinstance(condition, AnyOf):
            return partial(_any_of_series, tuple(map(self.of_series, condition.conditions)))
        if isinstance(condition, Not):
            if isinstance(condition.condition, Test) and isinstance(asked := self._ask(condition.condition), Asked):
                return asked.opposite_of_series
            inner = self.of_series(condition.condition)
            return lambda indices: [outcome.opposite for outcome in inner(indices)]
        return partial(_same, self._count(condition))

    def _all_of_series(self, parts: tuple[OfSeries, ...], indices: Sequence[int]) -> list[Outcome]:
        """Part after part, each for the series that are left."""
        if not parts:
            return [NO_CONDITION] * len(indices)
        outcomes: list[Outcome] = [NO_CONDITION] * len(self.series)
        more: dict[int, list[Outcome]] = {}
        left, is_first = indices, True
        for part in parts:
            still = []
            for index, outcome in zip(left, part(left), strict=True):
                if outcome.truth is _NO:
                    outcomes[index] = outcome
                    more.pop(index, None)
                    continue
                still.append(index)
                if is_first:
                    outcomes[index] = outcome
                elif not outcome.is_plain:
                    more.setdefault(index, []).append(outcome)
            left, is_first = still, False
        for index, others in more.items():
            outcomes[index] = _all_of((outcomes[index], *others))
        return [outcomes[index] for index in indices]

    def _ask(self, test: Test) -> Asked | Outcome:
        asked = self._asked.get(test.asks)
        if asked is None:
            field = field_of(test.field)
            if field is None:
                asked = Outcome(_UNKNOWN, f"{test.field} is no attribute of the standard", (test.field,))
            else:
                said = self._said.get(test.field)
                if said is None:
                    said = self._said[test.field] = Said(self.study, self.series, field)
                asked = Asked(test, said)
            self._asked[test.asks] = asked
        return asked

    def _count(self, condition: Count) -> Outcome:
        outcomes = self.of_series(condition.condition)(range(len(self.series)))
        met = [outcome for outcome in outcomes if outcome.truth is _YES]
        unknown = [outcome for outcome in outcomes if outcome.truth is _UNKNOWN]
        truth = _of_counts(condition.range, len(met), len(met) + len(unknown))
        about_anatomy = ABOUT_ANATOMY * any(outcome.about_anatomy for outcome in outcomes)
        if truth is _UNKNOWN:
            told = f"{len(met)} series are counted and {len(unknown)} are not known: {unknown[0].told}"
            missing = tuple(dict.fromkeys(name for outcome in unknown for name in outcome.missing))
            return Outcome(truth, told, missing, about_anatomy)
        number = f"{len(met)}" if not unknown else f"{len(met)} to {len(met) + len(unknown)}"
        if truth is _NO:
            return Outcome(truth, f"{number} series are counted, wanted is {condition.range}", (), about_anatomy)
        marks = SHOWN * any(one.shown for one in met) | BY_BODY_PART * any(one.by_body_part for one in met)
        return Outcome(truth, f"{number} series are counted", (), marks | about_anatomy)


def _same(outcome: Outcome, indices: Sequence[int]) -> list[Outcome]:
    return [outcome] * len(indices)


def _any_of_series(parts: tuple[OfSeries, ...], indices: Sequence[int]) -> list[Outcome]:
    rows = [part(indices) for part in parts]
    return [_any_of(row[at] for row in rows) for at in range(len(indices))]


def _of_counts(wanted: NumberRange, least: int, most: int) -> Truth:
    inside = {wanted.contains(count) for count in range(least, most + 1)}
    return _UNKNOWN if len(inside) == 2 else _YES if inside == {True} else _NO


# --- What conditions are made of --------------------------------------------------------------------------------------


def _all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """The first clause that is not met; else what is not known; else all of them, told by the one that shows the part
    of the body, or by the first."""
    unknown = told = None
    marks = 0
    missing: tuple[str, ...] = ()
    for outcome in outcomes:
        truth = outcome.truth
        if truth is _NO:
            return outcome
        if truth is _UNKNOWN:
            unknown = outcome if unknown is None else together(unknown, outcome)
        elif unknown is None:
            if told is None or (outcome.marks & SHOWN and not told.marks & SHOWN):
                told = outcome
            marks |= outcome.marks
            if outcome.missing:
                missing += outcome.missing
    if unknown is not None:
        return unknown
    if told is None:
        return NO_CONDITION
    if told.marks == marks and len(told.missing) == len(missing):
        return told
    return Outcome(_YES, partial(_told, told), tuple(dict.fromkeys(missing)), marks)


def _any_of(outcomes: Iterable[Outcome]) -> Outcome:
    """The first clause that is met, one that shows the part of the body before Body Part Examined alone."""
    met = unknown = None
    unmet: list[Outcome] = []
    for outcome in outcomes:
        truth = outcome.truth
        if truth is _YES:
            if outcome.marks & (SHOWN | BY_BODY_PART) != BY_BODY_PART:
                return outcome
            met = met or outcome
        elif truth is _UNKNOWN:
            unknown = outcome if unknown is None else together(unknown, outcome)
        else:
            unmet.append(outcome)
    if met is not None:
        return met
    if unknown is not None:
        return unknown
    if len(unmet) <= 1:
        return unmet[0] if unmet else _NOTHING
    missing = tuple(dict.fromkeys(name for outcome in unmet for name in outcome.missing))
    marks = 0
    for outcome in unmet:
        marks |= outcome.marks & (ABOUT_ANATOMY | ABOUT_AGE_ZERO)
    return Outcome(_NO, partial(_told_of_none, unmet), missing, marks)


def _told(outcome: Outcome) -> str:
    return outcome.told


def _told_of_none(outcomes: list[Outcome]) -> str:
    """The first few clauses; what stands in a header tells more than what does not."""
    every = dict.fromkeys(outcome.told for outcome in outcomes)
    told = [one for one in every if not one.endswith(_COUNTS)] or list(every)
    return "; ".join(told[:_MOST_CLAUSES]) + (
        f"; and {len(told) - _MOST_CLAUSES} more" if len(told) > _MOST_CLAUSES else ""
    )


_MOST_CLAUSES = 4
_COUNTS = "which counts as not met"


def _series_order(series: SeriesHeader) -> tuple[float, str, str, str]:
    """By Series Number, then Series Instance UID: the same in whatever order the series come."""
    return number_of(series), series.series_uid, series.series_description, series.modality


def number_of(series: SeriesHeader) -> float:
    """Series Number; without one it comes last."""
    number = next(iter(path_values(series.attributes, ("SeriesNumber",), numbers=True)), None)
    return number if isinstance(number, float) else float("inf")
