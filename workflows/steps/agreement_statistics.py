"""Statistics of agreement: proportions and spreads with their 95 % intervals, by group and by week. Pure.

Proportions have Wilson's score interval (Wilson 1927). A median has the interval of order statistics that covers it
with at least 95 % whatever the distribution (Conover 1999, 3.2); below six values there is none. Nothing is drawn at
random, so the same reviews give the same numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from scipy.stats import binom

from workflows.state.agreeing import AgreementCase, CaseKind, Grouping

__all__ = [
    "FEW", "AgreementGroup", "AgreementSummary", "Proportion", "Spread", "Week", "proportion", "spread", "summed_up",
]  # fmt: skip

FEW = 10
"""Below so many reviews nothing is said of a group but its counts."""
_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_LEVEL = 0.95
_VERDICTS = (CaseKind.ACCEPT, CaseKind.OUTLINE, CaseKind.NAME, CaseKind.NOT_THERE)


@dataclass(frozen=True)
class Proportion:
    """`count` of `of`, and the bounds of its 95 % interval; all None where `of` is 0."""

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Spread:
    """How values lie: median, quartiles, and the 95 % interval of the median, None below six values."""

    count: int
    median: float | None
    first_quartile: float | None
    third_quartile: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Week:
    """The week that begins on a Monday, and how many of its findings were accepted."""

    monday: date
    accepted: Proportion


@dataclass(frozen=True)
class AgreementGroup:
    """What reviewers said of the cases of one group.

    `verdicts`: the part of the findings with each verdict. `missed`: what was missed, of what was there: findings that
    are there, and what was missed. `dice`, `difference_ml`: of corrected masks; the difference is theirs less ours.
    `few`: a sentence where there are too few reviews to say more, else "".
    """

    name: str
    reviews: int
    findings: int
    verdicts: dict[CaseKind, Proportion]
    missed: Proportion
    dice: Spread
    difference_ml: Spread
    few: str


@dataclass(frozen=True)
class AgreementSummary:
    """All of it: over everything, by group (the largest first), by week."""

    grouping: Grouping
    all: AgreementGroup
    groups: tuple[AgreementGroup, ...]
    weeks: tuple[Week, ...]


def proportion(count: int, of: int) -> Proportion:
    """A proportion with Wilson's score interval, 95 %."""
    if of == 0:
        return Proportion(0, 0, None, None, None)
    part, z2 = count / of, _Z * _Z
    middle = (part + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(part * (1 - part) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    low, high = (0.0 if count == 0 else middle - half), (1.0 if count == of else middle + half)
    return Proportion(count, of, part, low, high)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, interpolated as numpy does, and the exact interval of the median."""
    count = len(values)
    if count == 0:
        return Spread(0, None, None, None, None, None)
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    first, median, third = (float(one) for one in np.percentile(ordered, (25, 50, 75)))
    place = int(binom.ppf((1 - _LEVEL) / 2, count, 0.5))
    place -= int(binom.cdf(place, count, 0.5) > (1 - _LEVEL) / 2)  # the largest whose tail is small enough
    bounded = place >= 0
    low, high = (float(ordered[place]), float(ordered[count - 1 - place])) if bounded else (None, None)
    return Spread(count, median, first, third, low, high)


def summed_up(cases: Iterable[AgreementCase], grouping: Grouping) -> AgreementSummary:
    """Everything that is said of cases."""
    every = list(cases)
    groups: dict[str, list[AgreementCase]] = defaultdict(list)
    weeks: dict[date, list[AgreementCase]] = defaultdict(list)
    for case in every:
        groups[case.of(grouping)].append(case)
        weeks[_monday(case.written_at.date())].append(case)
    of_groups = sorted(
        (_group(name, some) for name, some in groups.items()), key=lambda group: (-group.findings, group.name)
    )
    trend = tuple(Week(monday, _accepted(weeks.get(monday, []))) for monday in _without_gaps(weeks))
    return AgreementSummary(grouping, _group("all", every), tuple(of_groups), trend)


def _group(name: str, cases: Sequence[AgreementCase]) -> AgreementGroup:
    reviews = len({case.review for case in cases})
    kinds = [case.kind for case in cases]
    counts = {kind: kinds.count(kind) for kind in CaseKind}
    missed = counts[CaseKind.MISSED]
    findings = len(cases) - missed
    there = findings - counts[CaseKind.NOT_THERE]
    volumes = [(case.before_ml, case.after_ml) for case in cases]
    plural = "review" if reviews == 1 else "reviews"
    return AgreementGroup(
        name=name,
        reviews=reviews,
        findings=findings,
        verdicts={kind: proportion(counts[kind], findings) for kind in _VERDICTS},
        missed=proportion(missed, missed + there),
        dice=spread([case.dice for case in cases if case.dice is not None]),
        difference_ml=spread([after - before for before, after in volumes if before is not None and after is not None]),
        few=f"{reviews} {plural}: too few to say" if reviews < FEW else "",
    )


def _accepted(cases: Sequence[AgreementCase]) -> Proportion:
    kinds = [case.kind for case in cases]
    return proportion(kinds.count(CaseKind.ACCEPT), len(kinds) - kinds.count(CaseKind.MISSED))


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _without_gaps(weeks: Iterable[date]) -> list[date]:
    known = sorted(weeks)
    if not known:
        return []
    count = (known[-1] - known[0]).days // 7
    return [known[0] + timedelta(weeks=number) for number in range(count + 1)]
