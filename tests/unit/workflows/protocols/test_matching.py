"""Matching: right series in, wrong series out, a reason either way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.headers.body_regions import BodyRegions
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader
from tests.unit.workflows.protocols.headers import ABDOMEN, CT, LIVER, SERIES, STUDY, equals, pattern, protocol
from workflows.protocols import filling
from workflows.protocols.conditions import AllOf, AnyOf, Coded, Condition, Count, Not, NumberRange, Present, Test
from workflows.protocols.matching import is_image_series, match
from workflows.protocols.schema import ImageKind, Limits, Order, ProtocolQuestion, ReadingProtocol
from workflows.protocols.verdicts import Verdict


def verdict(
    where: Condition = ABDOMEN, study: StudyHeader = STUDY, *, when: object = None, **changes: object
) -> Verdict:
    """Of the study's first series, so changed; the whole study's where `when` does not hold."""
    study = replace(study, series=(replace(study.series[0], **changes),))  # type: ignore[arg-type]
    (found,) = match(study, [protocol(where, **({} if when is None else {"when": when}))]).verdicts  # type: ignore[arg-type]
    return found


def asked(study: StudyHeader, *protocols: ReadingProtocol, at_most: int | None = None) -> list[tuple[str, str]]:
    plan = match(study, protocols, at_most)
    assert [(one.series_uid, one.protocol.name) for one in plan.matches] == [
        (one.series_uid, one.protocol) for one in plan.verdicts if one.asked
    ]
    return [(one.protocol.name, one.series_uid) for one in plan.matches]


def of(study: StudyHeader, *series: SeriesHeader) -> StudyHeader:
    return replace(study, series=series)


def test_a_text_in_any_description_shows_the_anatomy_and_is_named() -> None:
    assert verdict().reason == "/abdomen/ in series description 'Abdomen venous'"
    for where in ("study_description", "requested_procedure_description"):
        assert verdict(study=replace(STUDY, **{where: "CT ABDOMEN"}), series_description="").asked
    assert verdict(series_description="", protocol_name="abdomen").reason == "/abdomen/ in protocol name 'abdomen'"


def test_a_code_is_enough_without_a_text_and_a_synonym_is_the_same_concept() -> None:
    code = Test("procedure", (Coded((CodedHeader("113345001", "SCT"),)),))
    where = AnyOf((code, pattern("description", "abdomen")))
    for concept in (CodedHeader("113345001", "SCT", "Abdomen"), CodedHeader("T-D4000", "SRT", "Abdomen")):
        found = verdict(where, replace(STUDY, procedure_codes=(concept,)), series_description="series 3")
        assert found.asked and found.reason == f"procedure code {concept.scheme}:{concept.value} Abdomen"


@pytest.mark.parametrize(
    ("test", "changes", "why_not"),
    [
        (equals("modality", "CT"), {"modality": "MR"}, "modality MR is not CT"),
        (Not(pattern("series_description", "scout$")), {"series_description": "Abdomen SCOUT", "modality": "US"},
         "excluded: /scout$/ in series description 'Abdomen SCOUT'"),
        (Test("instances", (NumberRange(50),)), {}, "number of instances 40, wanted is at least 50"),
        (Test("slice_thickness", (NumberRange(None, 5),)), {"slice_thickness_mm": 7.5},
         "slice thickness 7.5 mm, wanted is at most 5 mm"),
        (equals("image_type", "AXIAL"), {"image_type": ("ORIGINAL", "PRIMARY")},
         "image type ORIGINAL, PRIMARY is not AXIAL"),
        (pattern("description", "abdomen", r"\bliver"), {"series_description": "Head"},
         r"none of /abdomen/, /\bliver/ in series description 'Head'"),
        (Test("RequestAttributesSequence/ReasonForTheRequestedProcedure", (Present(),)), {},
         "no Reason for the Requested Procedure (0040,1002) in Request Attributes Sequence (0040,0275)"),
    ],
)  # fmt: skip
def test_each_check_refuses_with_what_was_wanted_and_what_stands_there(
    test: Condition, changes: dict[str, object], why_not: str
) -> None:
    found = verdict(test, **changes)
    assert not found.asked and found.reason == why_not


def test_what_a_header_does_not_say_is_not_known_and_the_protocol_says_what_that_means() -> None:
    thin = Test("slice_thickness", (NumberRange(1, 5),))
    found = verdict(thin)
    missing = ("Slice Thickness (0018,0050)",)
    assert (found.asked, found.missing) == (False, missing)
    assert found.reason == f"not known (unknown: refuse): no {missing[0]}"
    assert verdict(Not(thin)).missing == missing  # the opposite of what is not known is not known either
    assert verdict(replace(thin, if_missing=True)).asked
    assert not verdict(Not(replace(thin, if_missing=True))).asked
    (accepted,) = match(STUDY, [protocol(thin, unknown=True)]).verdicts
    assert accepted.asked and accepted.missing == missing and accepted.reason == f"as unknown: accept: no {missing[0]}"


def test_where_an_age_of_nothing_decided_and_stands_as_000y_a_person_should_look() -> None:
    def flags(age: str, years: float, when: Condition) -> tuple[str, ...]:
        series = replace(SERIES, attributes={**SERIES.attributes, "PatientAge": (age,)})
        study = replace(of(STUDY, series), patient_age_years=years, patient_sex="F")
        (found,) = match(study, [protocol(equals("modality", "CT"), when=when)]).verdicts
        return found.flags

    grown = Test("age", (NumberRange(minimum=18),))
    told = ("age 000Y, often written by pseudonymisation",)
    assert flags("000Y", 0.0, grown) == flags("000Y", 0.0, Not(grown)) == told
    assert flags("000Y", 0.0, AnyOf((grown, equals("sex", "O")))) == told
    assert flags("000Y", 0.0, Test("series_count", (NumberRange(minimum=1),))) == ()  # it did not decide
    assert flags("000D", 0.0, grown) == flags("017Y", 17.0, grown) == ()


def test_of_a_study_one_series_that_meets_a_test_is_enough() -> None:
    second = replace(SERIES, series_uid="1.2.4", modality="PT")
    assert len(asked(of(STUDY, SERIES, second), protocol(when=equals("modality", "PT")))) == 1
    found = verdict(when=equals("modality", "PT"))
    assert (found.series_uid, found.reason) == (None, "modality CT is not PT")
    both = match(
        of(STUDY, SERIES, replace(SERIES, series_uid="1.2.4", modality="SR")), [protocol(when=equals("modality", "PT"))]
    )
    assert both.verdicts[0].reason == "modality CT, SR is not PT"


def test_a_count_with_series_that_are_not_known_is_known_where_they_change_nothing() -> None:
    thick, thin, unknown = (
        replace(SERIES, series_uid=f"1.2.{number}", slice_thickness_mm=thickness)
        for number, thickness in enumerate((5.0, 1.0, None))
    )
    is_thin = Test("slice_thickness", (NumberRange(None, 2),))
    for at_least, reason in (
        (1, None),
        (2, "not known (unknown: refuse): 1 series are counted and 1 are not known"),
        (3, "1 to 2 series"),
    ):
        plan = match(of(STUDY, thick, thin, unknown), [protocol(when=Count(is_thin, NumberRange(at_least)))])
        assert (reason is None) == bool(plan.matches)
        assert reason is None or plan.verdicts[0].reason.startswith(reason)


def test_preferences_decide_in_their_order_and_tell_why() -> None:
    thick, thin, coronal, late = (
        replace(SERIES, series_uid=f"1.2.{number}", series_description=f"Abdomen {name}", **changes)
        for number, (name, changes) in enumerate(
            {
                "thick": {"slice_thickness_mm": 5.0, "plane": "axial"},
                "thin": {"slice_thickness_mm": 1.0, "plane": "axial"},
                "coronal": {"slice_thickness_mm": 0.5, "plane": "coronal"},
                "late": {"slice_thickness_mm": 5.0, "attributes": {"SeriesNumber": ("9",)}},
            }.items()
        )
    )
    study = of(STUDY, late, coronal, thick, thin)
    prefer = (Order.AXIAL, Order.THIN)
    plan = match(study, [protocol(prefer=prefer, take=1)])
    assert [one.series_uid for one in plan.matches] == ["1.2.1"]
    reasons = {one.series_uid: one.reason for one in plan.verdicts if not one.asked}
    assert reasons["1.2.0"] == "series 'Abdomen thin' is preferred: 1 mm, this one 5 mm"
    assert reasons["1.2.2"] == "series 'Abdomen thin' is preferred: axial, this one coronal"
    order = [uid for _, uid in asked(study, protocol(prefer=prefer))]
    assert order == ["1.2.1", "1.2.0", "1.2.3", "1.2.2"]
    assert asked(study, protocol(prefer=(pattern("series_description", "thick"),), take=1)) == [("abdomen", "1.2.0")]
    assert asked(study, protocol(prefer=(Order.LATEST,), take=1)) == [("abdomen", "1.2.3")]
    assert len(asked(study, protocol(take=3))) == 3


def test_a_higher_rank_comes_first_and_a_cap_leaves_the_rest_out() -> None:
    other = replace(protocol(name="low", rank=1), questions=(replace(LIVER, text="Is there a liver?"),))
    assert [name for name, _ in asked(STUDY, other, protocol(name="high", rank=90))] == ["high", "low"]
    plan = match(STUDY, [other, protocol(name="high", rank=90), protocol(equals("modality", "MR"), "mr", rank=95)], 1)
    assert [one.protocol.name for one in plan.matches] == ["high"]
    reasons = {one.protocol: (one.series_uid, one.reason) for one in plan.verdicts}
    assert reasons["low"] == (None, "at most 1 protocols ask a study, and those of a higher rank do: high")


def test_a_question_asked_twice_of_a_series_is_asked_once() -> None:
    follow_up, other = ProtocolQuestion("size", "How large is it?", (), "liver"), replace(LIVER, id="x", text="Is it?")
    again = replace(LIVER, id="where", text=" where is  the LIVER? ")
    high = replace(protocol(name="high", rank=90), questions=(LIVER,))
    same = replace(protocol(name="same"), questions=(again,))
    more = replace(protocol(name="more"), questions=(again, other))
    goes_on = replace(protocol(name="goes-on"), questions=(LIVER, follow_up))
    plan = match(STUDY, [same, high, more, goes_on])
    by_name = {one.protocol.name: [question.id for question in one.protocol.questions] for one in plan.matches}
    assert by_name == {"high": ["liver"], "more": ["x"], "goes-on": ["liver", "size"]}  # its "it" needs the liver
    reasons = {one.protocol: one.reason for one in plan.verdicts}
    assert reasons["same"] == "question where is asked by high already"
    assert reasons["more"].endswith("; question where is asked by high already")
    elsewhere = replace(same, questions=(replace(again, predictor="other"),))
    assert len(match(STUDY, [high, elsewhere]).matches) == 2


def test_a_question_whose_words_are_missing_is_left_out_with_its_follow_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(question: ProtocolQuestion, study: StudyHeader, series: SeriesHeader) -> ProtocolQuestion | str:
        if "{side}" in question.text and not series.laterality:
            return "Laterality (0020,0060)"
        return replace(question, text=question.text.replace("{side}", series.laterality))

    monkeypatch.setattr(filling, "filled", fake)
    side = ProtocolQuestion("side", "Is the {side} kidney seen?", ())
    asks = replace(protocol(), questions=(side, ProtocolQuestion("size", "How large is it?", (), "side"), LIVER))
    (left,) = match(of(STUDY, replace(SERIES, laterality="L")), [asks]).matches
    assert left.protocol.questions[0].text == "Is the L kidney seen?"
    plan = match(STUDY, [asks])
    assert [question.id for question in plan.matches[0].protocol.questions] == ["liver"]
    assert plan.verdicts[0].missing == ("Laterality (0020,0060)",)
    assert "question side is not asked: no Laterality (0020,0060)" in plan.verdicts[0].reason
    (none,) = match(STUDY, [replace(asks, questions=(side,))]).verdicts
    assert not none.asked and none.reason == (
        "question side is not asked: no Laterality (0020,0060) (write {side|} to ask it without)"
    )


def test_every_matching_series_is_asked_by_every_protocol_and_the_rest_refused() -> None:
    second, report = replace(SERIES, series_uid="1.2.4"), replace(SERIES, series_uid="1.2.5", modality="SR")
    other = replace(protocol(name="other"), questions=(replace(LIVER, text="Is there a liver?"),))
    plan = match(of(STUDY, SERIES, second, report), [protocol(name="one"), other])
    assert [(one.series_uid, one.protocol.name) for one in plan.matches] == [
        ("1.2.3", "one"), ("1.2.4", "one"), ("1.2.3", "other"), ("1.2.4", "other")
    ]  # fmt: skip
    assert {(one.protocol, one.series_uid) for one in plan.verdicts if not one.asked} == {
        ("one", "1.2.5"),
        ("other", "1.2.5"),
    }


def test_what_keeps_a_protocol_from_a_whole_study_is_told_once() -> None:
    for study, changes, reason in (
        (of(STUDY), {}, "the study has no series"),
        (STUDY, {"off_because": "not learned"}, "off: not learned"),
        (STUDY, {"limits": Limits(largest_study=39)}, "the study has 40 instances, the largest that is asked 39"),
        (STUDY, {"limits": Limits(largest_study=39), "when": equals("modality", "MR")}, "modality CT is not MR"),
    ):
        (found,) = match(study, [protocol(**changes)]).verdicts  # type: ignore[arg-type]
        assert (found.asked, found.series_uid, found.reason) == (False, None, reason)


# --- The part of the body ---------------------------------------------------------------------------------------------

_REGION = equals("region", "abdomen")
_DISAGREES = ("Body Part Examined HEAD disagrees with what codes or words say: abdomen",)


def test_body_part_alone_never_decides() -> None:
    alone = verdict(equals("body_part_examined", "ABDOMEN"), body_part_examined="ABDOMEN")
    told = "not known (unknown: refuse): Body Part Examined ABDOMEN alone does not decide"
    assert alone.reason == told and not alone.asked
    narrowed = AllOf((pattern("description", "venous"), equals("body_part_examined", "ABDOMEN")))
    assert verdict(narrowed, body_part_examined="abdomen").asked
    assert not verdict(narrowed, body_part_examined="HEAD").asked
    by_keyword = AllOf((Test("SeriesDate", (Present(False),)), equals("BodyPartExamined", "ABDOMEN")))
    assert not verdict(by_keyword, attributes={"BodyPartExamined": ("ABDOMEN",)}).asked
    region = BodyRegions(by_body_part_alone=frozenset({"abdomen"}))
    found = verdict(_REGION, regions=region, body_part_examined="ABDOMEN")
    assert not found.asked and found.reason.startswith(told)
    assert not verdict(Not(_REGION), regions=region).asked


def test_a_body_part_that_codes_or_words_contradict_is_flagged_where_the_verdict_turns_on_anatomy() -> None:
    says = {"regions": BodyRegions(frozenset({"abdomen"})), "body_part_examined": "HEAD"}
    assert (verdict(_REGION, **says).asked, verdict(_REGION, **says).flags) == (True, _DISAGREES)
    assert verdict(**says).flags == _DISAGREES  # by a description
    assert verdict(equals("modality", "CT"), **says).flags == ()
    other = verdict(equals("region", "head"), **says)
    assert (other.asked, other.flags) == (False, _DISAGREES)
    told = verdict(when=equals("region", "head"), **says)
    assert (told.series_uid, told.flags) == (None, _DISAGREES)
    assert verdict(_REGION, **{**says, "body_part_examined": "CHEST"}).flags == ()  # beside the abdomen


def test_codes_and_words_that_exclude_each_other_leave_the_region_unknown() -> None:
    regions = BodyRegions(frozenset({"abdomen", "head"}), contradicted=True)
    found = verdict(_REGION, regions=regions)
    assert not found.asked and found.reason.startswith("not known (unknown: refuse): ")
    assert found.flags == ("codes and words name regions that exclude each other: abdomen, head",)


# --- Kinds of images that are not asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["SEG", "SR", "PR", "KO", "RTSTRUCT"])
def test_results_are_never_input_even_where_a_rule_names_them(modality: str) -> None:
    assert "no images" in verdict(equals("modality", modality), modality=modality).reason


@pytest.mark.parametrize(
    "uid",
    ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.88.34"],
)
def test_a_segmentation_or_report_that_claims_to_be_ct_is_none(uid: str) -> None:
    assert not is_image_series(replace(SERIES, sop_class_uids=(uid,)))
    assert is_image_series(SERIES)


_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DERIVED = ("DERIVED", "SECONDARY")


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (ImageKind.LOCALIZERS, {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a localizer"),
        (ImageKind.LOCALIZERS, {"image_type": ("localizer",)}, "a localizer"),
        (ImageKind.LOCALIZERS, {"series_description": "Abdomen_Scout"}, "a localizer by its description"),
        (ImageKind.LOCALIZERS, {"series_description": "Abdomen PILOT", "modality": "MR"},
         "a localizer by its description"),
        (ImageKind.CAPTURES, {"sop_class_uids": (_CAPTURE,)}, "a capture of a screen or a scanned page"),
        (ImageKind.CAPTURES, {"series_description": "Abdomen Dose Report"}, "a dose report"),
        (ImageKind.REFORMATS, {"image_type": (*_DERIVED, "AXIAL", "CT_SOM5 MPR")}, "a reformat: derived, MPR"),
        (ImageKind.REFORMATS, {"image_type": (*_DERIVED, "REFORMATTED", "AVERAGE")},
         "a reformat: derived, REFORMATTED"),
        (ImageKind.REFORMATS, {"image_type": _DERIVED, "plane": "coronal"}, "a reformat: derived, coronal"),
        (ImageKind.REFORMATS, {"image_type": (), "series_description": "Abdomen MPR sag"},
         "a reformat: no Image Type (0008,0008), MPR by its description"),
        (ImageKind.REFORMATS, {"image_type": (*_DERIVED, "PROJECTION IMAGE"), "modality": "MR"},
         "a reformat: derived, PROJECTION"),
        (ImageKind.OWN_RESULTS, {"sop_class_uids": (_CAPTURE, CT), "attributes": {"Manufacturer": ("MedSeg Node",)}},
         "a result of a MedSeg Node"),
    ],
)  # fmt: skip
def test_kinds_of_images_are_asked_only_where_a_protocol_includes_them(
    kind: ImageKind, changes: dict[str, object], reason: str
) -> None:
    where = pattern("description", "abdomen")
    assert verdict(where, **changes).reason == reason
    study = of(STUDY, replace(SERIES, **changes))  # type: ignore[arg-type]
    assert len(asked(study, protocol(where, include=frozenset({kind})))) == 1
    assert not asked(study, protocol(where, include=frozenset(ImageKind) - {kind}))


@pytest.mark.parametrize(
    "changes",
    [
        {"image_type": ("DERIVED", "PRIMARY", "AXIAL")},  # iterative, compressed, or sent again
        {"image_type": ("DERIVED", "SECONDARY", "AXIAL"), "plane": "axial"},
        {"image_type": ("DERIVED", "PRIMARY"), "modality": "MG"},
        {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL"), "plane": "coronal"},
        {"series_description": "Abdomen low dose"},
        {"attributes": {"Manufacturer": ("MedSeg Node",)}},  # a commissioning body
        {"image_type": ()},
    ],
)
def test_an_everyday_series_is_none_of_those_kinds(changes: dict[str, object]) -> None:
    assert verdict(pattern("description", "abdomen"), **changes).asked


def test_a_presentation_state_and_a_dose_report_are_called_so() -> None:
    for modality, uid, told in (
        ("PR", "1.2.840.10008.5.1.4.1.1.11.1", "a presentation state"),
        ("SR", "1.2.840.10008.5.1.4.1.1.88.67", "a dose report"),
    ):
        assert verdict(modality=modality, sop_class_uids=(uid,)).reason == f"no images: {told}"
