"""Conditions as a person reads them."""

from __future__ import annotations

import pytest

from dicom_node.headers.coded import CodedHeader
from workflows.protocols.conditions import (
    ALWAYS,
    AllOf,
    AnyOf,
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
from workflows.protocols.in_words import Told, told, told_flat, told_limits, told_only_if, told_preference
from workflows.protocols.schema import Limits, OnlyIf, Order, Priority

ABDOMEN, BODY = CodedHeader("818981001", "SCT", "Abdomen"), CodedHeader("1", "A")
CT = Test("modality", (Equals(("CT",)),))
THIN = Test("slice_thickness", (NumberRange(maximum=3),), if_missing=True)
SCOUT = Test("description", (Pattern(r"\bscout\b"),), if_missing=False)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (CT, "modality is CT"),
        (Test("modality", (Equals(("CT", "PT")),)), "modality is one of CT, PT"),
        (THIN, "slice thickness is at most 3 mm, or is not given"),
        (SCOUT, r"description matches /\bscout\b/ (no if it is not given)"),
        (Test("age", (NumberRange(18, 65),)), "age is 18 to 65 years"),
        (Test("procedure", (Coded((ABDOMEN,)),)), "procedure is coded SCT:818981001 Abdomen"),
        (Test("procedure", (Coded((ABDOMEN, BODY)),)), "procedure is coded one of SCT:818981001 Abdomen, A:1"),
        (Test("laterality", (Present(False),)), "laterality is not given"),
        (Test("received", (TimeOfDay(18 * 60, 7 * 60, (5,)),)), "received is from 18:00 to 07:00 on Saturday"),
        (Test("reason", (Equals(("fall",)), Pattern("trauma"))), "reason is fall or matches /trauma/"),
        (Not(CT), "not: modality is CT"),
        (Not(Not(CT)), "not: not: modality is CT"),
        (AllOf((CT,)), "modality is CT"),
        (ALWAYS, "anything"),
        (AnyOf(()), "nothing"),
    ],
)  # fmt: skip
def test_a_condition_is_one_clause(condition: Condition, says: str) -> None:
    assert told(condition) == Told(says)


def test_what_a_condition_is_made_of_stands_beneath_it() -> None:
    tree = told(AllOf((CT, AnyOf((THIN, SCOUT)), Not(AnyOf((CT, SCOUT))), Not(AllOf((CT, THIN))))))
    assert tree.text == "all of"
    assert [one.text for one in tree.beneath] == ["modality is CT", "one of", "none of", "not"]
    assert [one.text for one in tree.beneath[3].beneath[0].beneath] == [told(CT).text, told(THIN).text]
    (counted,) = told(Count(CT, NumberRange(2))).beneath
    assert counted == told(CT)
    assert told(Count(CT, NumberRange(2))).text == "at least 2 series of the study where"


def test_preferences_follow_ups_and_limits_are_sentences() -> None:
    assert told_preference(Order.THIN) == "thin slices before thick ones"
    assert all(told_preference(order) for order in Order)
    assert told_preference(AllOf((CT, Not(SCOUT)))).startswith("modality is CT and not: description")
    assert told_flat(AnyOf((CT, AllOf((CT, THIN))))) == (
        "modality is CT or (modality is CT and slice thickness is at most 3 mm, or is not given)"
    )
    assert told_only_if(OnlyIf()) == "only if a finding is seen"
    assert told_only_if(OnlyIf("liver", larger_than_ml=1500)) == "only if liver is seen and larger than 1500 ml"
    assert told_limits(Limits()) == ()
    assert len(told_limits(Limits(Priority.STAT, 60, 3000, 5))) == 4
