"""Our own SRs read back: what every profile's form says, and what is none of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from dicom_node.results import codes
from dicom_node.results.codes import LABELS, UNSIDED
from dicom_node.results.comparing import AskedQuestion, ReadNow, compared_parts
from dicom_node.results.earlier import EarlierResult, NamedConcept
from dicom_node.results.finding import NotAssessed, ReadAnswer, ReadPart
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.stored_report import ReportUnreadable, read_stored_report, stored_report
from tests.unit.dicom_node.results.checkers import identity_of
from tests.unit.dicom_node.results.loading import only_part

_SIZES = {"volume", "area", "long-axis", "short-axis"}


def numbered(part: ReadPart) -> ReadPart:
    """Tracking identifiers as a reading gives them: question and finding by number."""
    answers = tuple(
        replace(
            answer,
            findings=tuple(
                replace(finding, tracking_id=f"{finding.concept.label} {place}.{number}")
                for number, finding in enumerate(answer.findings, start=1)
            ),
        )
        for place, answer in enumerate(part.answers, start=1)
    )
    return replace(part, answers=answers)


def saved(part: ReadPart, context, path):  # type: ignore[no-untyped-def]
    report = build_report([part], [build_segmentation(part, context)], context)
    save(report, path, identity_of([part]))
    return path


@pytest.mark.parametrize("profile", Profile)
def test_every_form_says_what_was_seen_how_large_and_what_was_not(
    real_volume, context, read, blob_in, tmp_path, profile
) -> None:
    shape = real_volume.values.shape[:3]
    part = numbered(read(real_volume, blob_in(shape), blob_in(shape, 1)))
    low = replace(part.findings[1], low_confidence=True, measurements=())
    answer = replace(part.answers[0], findings=(part.findings[0], low))
    part = replace(part, answers=(answer,))
    made = context(profile, predecessors=[("1.2.840.10008.5.1.4.1.1.88.34", "2.25.7")])
    path = saved(part, made, tmp_path / "sr.dcm")
    source = real_volume.sources[0]
    if not source.get("StudyDate") and not source.get("AcquisitionDate"):
        with pytest.raises(ReportUnreadable, match="no study date"):
            read_stored_report(path)
        return
    report = read_stored_report(path)
    assert (report.study_uid, report.source_series) == (source.StudyInstanceUID, (source.SeriesInstanceUID,))
    assert report.terms == "RESEARCH USE ONLY" and report.predecessors == ("2.25.7",)
    assert report.patient.patient_id == str(source.PatientID).strip()
    assert report.result.date.strftime("%Y%m%d") == str(source.StudyDate).replace(".", "")
    assert report.result.made_by == "MedSeg-R tiny 0.1.0 (abababababab)"
    (one,) = report.result.answers
    assert one.question == "Where is the liver?" and not one.asked_in_full
    assert [found.concept.label for found in one.findings] == ["liver", "kidney left"]
    for found, finding in zip(one.findings, part.findings, strict=True):
        assert found.concept.is_same(NamedConcept.of(finding.concept))
        assert found.low_confidence == finding.low_confidence
        measured = [
            (size.kind.value, size.rounded, size.unit.value, size.method and size.method.value, size.at_least)
            for size in finding.measurements
            if size.kind.value in _SIZES
        ]
        assert [(size.kind, size.value, size.unit, size.method, size.at_least) for size in found.measurements] == (
            measured
        )
    assert one.asked[2].is_same(NamedConcept.of(LABELS["spleen"])), "looked for and not seen"
    assert EarlierResult.from_json(report.result.as_json()) == report.result


def test_a_finding_belongs_to_its_question_and_a_contour_is_none_of_its_own(
    shared_data, context, read, blob_in, tmp_path
) -> None:
    volume = only_part([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    part = read(volume, blob_in(volume.values.shape[:3]), labels=("left lung",))
    second = ReadAnswer("Is there a catheter?", "No.", (), (LABELS["central venous line"],))
    part = numbered(replace(part, answers=(*part.answers, second)))
    for profile in Profile:
        result = read_stored_report(saved(part, context(profile), tmp_path / "sr.dcm")).result
        lung, catheter = result.answers
        assert [found.concept.label for found in lung.findings] == ["left lung"] and catheter.findings == ()
        assert lung.findings[0].measurements[0].method == codes.SPACING_METHODS[volume.spacing_basis].value


def test_what_was_not_assessed_then_is_read_back(box_series, context, read, tmp_path) -> None:
    part = numbered(read(only_part(box_series().files)))
    aorta = NotAssessed("aorta", LABELS["aorta"], "label-not-learned", "this model has not learned it")
    part = replace(part, answers=(replace(part.answers[0], not_assessed=(aorta,)),))
    for profile in Profile:
        (one,) = read_stored_report(saved(part, context(profile), tmp_path / "sr.dcm")).result.answers
        assert [concept.is_same(NamedConcept.of(LABELS["aorta"])) for concept in one.not_assessed] == [True]
        assert len(one.asked) == 2 and one.asked[0].is_same(NamedConcept.of(LABELS["spleen"]))


def dated(report: Dataset) -> Dataset:
    """The report with the study's date, which saving puts into it."""
    report.StudyDate = "20260102"
    return report


def report_of(box_series, context, read):  # type: ignore[no-untyped-def]
    volume = only_part(box_series().files)
    part = numbered(read(volume, volume.values > 3000))
    return dated(build_report([part], [build_segmentation(part, context())], context()))


def test_what_is_foreign_broken_or_unclear_is_refused(box_series, context, read, tmp_path) -> None:
    report = report_of(box_series, context, read)
    assert stored_report(report).result.answers[0].findings[0].measurements[0].value == 0.27

    def spoilt(**changes: object) -> Dataset:
        other = Dataset.from_json(report.to_json_dict())
        for keyword, value in changes.items():
            setattr(other, keyword, value)
        return other

    for other in (
        spoilt(Manufacturer="Somebody"), spoilt(SOPClassUID=BasicTextSRStorage), spoilt(StudyDate=""),
        spoilt(ContentSequence=[]), spoilt(StudyDate="00000000"),
    ):  # fmt: skip
        with pytest.raises(ReportUnreadable):
            stored_report(other)
    for other in (b"", b"no DICOM at all" * 20, b"\0" * 128 + b"DICM" + b"\xff" * 40):
        (tmp_path / "broken.dcm").write_bytes(other)
        with pytest.raises(ReportUnreadable):
            read_stored_report(tmp_path / "broken.dcm")
    for removed in range(len(report.ContentSequence)):
        cut = spoilt()
        del cut.ContentSequence[removed]
        try:
            stored_report(cut)
        except ReportUnreadable as error:
            assert "liver" not in str(error)


def items_of(item: Dataset) -> Iterator[Dataset]:
    for inner in item.get("ContentSequence", []):
        yield inner
        yield from items_of(inner)


@pytest.mark.parametrize("value", ["5E-324", "1E300", "-3", "0", "nan", "inf", "1E400", "10000001"])
def test_a_number_that_is_no_size_is_left_out_and_the_finding_stays(box_series, context, read, value) -> None:
    report = report_of(box_series, context, read)
    for item in items_of(report):
        if item.ValueType == "NUM":
            element = DataElement(0x0040A30A, "LO", value)  # any text: what pydicom would not write as DS either
            item.MeasuredValueSequence[0][0x0040A30A] = element
    ((found,),) = [answer.findings for answer in stored_report(report).result.answers]
    assert found.concept.label == "liver" and found.measurements == ()


def test_without_its_presence_a_finding_of_no_size_is_still_seen(box_series, context, read) -> None:
    report = report_of(box_series, context, read)
    for item in items_of(report):
        if item.get("ContentSequence") and any(inner.ValueType == "NUM" for inner in item.ContentSequence):
            item.ContentSequence = [one for one in item.ContentSequence if one.ValueType != "CODE" or not is_seen(one)]
        if item.ValueType == "NUM":
            item.MeasuredValueSequence[0].NumericValue = "-3"
    (answer,) = stored_report(report).result.answers
    assert [found.concept.label for found in answer.findings] == ["liver"]


def is_seen(item: Dataset) -> bool:
    name = item.ConceptNameCodeSequence[0]
    return (name.CodeValue, name.CodingSchemeDesignator) == (codes.PRESENCE.value, codes.PRESENCE.scheme_designator)


def test_no_control_of_an_archive_reaches_the_database(box_series, context, read) -> None:
    report = report_of(box_series, context, read)
    for item in items_of(report):
        if item.ValueType == "TEXT":
            item.TextValue = "\x00\x1b[31m" + item.TextValue + "\x00" + "x" * 2000
        if item.ValueType == "CODE":
            item.ConceptCodeSequence[0].CodeMeaning += "\x00\x85\ud800"
    told = json.dumps(stored_report(report).result.as_json())
    assert "\\u00" not in told and "\\u001b" not in told and "\\ud8" not in told
    assert "x" * 65 not in json.dumps([answer["findings"] for part in json.loads(told)["parts"]
                                       for answer in part["answers"]])  # fmt: skip


def test_parts_are_not_told_apart(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    parts = [numbered(read(volume, volume.values > 3000, ordinal=number)) for number in range(2)]
    report = dated(build_report(parts, [None, None], context()))
    with pytest.raises(ReportUnreadable, match="several parts"):
        stored_report(report)


def test_the_other_side_was_perhaps_asked_for_without_a_side(box_series, context, read, blob_in) -> None:
    volume = only_part(box_series().files)
    mask = blob_in(volume.values.shape)
    earlier = numbered(read(volume, mask, labels=("kidney left",)))
    result = stored_report(dated(build_report([earlier], [build_segmentation(earlier, context())], context()))).result
    now = read(volume, mask, labels=("kidney right",))
    asked = [AskedQuestion("q", now.answers[0].question, (UNSIDED["kidney"],))]
    (part,) = compared_parts([now], asked, result, ReadNow(date(2026, 5, 6)))
    assert part.answers[0].compared == (
        "kidney right: not seen or not asked on 2026-01-02",
        next(one for one in part.answers[0].compared if one.startswith("kidney left: seen on 2026-01-02")),
    )
    assert part.answers[0].compared[1].endswith("not seen now")


def test_bases_of_projections_must_agree(shared_data, context, read, blob_in, tmp_path) -> None:
    volume = only_part([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    part = numbered(read(volume, blob_in(volume.values.shape[:3])))
    result = read_stored_report(saved(part, context(), tmp_path / "sr.dcm")).result
    asked = [AskedQuestion("q", part.answers[0].question, (LABELS["liver"],))]
    (same,) = compared_parts([part], asked, result, ReadNow(date(2026, 5, 6)))
    assert {change.difference for change in same.findings[0].changes} == {0}
    assert {change.name for change in same.findings[0].changes} == {"area", "long axis", "short axis"}
    other = {code.value for code in codes.SPACING_METHODS.values()} - {
        codes.SPACING_METHODS[volume.spacing_basis].value
    }
    findings = result.answers[0].findings
    moved = tuple(replace(one, method=min(other)) for one in findings[0].measurements)
    answers = (replace(result.answers[0], findings=(replace(findings[0], measurements=moved),)),)
    changed = replace(result, parts=(replace(result.parts[0], answers=answers),))
    (unlike,) = compared_parts([part], asked, changed, ReadNow(date(2026, 5, 6)))
    assert unlike.findings[0].changes == ()
    assert unlike.answers[0].compared == (
        "liver: area and long axis and short axis not comparable, the pixel spacing of 2026-01-02 was come by in "
        "another way".replace("2026-01-02", result.date.isoformat()),
    )


def test_two_of_one_kind_are_not_compared(box_series, context, read, blob_in) -> None:
    volume = only_part(box_series().files)
    masks = [blob_in(volume.values.shape), volume.values > 3000]
    part = numbered(read(volume, *masks, labels=("liver", "liver")))
    result = stored_report(dated(build_report([part], [build_segmentation(part, context())], context()))).result
    asked = [AskedQuestion("q", part.answers[0].question, (LABELS["liver"],))]
    one = read(volume, np.asarray(masks[0]))
    (compared,) = compared_parts([one], asked, result, ReadNow(date(2026, 5, 6)))
    assert compared.findings[0].changes == ()
    assert compared.answers[0].compared == ("liver: marked 2 times on 2026-01-02 and once now, so not compared",)
