"""What the forms of the profiles have beyond what every report has: see results/profiles.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.results.codes import LABELS
from dicom_node.results.comparison import Change
from dicom_node.results.finding import ReadPart
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.checkers import dsrdump, errors_of_dciodvfy, identity_of, segmentation_in
from tests.unit.dicom_node.results.loading import only_part

XRAY = "dicom/highdicom/data/test_files/dx_image.dcm"


def concept(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def meaning(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeMeaning)


def contents(item: Dataset) -> Iterator[Dataset]:
    """Every content item beneath `item`."""
    for inner in item.get("ContentSequence", ()):
        yield inner
        yield from contents(inner)


def own_texts_of(report: Dataset) -> list[Dataset]:
    """What is said in words, not by whom."""
    items = report.ContentSequence
    return [item for item in items if (item.ValueType, item.RelationshipType) == ("TEXT", "CONTAINS")]


def groups(report: Dataset) -> list[Dataset]:
    return [item for item in contents(report) if concept(item) == "125007"]


def values(group: Dataset, code: str) -> list[Any]:
    """Of the items of a group that a code names: text, or meaning."""
    found = [item for item in group.ContentSequence if concept(item) == code]
    return [item.TextValue if item.ValueType == "TEXT" else meaning(item) for item in found]


@pytest.fixture
def kidney(box_series, read) -> ReadPart:
    """A left kidney; no spleen."""
    volume = only_part(box_series().files)
    return read(volume, volume.values > 3000, labels=("kidney left",))


# --- OHIF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [Profile.OHIF, Profile.AIR, Profile.SLICER])
def test_the_side_is_in_the_meaning_for_readers_of_meanings_alone(context, kidney, profile) -> None:
    report = build_report([kidney], [build_segmentation(kidney, context(profile))], context(profile))
    name = "Left kidney" if profile is Profile.OHIF else "Kidney"
    group = groups(report)[0]
    assert (values(group, "121071"), values(group, "363698007")) == ([name], [name])
    (site,) = [item for item in group.ContentSequence if concept(item) == "363698007"]
    assert meaning(site.ContentSequence[0]) == "Left"  # and in the code, for who reads codes


@pytest.mark.parametrize("label", ["kidney left", "kidney right"])
def test_what_is_not_seen_has_its_side_too(box_series, context, read, label) -> None:
    """Else "Kidney: looked for and not seen" would be said of a kidney that is seen."""
    part = read(only_part(box_series().files))
    part = dataclasses.replace(part, answers=(dataclasses.replace(part.answers[0], not_seen=(LABELS[label],)),))
    (group,) = groups(build_report([part], [None], context(Profile.OHIF)))
    assert values(group, "121071") == [f"{label.split()[1].title()} kidney"]


@pytest.mark.parametrize(
    ("label", "site", "type_"),
    [
        ("left lung", "Left lung", "Left lung"),
        ("consolidation", "Consolidation, lung", "Consolidation of lung"),
        ("breast tumour", "Breast tumour, breast", "Neoplasm"),
        ("endotracheal tube", "Endotracheal tube", "Endotracheal tube"),
    ],
)
def test_a_contours_site_says_what_it_is_around(shared_data, context, read, label, site, type_) -> None:
    volume = only_part([shared_data / XRAY])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:40, 20:60] = True
    part = read(volume, mask, labels=(label,))
    report = build_report([part], [None], context(Profile.OHIF))
    (group,) = groups(report)
    assert (values(group, "363698007"), values(group, "121071")) == ([site], [type_])


def test_a_consolidation_of_one_lung_names_the_lung(shared_data, context, read) -> None:
    volume = only_part([shared_data / XRAY])
    part = read(volume, volume.values > 0, labels=("consolidation",))
    sided = dataclasses.replace(LABELS["consolidation"], laterality=LABELS["left lung"].laterality)
    finding = dataclasses.replace(part.findings[0], concept=sided)
    part = dataclasses.replace(part, answers=(dataclasses.replace(part.answers[0], findings=(finding,)),))
    group = groups(build_report([part], [None], context(Profile.OHIF)))[0]
    assert values(group, "363698007") == ["Consolidation, left lung"]


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("profile", [Profile.OHIF, Profile.SLICER])
def test_without_a_segmentation_the_first_contour_has_the_measurements(
    shared_data, context, read, tmp_path, profile
) -> None:
    volume = only_part([shared_data / XRAY])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:40, 20:60] = mask[0, 80:90, 20:40] = True
    part = read(volume, mask)
    assert segmentation_in(part, context(profile)) is None
    report = build_report([part], [None], context(profile))
    save(report, tmp_path / "sr.dcm", identity_of([part]))
    assert errors_of_dciodvfy(tmp_path / "sr.dcm") == []
    drawn = [group for group in groups(report) if any(item.ValueType == "SCOORD" for item in group.ContentSequence)]
    numbers = [[item for item in group.ContentSequence if item.ValueType == "NUM"] for group in drawn]
    # Area, two axes, number of parts, confidence; beside the fifth OHIF would not say what the contour is.
    assert [len(one) for one in numbers] == [4 if profile is Profile.OHIF else 5, 0]
    comments = [item.TextValue for item in own_texts_of(report) if concept(item) == "121106"]
    assert comments == ["liver 1: number of parts, axes are of the largest: 2"] * (profile is Profile.OHIF)
    area = numbers[0][0].MeasuredValueSequence[0].NumericValue
    assert area == part.findings[0].measurements[0].rounded
    assert {item.UID for item in drawn[0].ContentSequence if item.ValueType == "UIDREF"} == {
        part.findings[0].tracking_uid
    }


def test_parts_that_are_not_outlined_are_nowhere_else(shared_data, context, read) -> None:
    volume = only_part([shared_data / XRAY])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:60:2, 10] = True
    report = build_report([read(volume, mask)], [None], context(Profile.OHIF))
    comments = [item.TextValue for item in report.ContentSequence if concept(item) == "121106"]
    assert comments[1:] == [
        "liver 1: the 20 largest of 25 parts are outlined; the others are in the measurements alone."
    ]


@pytest.mark.parametrize("profile", Profile)
def test_comments_and_notes_stand_after_the_answers(context, kidney, profile) -> None:
    report = build_report([kidney], [None], context(profile), ["Not read: something."])
    assert [concept(item) for item in own_texts_of(report)] == ["terms", "question", "answer", "121106"]


# --- Comparison -------------------------------------------------------------------------------------------------------


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("profile", [Profile.OHIF, Profile.AIR, Profile.SLICER])
def test_what_an_earlier_result_said_stands_right_after_the_answer(context, kidney, tmp_path, profile) -> None:
    change = Change("volume", "ml", 100.0, 150.0, date(2025, 1, 2), date(2026, 1, 2))
    (answer,) = kidney.answers
    finding = dataclasses.replace(answer.findings[0], changes=(change,))
    answer = dataclasses.replace(answer, findings=(finding,), compared=("liver was not asked then",))
    part = dataclasses.replace(kidney, answers=(answer,))
    report = build_report([part], [None], context(profile))
    texts = [(concept(item), item.TextValue) for item in own_texts_of(report)]
    assert texts[2:] == [
        ("answer", answer.text),
        ("comparison", "kidney left: volume +50.0 ml (+50.0 %): 100.0 ml on 2025-01-02, 150.0 ml on 2026-01-02"),
        ("comparison", "liver was not asked then"),
    ]
    save(report, tmp_path / "sr.dcm", identity_of([part]))
    assert errors_of_dciodvfy(tmp_path / "sr.dcm") == []
    assert "Compared with an earlier result" in dsrdump(tmp_path / "sr.dcm")


# --- AI Results -------------------------------------------------------------------------------------------------------


def both(part: ReadPart, made: Any) -> tuple[Dataset, Dataset]:
    segmentation = build_segmentation(part, made)
    assert segmentation is not None
    return segmentation, build_report([part], [segmentation], made)


def equipment(result: Dataset) -> dict[str, Dataset]:
    items = result.ContributingEquipmentSequence
    return {item.PurposeOfReferenceCodeSequence[0].CodeMeaning: item for item in items}


@pytest.mark.parametrize("profile", [Profile.AIR, Profile.OHIF, Profile.SLICER])
def test_both_objects_say_which_algorithm_made_them_and_where(context, kidney, profile) -> None:
    made = context(profile, node_uid="node 1")
    results = both(kidney, made)
    for result in results:
        algorithm, node = equipment(result)["Processing Algorithm"], equipment(result)["Processing Equipment"]
        (purpose,) = algorithm.PurposeOfReferenceCodeSequence
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("Newcode1", "99IHE")
        assert (algorithm.Manufacturer, algorithm.ManufacturerModelName, algorithm.SoftwareVersions) == (
            "MedSeg Node", "MedSeg-R tiny", "0.1.0",
        )  # fmt: skip
        assert "ab" * 32 in algorithm.ContributionDescription
        assert node.StationName == "MEDSEG" and node.DeviceUID != algorithm.DeviceUID
    (observer,) = [item.UID for item in results[1].ContentSequence if concept(item) == "121012"]
    assert observer == equipment(results[1])["Processing Equipment"].DeviceUID


def test_device_uids_follow_weights_version_and_installation(context, kidney) -> None:
    def uids(**changes: object) -> tuple[str, str]:
        items = equipment(both(kidney, context(**changes))[0])
        return items["Processing Algorithm"].DeviceUID, items["Processing Equipment"].DeviceUID

    algorithm, node = uids(node_uid="node 1")
    assert uids(node_uid="node 1", object_key="another job") == (algorithm, node)
    assert uids(node_uid="node 2")[0] == algorithm and uids(node_uid="node 2")[1] != node
    others = {uids(weights_digest="cd" * 32)[0], uids(algorithm_version="0.2.0")[0]}
    assert len(others | {algorithm}) == 3


@pytest.mark.parametrize("profile", [Profile.AIR, Profile.SLICER, Profile.OHIF])
def test_each_group_says_its_algorithm_where_programs_read_it(context, kidney, profile) -> None:
    report = both(kidney, context(profile))[1]
    assert len(groups(report)) == 2  # what was seen, what was not
    for group in groups(report):
        told = values(group, "111001") + values(group, "111003") + values(group, "111002")
        assert told == ([] if profile is Profile.OHIF else ["MedSeg-R tiny", "0.1.0", f"weights sha256 {'ab' * 32}"])


def coded(value: str, designator: str = "99LOCAL", meaning: str = "A procedure") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, designator, meaning
    return item


def requested(**changes: Any) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.RequestedProcedureDescription = "RP1", "CT of the abdomen"
    item.AccessionNumber, item.PlacerOrderNumberImagingServiceRequest = "A1", "P1"
    item.RequestedProcedureCodeSequence = [coded("CTABD")]
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def reported(report: Dataset) -> list[str]:
    found = [item for item in report.ContentSequence if concept(item) == "121058"]
    codes = [item.ConceptCodeSequence[0] for item in found]
    performed = report.PerformedProcedureCodeSequence
    assert [code.CodeValue for code in codes] == [item.CodeValue for item in performed]
    return [str(code.CodeValue) for code in codes]


def spoilt_in(
    box_series: Callable[..., Any], read: Callable[..., ReadPart], change: Callable[[Dataset], None]
) -> ReadPart:
    def spoil(_: int, header: Dataset) -> None:
        change(header)

    volume = only_part(box_series(change=spoil).files)
    return read(volume, volume.values > 3000)


def _performed(header: Dataset) -> None:
    header.ProcedureCodeSequence = [coded("DONE"), coded("DONE TOO")]
    _requested(header)


def _requested(header: Dataset) -> None:
    header.RequestedProcedureCodeSequence = [coded("ASKED")]
    _in_request(header)


def _in_request(header: Dataset) -> None:
    header.RequestAttributesSequence = [requested()]


@pytest.mark.parametrize(
    ("change", "procedure"),
    [
        (_performed, ["DONE", "DONE TOO"]),
        (_requested, ["ASKED"]),
        (_in_request, ["CTABD"]),
        (lambda header: None, ["25045-6"]),
        (lambda header: setattr(header, "Modality", "XX"), ["363679005"]),
    ],
)
def test_the_procedure_is_the_sources(box_series, context, read, change, procedure) -> None:
    part = spoilt_in(box_series, read, change)
    assert reported(build_report([part], [None], context())) == procedure


def test_the_request_is_the_sources(box_series, context, read) -> None:
    part = spoilt_in(box_series, read, _in_request)
    report = build_report([part], [None], context())
    (request,) = report.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP1", "A1")
    assert (request.PlacerOrderNumberImagingServiceRequest, request.FillerOrderNumberImagingServiceRequest) == (
        "P1",
        "",
    )
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "CTABD"
    assert request.StudyInstanceUID == part.volume.study_uid


def test_without_a_request_none_is_named(kidney, context) -> None:
    assert "ReferencedRequestSequence" not in build_report([kidney], [None], context())


def _codes_that_are_none(header: Dataset) -> None:
    header.ProcedureCodeSequence = [Dataset(), coded("", "X"), coded("V", ""), coded("ünï", "X"), coded("V", "X" * 40)]
    request = requested(RequestedProcedureID="1" * 60, RequestedProcedureDescription="\x1b" + "ü" * 90)
    request.AccessionNumber = "ÄÖ"
    header.RequestAttributesSequence = [request, Dataset()]


def _code_that_is_long(header: Dataset) -> None:
    header.ProcedureCodeSequence = [
        coded("1.2.3.4.5.6.7.8.9.10", "X" * 16, "m" * 200),
        coded("urn:oid:1.2.3.4.5.6.7.8", "X"),
    ]


@pytest.mark.service("dcmtk")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", [_codes_that_are_none, _code_that_is_long])
def test_broken_items_of_the_source_do_not_stop_a_report(box_series, context, read, tmp_path, change) -> None:
    part = spoilt_in(box_series, read, change)
    save(build_report([part], [None], context()), tmp_path / "sr.dcm", identity_of([part]))
    assert "Procedure reported" in dsrdump(tmp_path / "sr.dcm")
    stored = pydicom.dcmread(tmp_path / "sr.dcm")
    performed = [item.get("CodeValue") or item.get("LongCodeValue") for item in stored.PerformedProcedureCodeSequence]
    if change is _codes_that_are_none:
        assert performed == ["CTABD"]
        assert [len(item.RequestedProcedureID) for item in stored.ReferencedRequestSequence] == [16, 0]
    else:
        assert performed[0] == "1.2.3.4.5.6.7.8.9.10" and len(performed) == 2


def test_the_library_of_fifty_slices_says_once_what_they_share(tmp_path: Path, box_series, context, read) -> None:
    first = pydicom.dcmread(box_series().files[0])
    files = []
    for index in range(50):
        first.SOPInstanceUID = first.file_meta.MediaStorageSOPInstanceUID = f"1.2.50.{index + 1}"
        first.InstanceNumber, first.ImagePositionPatient = index + 1, [0, 0, 3 * index]
        files.append(tmp_path / f"fifty-{index}.dcm")
        first.save_as(files[-1])
    volume = only_part(files)
    part = read(volume, volume.values > -5000)
    report = both(part, context())[1]
    (library,) = [item for item in report.ContentSequence if concept(item) == "111028"]
    kinds = [item.ValueType for item in contents(library)]
    assert kinds.count("IMAGE") == 50 and kinds.count("CONTAINER") == 1
    assert len(kinds) == 50 + 1 + 13
