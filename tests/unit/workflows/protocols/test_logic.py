"""The logic of rules, whatever a header holds: Kleene's laws, totality, and the same plan in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.headers.body_regions import BodyRegions
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader
from tests.unit.workflows.protocols.headers import CT, SERIES, STUDY, equals, pattern, protocol
from workflows.protocols.conditions import (
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
from workflows.protocols.evaluating import Evaluation
from workflows.protocols.fields import FIELDS, field_of
from workflows.protocols.matching import grounds, match
from workflows.protocols.schema import ImageKind, Order, ReadingProtocol
from workflows.protocols.truth import Truth, all_of, any_of
from workflows.protocols.verdicts import Ground, Verdict

_FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- Kleene's laws: atoms are attributes that say 1, say 0, or are not there ------------------------------------------

_ATOMS = ("EchoNumbers", "Rows", "StudyID")


def _conditions(leaves: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    def more(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        several = st.lists(inner, max_size=3).map(tuple)
        return several.map(AllOf) | several.map(AnyOf) | inner.map(Not)

    return st.recursive(leaves, more, max_leaves=8)


_ATOM = st.sampled_from(_ATOMS).map(lambda name: Test(name, (Equals(("1",)),)))
_FORMULAS = _conditions(_ATOM)
_VALUATIONS = st.fixed_dictionaries({name: st.sampled_from([None, "0", "1"]) for name in _ATOMS})


def _series(valuation: dict[str, str | None]) -> SeriesHeader:
    return replace(SERIES, attributes={name: (value,) for name, value in valuation.items() if value is not None})


def _truth(condition: Condition, valuation: dict[str, str | None]) -> Truth:
    evaluation = Evaluation(replace(STUDY, series=(_series(valuation),)))
    (outcome,) = evaluation.of_series(condition)((0,))
    assert evaluation.of_study(condition).truth is outcome.truth  # of one series
    return outcome.truth


def _by_tables(condition: Condition, valuation: dict[str, str | None]) -> Truth:
    if isinstance(condition, AllOf):
        return all_of(_by_tables(part, valuation) for part in condition.conditions)
    if isinstance(condition, AnyOf):
        return any_of(_by_tables(part, valuation) for part in condition.conditions)
    if isinstance(condition, Not):
        return ~_by_tables(condition.condition, valuation)
    assert isinstance(condition, Test)
    return {None: Truth.UNKNOWN, "0": Truth.NO, "1": Truth.YES}[valuation[condition.field]]


@_FEW
@given(_FORMULAS, _FORMULAS, _VALUATIONS)
def test_conditions_obey_kleenes_laws(one: Condition, other: Condition, valuation: dict[str, str | None]) -> None:
    truth = _truth(one, valuation)
    assert truth is _by_tables(one, valuation)
    assert _truth(Not(Not(one)), valuation) is truth
    assert _truth(Not(AllOf((one, other))), valuation) is _truth(AnyOf((Not(one), Not(other))), valuation)
    assert _truth(Not(AnyOf((one, other))), valuation) is _truth(AllOf((Not(one), Not(other))), valuation)


@_FEW
@given(_FORMULAS, _VALUATIONS, st.sampled_from(_ATOMS), st.sampled_from(["0", "1"]))
def test_what_becomes_known_never_changes_what_was_known(
    condition: Condition, valuation: dict[str, str | None], name: str, value: str
) -> None:
    if valuation[name] is not None:
        return
    before = _truth(condition, valuation)
    assert before is Truth.UNKNOWN or _truth(condition, {**valuation, name: value}) is before


# --- Anything that a header may hold ----------------------------------------------------------------------------------

_SAID = st.sampled_from(
    ["", " ", "CT", "Abdomen venous", "HEAD", "nan", "1e999", "5", "a\nb\x00", "\ud800", "ü" * 70000]
)
_NUMBER = st.none() | st.sampled_from([0.0, 1.0, 5.0, float("nan"), float("inf")])
_CODES = st.lists(st.builds(CodedHeader, _SAID, st.sampled_from(["SCT", "SRT", ""]), _SAID), max_size=2).map(tuple)
_ITEM = st.fixed_dictionaries({}, optional={name: st.tuples(_SAID) for name in ("CodeValue", "CodeMeaning", "Rows")})
_ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "SeriesNumber": st.tuples(_SAID) | st.just(()),
        "SeriesDate": st.tuples(_SAID),
        "SeriesTime": st.tuples(_SAID),
        "Manufacturer": st.tuples(_SAID | st.just("MedSeg Node")) | st.just(None),
        "ProcedureCodeSequence": st.lists(_ITEM, max_size=2).map(tuple) | st.tuples(_SAID),
        "RequestAttributesSequence": st.tuples(st.fixed_dictionaries({"Rows": st.tuples(_ITEM | _SAID)})) | _SAID,
        "PerFrameFunctionalGroupsSequence": st.tuples(
            st.fixed_dictionaries({"PixelMeasuresSequence": st.tuples(_ITEM)})
        ),
    },
)
_REGIONS = st.frozensets(st.sampled_from(["head", "abdomen", "no such"]))
_SERIES = st.builds(
    SeriesHeader,
    series_uid=st.just(""), modality=_SAID, instances=st.integers(0, 3), body_part_examined=_SAID,
    sop_class_uids=st.lists(st.sampled_from([CT, "", "1.2.840.10008.5.1.4.1.1.88.67", "x"]), max_size=2).map(tuple),
    series_description=_SAID,
    image_type=st.lists(_SAID | st.sampled_from(["DERIVED", "LOCALIZER"]), max_size=3).map(tuple),
    slice_thickness_mm=_NUMBER, regions=st.builds(BodyRegions, _REGIONS, st.booleans(), _REGIONS),
    plane=_SAID, phase=_SAID, frames=st.none() | st.integers(0, 9), protocol_codes=_CODES, attributes=_ATTRIBUTES,
)  # fmt: skip


@st.composite
def _studies(draw: st.DrawFn) -> StudyHeader:
    series = draw(st.lists(_SERIES, max_size=4))
    return StudyHeader(
        "1",
        study_description=draw(_SAID),
        procedure_codes=draw(_CODES),
        patient_sex=draw(_SAID),
        patient_age_years=draw(_NUMBER),
        series=tuple(replace(one, series_uid=f"1.{number}") for number, one in enumerate(series)),
        received_at=draw(st.none() | st.sampled_from([datetime(2026, 11, 2, 8, tzinfo=UTC), datetime.max])),
    )


_CHECKS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from(
        [Equals(("CT", "abdomen")), Pattern("abd|^$"), Present(), Present(False), NumberRange(1, 3)]
    ),
    "number": st.sampled_from([NumberRange(1, 3), NumberRange(), Equals(("5", "x")), Present()]),
    "code": st.sampled_from([Coded((CodedHeader("T-D4000", "SRT"),)), Pattern("Abd"), Equals(("SCT:5",)), Present()]),
    "time": st.sampled_from([TimeOfDay(60 * 18, 60 * 7, (4,)), TimeOfDay(), Present(), Pattern("8")]),
}
_PATHS = (
    "ProcedureCodeSequence",
    "RequestAttributesSequence/Rows",
    "SliceThickness",
    "NoSuchKeyword",
    "BodyPartExamined",
)


@st.composite
def _tests(draw: st.DrawFn) -> Condition:
    name = draw(st.sampled_from([*FIELDS, *_PATHS]))
    field = field_of(name)
    checks = draw(st.lists(_CHECKS[field.kind.value if field else "text"], min_size=1, max_size=2))
    return Test(name, tuple(checks), draw(st.sampled_from([None, None, True, False])))


_CONDITIONS = _conditions(_tests()) | st.builds(Count, _tests(), st.builds(NumberRange, st.sampled_from([1, 2])))


@st.composite
def _protocols(draw: st.DrawFn) -> list[ReadingProtocol]:
    return [
        protocol(
            draw(_CONDITIONS), f"p{number}", when=draw(_CONDITIONS | st.just(AllOf(()))), unknown=draw(st.booleans()),
            rank=draw(st.sampled_from([50, 50, 60])), take=draw(st.sampled_from([None, 0, 1])),
            prefer=tuple(draw(st.lists(st.sampled_from(Order) | _tests(), max_size=2))),
            include=draw(st.sampled_from([frozenset(), frozenset(ImageKind)])),
        )
        for number in range(draw(st.integers(1, 3)))
    ]  # fmt: skip


@_FEW
@given(_studies(), _protocols(), st.sampled_from([None, 0, 1]), st.randoms())
def test_any_header_has_a_plan_that_is_the_same_in_whatever_order(
    study: StudyHeader, protocols: list[ReadingProtocol], at_most: int | None, chance: Any
) -> None:
    plan = match(study, protocols, at_most)
    mixed = replace(study, series=tuple(chance.sample(study.series, len(study.series))))
    assert match(mixed, chance.sample(protocols, len(protocols)), at_most) == plan
    assert {(one.protocol.name, one.series_uid) for one in plan.matches} == {
        (one.protocol, one.series_uid) for one in plan.verdicts if one.asked
    }
    for rule in protocols:
        spoken = [one.series_uid for one in plan.verdicts if one.protocol == rule.name]
        assert spoken == [None] or sorted(map(str, spoken)) == [one.series_uid for one in study.series]
    assert all(one.reason and len(one.reason) < 1500 and one.reason.isprintable() for one in plan.verdicts)


@_FEW
@given(_studies(), _protocols())
def test_grounds_tell_the_decisions_of_match(study: StudyHeader, protocols: list[ReadingProtocol]) -> None:
    rule = replace(protocols[0], series=replace(protocols[0].series, take=None))
    told = grounds(study, rule)
    accepted = {Truth.YES, Truth.UNKNOWN} if rule.unknown else {Truth.YES}
    asked = {one.series_uid for one in match(study, [rule]).matches}
    held = told.when.truth in accepted
    assert asked == {uid for uid, ground in told.series.items() if held and ground.truth in accepted}
    for ground in (told.when, *told.series.values()):
        _require_whole(ground)


def _require_whole(ground: Ground) -> None:
    assert ground.where and ground.told
    for part in ground.beneath:
        _require_whole(part)


# --- What the properties do not show ----------------------------------------------------------------------------------


def test_grounds_have_each_condition_with_its_place() -> None:
    rule = protocol(
        AllOf((replace(equals("modality", "CT"), where="series.where.modality"), Not(pattern("description", "scout")))),
        when=Count(equals("modality", "CT"), NumberRange(2), where="when.count"),
    )
    told = grounds(STUDY, rule)
    assert (told.when.where, told.when.truth, told.when.told) == (
        "when.count", Truth.NO, "1 series are counted, wanted is at least 2"
    )  # fmt: skip
    included, where = told.series["1.2.3"].beneath
    assert (included.where, included.truth) == ("series.include", Truth.YES)
    assert [(part.where, part.told) for part in where.beneath] == [
        ("series.where.modality", "modality CT"),
        ("series.where[2]", "none of /scout/ in series description 'Abdomen venous'"),
    ]


def test_a_reason_is_short_and_says_nobodys_name() -> None:
    attributes = {
        "PatientName": ("Doe^Jane",),
        "RequestAttributesSequence": ({"ReasonForTheRequestedProcedure": ("Jane",)},),
    }
    series = replace(SERIES, attributes=attributes, series_description="abdomen " + "x" * 65536 + "\n")
    study = replace(STUDY, series=(series,), reason="Jane Doe fell")
    tests = [
        pattern("description", "abdomen"), pattern("description", "liver"), pattern("reason", "fell"),
        pattern("reason", "liver"), equals("PatientName", "Doe^Jane"), equals("PatientName", "Other"),
        pattern("RequestAttributesSequence/ReasonForTheRequestedProcedure", "^j"),
    ]  # fmt: skip
    verdicts = match(study, [protocol(test, f"p{number}") for number, test in enumerate(tests)]).verdicts
    assert len(verdicts) == len(tests)
    assert all(len(one.reason) < 160 and "Doe" not in one.reason and "Jane" not in one.reason for one in verdicts)


@pytest.mark.parametrize(
    ("rule", "moment", "asked"),
    [
        (TimeOfDay(18 * 60, 7 * 60, (4,)), datetime(2026, 11, 6, 19), True),  # a Friday
        (TimeOfDay(18 * 60, 7 * 60, (4,)), datetime(2026, 11, 7, 3), True),  # its night
        (TimeOfDay(18 * 60, 7 * 60, (4,)), datetime(2026, 11, 6, 3), False),  # Thursday's
        (TimeOfDay(18 * 60, 7 * 60), datetime(2026, 11, 6, 7), False),
        (TimeOfDay(8 * 60, 16 * 60, (5, 6)), datetime(2026, 11, 6, 9), False),
        (TimeOfDay(days=(4,)), datetime(2026, 11, 6, 23, 59), True),
    ],
)
def test_a_time_over_midnight_belongs_to_the_day_on_which_it_begins(
    rule: TimeOfDay, moment: datetime, asked: bool
) -> None:
    study = replace(STUDY, received_at=moment.astimezone())
    assert bool(match(study, [protocol(when=Test("received", (rule,)))]).matches) is asked
    (unknown,) = match(STUDY, [protocol(when=Test("received", (rule,)))]).verdicts
    assert unknown.missing == ("time of receipt",)


def test_paths_lead_through_sequences_and_functional_groups() -> None:
    attributes = {
        "RequestAttributesSequence": ({"ScheduledProtocolCodeSequence": ({"LongCodeValue": ("T-D4000",),
                                       "CodingSchemeDesignator": ("SRT",), "CodeMeaning": ("Abdomen",)},)},),
        "SharedFunctionalGroupsSequence": ({"PixelMeasuresSequence": ({"SliceThickness": ("3.0",)},)},),
    }  # fmt: skip
    study = replace(STUDY, series=(replace(SERIES, attributes=attributes),))
    code = Test("RequestAttributesSequence/ScheduledProtocolCodeSequence", (Coded((CodedHeader("113345001", "SCT"),)),))
    assert match(study, [protocol(code)]).matches
    assert match(study, [protocol(Test("SliceThickness", (NumberRange(2, 4),)))]).matches
    assert field_of("Modality/Rows") is None and field_of("NoSuchThing") is None


def test_each_field_is_told_and_may_be_asked_of_any_study() -> None:
    for name, field in FIELDS.items():
        assert field.name == name and field.help and field.attributes
        assert field.read(StudyHeader(""), SeriesHeader("", "", (), 0)) is not None


def test_verdicts_come_back_from_the_database_as_they_were() -> None:
    verdict = Verdict(False, "abdomen", "1.2", "no Modality", "1", ("Modality (0008,0060)",), ("look",))
    assert Verdict.from_json(verdict.as_json()) == verdict
    older = {"asked": True, "protocol": "abdomen 1", "series_uid": "1.2", "reason": "modality CT"}
    assert Verdict.from_json(older).named == "abdomen 1"
    assert hash(verdict) and replace(verdict, asked=True) != verdict
