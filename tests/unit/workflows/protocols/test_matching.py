"""Matching: right series in, wrong series out, a reason either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader, read_study_header
from dicom_node.results.codes import LABELS
from workflows.protocols.loader import load_directory
from workflows.protocols.matching import is_image_series, match
from workflows.protocols.schema import NumberRange, ProtocolQuestion, ReadingProtocol, Selector, TextPattern

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES = SeriesHeader(
    series_uid="1.2.3", modality="CT", sop_class_uids=(CT,), instances=40, series_description="Abdomen venous"
)
STUDY = StudyHeader(study_uid="1.2", series=(SERIES,))
SELECTOR = Selector(modality=("CT",), texts=(TextPattern("abdomen"),))


def protocol(selector: Selector, name: str = "abdomen") -> ReadingProtocol:
    return ReadingProtocol(name, "1", name, selector, (ProtocolQuestion("liver", "Where?", (LABELS["liver"],)),))


def reason(selector: Selector, study: StudyHeader = STUDY, **changes: object) -> str | None:
    """Why the study's first series, so changed, is refused; None if it is asked."""
    study = replace(study, series=(replace(study.series[0], **changes),))  # type: ignore[arg-type]
    plan = match(study, [protocol(selector)])
    assert len(plan.matches) + len(plan.refusals) == 1
    return plan.refusals[0].reason if plan.refusals else None


def test_a_text_in_any_description_shows_the_anatomy_and_is_named() -> None:
    plan = match(STUDY, [protocol(SELECTOR)])
    assert plan.matches[0].reason == "/abdomen/ in series description 'Abdomen venous'"
    bare = replace(SERIES, series_description="")
    for where in ("study_description", "requested_procedure_description"):
        assert match(replace(STUDY, series=(bare,), **{where: "CT ABDOMEN"}), [protocol(SELECTOR)]).matches
    assert reason(SELECTOR, series_description="", protocol_name="abdomen") is None


def test_a_code_is_enough_without_a_text() -> None:
    selector = replace(SELECTOR, codes=("SCT:818981001",))
    coded = replace(STUDY, procedure_codes=(CodedHeader("818981001", "SCT", "Abdomen"),))
    assert reason(selector, coded, series_description="series 3") is None
    assert match(coded, [protocol(selector)]).matches[0].reason == "code SCT:818981001 Abdomen"


def test_body_part_alone_never_decides_and_never_contradicts() -> None:
    selector = replace(SELECTOR, vague_texts=(TextPattern("venous"),), body_part=("ABDOMEN",))
    alone = reason(selector, series_description="", body_part_examined="ABDOMEN")
    assert alone == "none of /abdomen/ in empty descriptions; body part ABDOMEN alone does not decide"
    assert reason(selector, series_description="thick", body_part_examined="ABDOMEN") is not None
    assert reason(selector, series_description="venous", body_part_examined="HEAD") is not None
    assert reason(selector, series_description="venous", body_part_examined="abdomen") is None
    assert reason(selector, series_description="Abdomen", body_part_examined="HEAD") is None


@pytest.mark.parametrize(
    ("criterion", "changes", "why_not"),
    [
        ({}, {"modality": "MR"}, "modality MR is not CT"),
        ({"exclude": (TextPattern("scout"),)}, {"series_description": "Abdomen SCOUT"}, "excluded by /scout/"),
        ({"exclude": (TextPattern("^LOCALIZER$"),)}, {"image_type": ("ORIGINAL", "LOCALIZER")}, "in image type"),
        ({"instances": NumberRange(50)}, {}, "40 instances, wanted are at least 50"),
        ({"slice_thickness_mm": NumberRange(None, 5)}, {"slice_thickness_mm": 7.5}, "7.5 mm, wanted is at most 5 mm"),
        ({"image_type": ("AXIAL",)}, {"image_type": ("ORIGINAL",)}, "lacks AXIAL"),
        ({"sop_classes": (CT,)}, {"sop_class_uids": (CT, "1.2.9")}, "SOP class 1.2.9"),
        ({}, {"series_description": "Head"}, "none of /abdomen/ in series description 'Head'"),
    ],
)
def test_each_criterion_refuses_with_its_reason(criterion: dict, changes: dict, why_not: str) -> None:  # type: ignore[type-arg]
    assert reason(replace(SELECTOR, **criterion)) is None or "instances" in criterion or "image_type" in criterion
    assert why_not in (reason(replace(SELECTOR, **criterion), **changes) or "")


def test_a_series_without_slice_thickness_passes_a_range() -> None:
    assert reason(replace(SELECTOR, slice_thickness_mm=NumberRange(1, 5))) is None


def test_every_matching_series_is_asked_by_every_protocol_and_the_rest_refused() -> None:
    second, report = replace(SERIES, series_uid="1.2.4"), replace(SERIES, series_uid="1.2.5", modality="SR")
    study = replace(STUDY, series=(SERIES, second, report))
    plan = match(study, [protocol(SELECTOR, "one"), protocol(SELECTOR, "other")])
    assert [(found.series_uid, found.protocol.name) for found in plan.matches] == [
        ("1.2.3", "one"), ("1.2.4", "one"), ("1.2.3", "other"), ("1.2.4", "other")
    ]  # fmt: skip
    assert {(refusal.protocol, refusal.series_uid) for refusal in plan.refusals} == {
        ("one", "1.2.5"),
        ("other", "1.2.5"),
    }


@pytest.mark.parametrize("modality", ["SEG", "SR", "PR", "KO", "RTSTRUCT"])
def test_results_are_never_input_even_where_a_rule_names_them(modality: str) -> None:
    assert "no images" in (reason(replace(SELECTOR, modality=(modality,)), modality=modality) or "")


@pytest.mark.parametrize(
    "uid",
    ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.88.34"],
)
def test_a_segmentation_or_report_that_claims_to_be_ct_is_none(uid: str) -> None:
    assert not is_image_series(replace(SERIES, sop_class_uids=(uid,)))
    assert is_image_series(SERIES)


def test_a_study_without_series_is_refused_by_every_protocol() -> None:
    plan = match(replace(STUDY, series=()), [protocol(SELECTOR)])
    assert plan.refusals[0].series_uid is None and plan.refusals[0].reason == "the study has no series"


def shipped(checkout: Path) -> tuple[ReadingProtocol, ...]:
    return load_directory(checkout / "deploy" / "protocols")


def test_the_abdominal_ct_of_a_real_scanner_is_asked_despite_its_body_part(checkout: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    study = read_study_header({"series": files})
    assert (study.study_description, study.series[0].body_part_examined) == ("", "PARTIALBODY")
    plan = match(study, shipped(checkout))
    assert [found.protocol.name for found in plan.matches] == ["abdominal-ct"]
    assert "'CT Body 3.0'" in plan.matches[0].reason
    assert "abdominal-ct" not in {refusal.protocol for refusal in plan.refusals}


@pytest.mark.parametrize(
    ("modality", "study_text", "series_text", "image_type", "asked"),
    [
        ("CT", "CT, HEAD/BRAIN WO CONTRAST", "Routine Brain", (), []),
        ("CT", "CHEST", "HELICAL CHEST", (), []),
        ("CT", "CT ABDOMEN", "Scout", ("ORIGINAL", "PRIMARY", "LOCALIZER"), []),
        ("CT", "CT ABD W CONTRAST", "portal venous", (), ["abdominal-ct"]),
        ("MR", "abdomen^liver", "t1_vibe", (), []),
        ("MR", "Cardiac", "cine_sax_stack", (), ["cardiac-mr"]),
        ("MR", "", "SAx cine", (), ["cardiac-mr"]),
        ("MR", "Cardiac", "cine 4CH", (), []),
        ("MR", "Cardiac", "3-plane localizer", (), []),
        ("CR", "Chest", "Chest PA PA", (), ["chest-radiograph"]),
        ("DX", "", "CHEST", (), ["chest-radiograph"]),
        ("CR", "Chest 2 views", "Chest LAT", (), []),
        ("CR", "XR C Spine Comp Min 4 Views", "Cervical LAT", (), []),
    ],
)
def test_shipped_protocols_ask_what_they_are_for(
    checkout: Path, modality: str, study_text: str, series_text: str, image_type: tuple[str, ...], asked: list[str]
) -> None:
    series = replace(SERIES, modality=modality, series_description=series_text, image_type=image_type)
    plan = match(replace(STUDY, study_description=study_text, series=(series,)), shipped(checkout))
    assert [found.protocol.name for found in plan.matches] == asked
