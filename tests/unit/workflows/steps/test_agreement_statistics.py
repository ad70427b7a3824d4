"""Proportions, spreads, groups and weeks: against numbers worked out by hand, and against scipy."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import binomtest

from workflows.state.agreeing import AgreementCase, CaseKind, Grouping
from workflows.steps.agreement_report import as_csv, as_json, per_cent, value_and_interval
from workflows.steps.agreement_statistics import FEW, proportion, spread, summed_up

AT = datetime(2026, 11, 4, 12, tzinfo=UTC)  # a Wednesday


def case(review: int, kind: CaseKind, finding: str = "liver", **more: object) -> AgreementCase:
    values: dict[str, object] = {
        "written_at": AT, "question": "Where?", "protocol": "abdomen 1", "weights": "tiny 1 abc", "scanner": "A / B",
    }  # fmt: skip
    return AgreementCase(review=review, finding=finding, kind=kind, **{**values, **more})  # type: ignore[arg-type]


def test_wilson_by_hand() -> None:
    eight = proportion(8, 10)  # (0.8 + 0.192) / 1.384 +- 1.96 sqrt(0.016 + 0.0096) / 1.384
    assert eight.value == 0.8
    assert eight.low == pytest.approx(0.4902, abs=1e-4) and eight.high == pytest.approx(0.9433, abs=1e-4)
    assert proportion(0, 0) == type(eight)(0, 0, None, None, None)


@pytest.mark.parametrize("of", [1, 2, 7, 50, 1000])
def test_wilson_as_scipy_has_it(of: int) -> None:
    for count in {0, 1, of // 3, of - 1, of}:
        expected = binomtest(count, of).proportion_ci(0.95, method="wilson")
        found = proportion(count, of)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_interval_of_a_median_by_hand() -> None:
    ten = spread([float(value) for value in range(10, 0, -1)])
    # P(Bin(10, 1/2) <= 1) = 11/1024 = 0.0107, P(<= 2) = 0.0547: the second and the ninth value (Conover, table)
    assert (ten.median, ten.first_quartile, ten.third_quartile, ten.low, ten.high) == (5.5, 3.25, 7.75, 2.0, 9.0)
    six = spread([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # P(Bin(6, 1/2) = 0) = 1/64 = 0.0156
    assert (six.low, six.high) == (1.0, 6.0)
    five = spread([1.0, 2.0, 3.0, 4.0, 5.0])  # 1/32 = 0.031: no interval has 95 %
    assert (five.median, five.low, five.high) == (3.0, None, None)
    assert spread([]).median is None


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    draws = np.random.default_rng(7).exponential(size=(2000, 25))
    covered = 0
    for values in draws:
        found = spread(list(values))
        assert found.low is not None and found.high is not None
        covered += found.low <= np.log(2) <= found.high
    assert covered / 2000 >= 0.94


def test_a_group_says_what_reviewers_said() -> None:
    cases = [
        *(case(number, CaseKind.ACCEPT) for number in range(8)),
        case(8, CaseKind.OUTLINE, dice=0.8, before_ml=100.0, after_ml=90.0),
        case(9, CaseKind.NOT_THERE),
        case(9, CaseKind.MISSED, "spleen"),
    ]
    summary = summed_up(cases, Grouping.FINDING)
    assert (summary.all.reviews, summary.all.findings) == (10, 10)
    assert {kind.value: part.count for kind, part in summary.all.verdicts.items()} == {
        "accept": 8, "outline": 1, "name": 0, "not-there": 1,
    }  # fmt: skip
    assert (summary.all.missed.count, summary.all.missed.of) == (1, 10), "nine are there, and one was missed"
    assert (summary.all.dice.median, summary.all.difference_ml.median) == (0.8, -10.0)
    liver, spleen = summary.groups
    assert (liver.name, liver.few, liver.missed.count) == ("liver", "", 0)
    assert (spleen.name, spleen.findings, spleen.few) == ("spleen", 0, "1 review: too few to say")
    assert (spleen.missed.count, spleen.missed.of) == (1, 1)
    assert FEW == 10


def test_weeks_begin_on_mondays_and_have_no_gap() -> None:
    weeks = summed_up(
        [case(1, CaseKind.ACCEPT), case(2, CaseKind.NAME, written_at=AT + timedelta(weeks=2))], Grouping.SCANNER
    ).weeks
    assert [week.monday for week in weeks] == [date(2026, 11, 2), date(2026, 11, 9), date(2026, 11, 16)]
    assert [week.accepted.value for week in weeks] == [1.0, None, 0.0]
    assert summed_up([], Grouping.SCANNER).weeks == ()


def test_texts_for_persons() -> None:
    assert per_cent(proportion(8, 10)) == "80 % (49 to 94)" and per_cent(proportion(0, 0)) == "-"
    assert value_and_interval(spread([0.5]), 2) == "0.50 (of 1)" and value_and_interval(spread([]), 2) == "-"
    assert value_and_interval(spread([1.0, 2, 3, 4, 5, 6]), 1, "ml") == "3.5 ml (1.0 to 6.0)"


def test_csv_and_json_have_all_groups_and_no_formula() -> None:
    summary = summed_up([case(1, CaseKind.ACCEPT, scanner="=1+1")], Grouping.SCANNER)
    head, row, total = as_csv(summary).splitlines()
    assert head.startswith("by,group,reviews,findings,accept,accept_part,accept_low,accept_high,outline")
    assert row.startswith("scanner,'=1+1,1,1,1,1.0,0.2065,1.0,0") and total.startswith("scanner,all,1,1")
    plain = as_json(summary)
    assert plain["groups"][0]["verdicts"]["accept"] == {
        "count": 1, "of": 1, "value": 1.0, "low": 0.2065, "high": 1.0,
    }  # fmt: skip
    assert plain["weeks"] == [{"week": "2026-11-02", "accepted": plain["groups"][0]["verdicts"]["accept"]}]
