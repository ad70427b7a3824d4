"""SRs: valid, readable by others, and in step with the SEG."""

from __future__ import annotations

import dataclasses
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.codes import LABELS, NOT_SEEN
from dicom_node.results.finding import NotAssessed, ReadAnswer, ReadPart
from dicom_node.results.measurement import measure
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from tests.unit.dicom_node.results.checkers import (
    dsrdump,
    errors_of_dciodvfy,
    identity_of,
    segmentation_in,
    tid1500reader,
)
from tests.unit.dicom_node.results.loading import only_part


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize(
    ("count", "profile"),
    [
        (0, Profile.AIR),
        (0, Profile.OHIF),
        (1, Profile.OHIF),
        (2, Profile.AIR),
        (0, Profile.SLICER),
        (2, Profile.SLICER),
    ],
)
def test_it_is_valid_and_dsrdump_reads_it(real_volume, context, read, blob_in, tmp_path, count, profile) -> None:
    shape = real_volume.values.shape[:3]
    part = read(real_volume, *[blob_in(shape, number) for number in range(count)])
    predecessors = [("1.2.840.10008.5.1.4.1.1.88.34", derived_uid("older"))]
    made = context(profile, predecessors=predecessors)
    segmentation = segmentation_in(part, made)
    path = tmp_path / "sr.dcm"
    save(build_report([part], [segmentation], made), path, identity_of([part]))
    assert errors_of_dciodvfy(path) == []
    text = dsrdump(path)
    assert "Where is the liver?" in text and "RESEARCH USE ONLY" in text and "Looked for and not seen" in text
    # A finding's group; on a projection image its contour's group; "not seen" as a group unless contours are drawn.
    contours = count if real_volume.geometry is None else 0
    unseen = 0 if contours and profile is Profile.OHIF else 1
    assert text.count('"Measurement Group"') == (contours if segmentation is None else count + contours) + unseen
    lines = [one for finding in part.findings for one in finding.measurements if one.line is not None]
    assert text.count("POLYLINE") == contours + (0 if profile is Profile.OHIF else len(lines))
    if profile is Profile.SLICER:
        read_by_dcmqi = tid1500reader(path, tmp_path)["Measurements"]
        assert [group["TrackingUniqueIdentifier"] for group in read_by_dcmqi][:count] == [
            finding.tracking_uid for finding in part.findings
        ]
    stored = pydicom.dcmread(path)
    source = real_volume.sources[0]
    assert (stored.PatientID, stored.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert str(stored.PatientName) == str(source.PatientName)
    assert (stored.CompletionFlag, stored.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_groups_track_their_segments(box_series, context, read, blob_in) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000, blob_in(volume.values.shape))
    segmentation = build_segmentation(part, context())
    report = build_report([part], [segmentation], context())
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    for number, group in enumerate(groups, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        assert group.tracking_uid == segment.TrackingUID and group.tracking_identifier == segment.TrackingID
        assert group.finding_type.value == segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
        reference = group.roi.referenced_sop_instance_uid if hasattr(group.roi, "referenced_sop_instance_uid") else None
        assert reference in (None, segmentation.SOPInstanceUID)
    assert len(groups) == 2
    numbers = [item.value for item in groups[0].get_measurements()]
    assert numbers == [0.27, 7.9, 6.0, 3071.0, 0.0, 0.875]  # 3 x 6 x 9 voxels of 3.0 x 0.8 x 0.7 mm
    for group, finding in zip(groups, part.findings, strict=True):
        shown = [(item.value, item.unit.value) for item in group.get_measurements()][:-1]
        assert shown == [(measurement.rounded, measurement.unit.value) for measurement in finding.measurements]
    assert groups[1].finding_sites[0].laterality.meaning == "Left"
    assert groups[0].finding_sites[0].value.meaning == "Liver" and groups[0].finding_sites[0].laterality is None


def test_mean_is_in_hounsfield_units_for_ct_only(box_series, context, read, shared_data) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000)
    text = str(build_report([part], [build_segmentation(part, context())], context()))
    assert "Mean Attenuation Coefficient" in text and "3071" in text
    mr = only_part(sorted((shared_data / "dicom/dcm_qa_decubitus/In/HFP/2_t1_fl2d_sag").iterdir()))
    part = read(mr, mr.values > 1000)
    text = str(build_report([part], [build_segmentation(part, context())], context()))
    assert "Attenuation" not in text and "Hounsfield" not in text and "Volume" in text


def numbers_of(report) -> dict[str, Any]:
    """The content items of measurement groups that hold numbers, by the meaning of their names."""
    (measured,) = [
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    items = [item for item in measured.iterall() if item.keyword == "ContentSequence"]
    found = [item for sequence in items for item in sequence.value if item.ValueType == "NUM"]
    return {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in found}


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("profile", Profile)
def test_what_was_cut_off_is_at_least_in_words_and_in_code(box_series, context, read, tmp_path, profile) -> None:
    volume = only_part(box_series().files)
    cut, whole = np.zeros(volume.values.shape, dtype=bool), np.zeros(volume.values.shape, dtype=bool)
    cut[:3, 3:7, 3:7] = whole[2:4, 3:7, 3:7] = True
    for mask in (cut, whole):
        part = read(volume, mask)
        save(
            build_report([part], [build_segmentation(part, context(profile))], context(profile)),
            tmp_path / "sr.dcm",
            identity_of([part]),
        )
        assert errors_of_dciodvfy(tmp_path / "sr.dcm") == []
        assert ("Volume, at least" in dsrdump(tmp_path / "sr.dcm")) == (mask is cut)
        (group,) = hd.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
        assert [item.name.value for item in group.get_measurements()] == [
            *("118565006", "103339001", "103340004", "112181", "112183"), codes.CONFIDENCE.value,
        ]  # fmt: skip
        for number in numbers_of(pydicom.dcmread(tmp_path / "sr.dcm")).values():
            name = number.ConceptNameCodeSequence[0]
            bounds = [
                (item.RelationshipType, item.ConceptCodeSequence[0].CodeValue)
                for item in number.get("ContentSequence", [])
                if item.ConceptNameCodeSequence[0].CodeValue == codes.BOUND.value
            ]
            sized = mask is cut and name.CodeValue in ("118565006", "103339001", "103340004")
            assert bounds == ([("HAS CONCEPT MOD", codes.AT_LEAST.value)] if sized else [])
            assert name.CodeMeaning.endswith(", at least") == sized


def test_axes_lie_on_their_image(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000)
    segmentation = build_segmentation(part, context())
    report = hd.sr.Comprehensive3DSR.from_dataset(build_report([part], [segmentation], context()))
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    drawn = [item for item in group.get_measurements() if item.referenced_coordinates]
    assert [item.name.meaning for item in drawn] == ["Long Axis", "Short Axis"]
    for item in drawn:
        (line,) = item.referenced_coordinates
        assert line.graphic_type is hd.sr.GraphicTypeValues.POLYLINE and line.RelationshipType == "INFERRED FROM"
        (image,) = line.ContentSequence
        assert image.RelationshipType == "SELECTED FROM"
        assert image.referenced_sop_instance_uid == volume.slices[2].header.SOPInstanceUID
        length = np.linalg.norm((line.value[1] - line.value[0]) * (0.7, 0.8))
        assert length == pytest.approx(item.value, abs=0.05)
    shown = hd.sr.Comprehensive3DSR.from_dataset(
        build_report([part], [segmentation], context(Profile.OHIF))  # each would be a line without sense there
    )
    (group,) = shown.content.get_volumetric_roi_measurement_groups()
    assert not any(item.referenced_coordinates for item in group.get_measurements())


def test_a_line_in_a_multi_frame_image_names_its_frame(shared_data, context, read) -> None:
    volume = only_part([shared_data / "dicom/dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm"])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[1, 3:9, 4:8] = True
    part = read(volume, mask)
    report = build_report([part], [build_segmentation(part, context())], context())
    (line,) = numbers_of(report)["Long Axis"].ContentSequence
    reference = line.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedFrameNumber == volume.slices[1].frame_number


def test_pieces_are_counted_where_there_are_several(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    mask = volume.values > 3000
    one = read(volume, mask)
    assert codes.PARTS.meaning not in numbers_of(build_report([one], [build_segmentation(one, context())], context()))
    mask[7, 20, 5] = True
    two = read(volume, mask)
    number = numbers_of(build_report([two], [build_segmentation(two, context())], context()))[codes.PARTS.meaning]
    assert number.MeasuredValueSequence[0].NumericValue == 2


@pytest.mark.parametrize("profile", Profile)
def test_a_low_confidence_is_in_every_name_and_leaves_no_number_but_itself(box_series, context, read, profile) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000, labels=("kidney left",))
    finding = dataclasses.replace(part.findings[0], confidence=0.3, measurements=(), low_confidence=True)
    part = dataclasses.replace(part, answers=(dataclasses.replace(part.answers[0], findings=(finding,)),))
    segmentation = build_segmentation(part, context(profile))
    (segment,) = segmentation.SegmentSequence
    assert (segment.SegmentLabel, segment.TrackingID) == ("kidney left, low confidence", "kidney left 1")
    report = build_report([part], [segmentation], context(profile))
    assert list(numbers_of(report)) == ["Confidence of mask"]
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    name = "Left kidney" if profile is Profile.OHIF else "Kidney"
    assert group.finding_type.meaning == f"{name}, low confidence" and group.finding_type.value == "64033007"
    assert group.finding_sites[0].value.meaning == f"{name}, low confidence"
    evaluations = [item.value.value for item in group.get_qualitative_evaluations()]
    assert codes.SEEN_LOW_CONFIDENCE.value in evaluations and codes.SEEN.value not in evaluations
    with pytest.raises(ValueError, match="low confidence"):
        dataclasses.replace(finding, measurements=measure(volume, finding.mask))


def test_not_seen_is_coded(box_series, context) -> None:
    volume = only_part(box_series().files)
    part = ReadPart(0, volume, (ReadAnswer("Is there a spleen?", "No spleen is seen.", (), (LABELS["spleen"],)),))
    report = build_report([part], [None], context())
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert len(groups) == 1 and groups[0].finding_type.meaning == "Spleen"
    assert NOT_SEEN.value in [item.value.value for item in groups[0].get_qualitative_evaluations()]


@pytest.mark.service("dcmtk")
def test_not_assessed_has_its_own_code_and_its_reason(box_series, context, tmp_path) -> None:
    volume = only_part(box_series().files)
    missing = (
        NotAssessed("pneumothorax", LABELS["pneumothorax"], "label-not-learned", "this model has not learned it"),
        NotAssessed("brain tumour", None, "label-not-learned", "this model has not learned brain tumour"),
    )
    part = ReadPart(0, volume, (ReadAnswer("What is there?", "Nobody knows.", (), (), not_assessed=missing),))
    report = build_report([part], [None], context(Profile.AIR))
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert group.finding_type.meaning == "Pneumothorax"
    assert codes.NOT_ASSESSED.value in [item.value.value for item in group.get_qualitative_evaluations()]
    texts = [item.TextValue for item in report.ContentSequence if item.ValueType == "TEXT"]
    assert texts[-2:] == [one.told for one in missing] and texts[-1].startswith("brain tumour: this model has")
    assert "not-seen" not in str(report) and "nothing-marked" not in str(report)
    for profile in Profile:
        made = context(profile)
        save(build_report([part], [None], made), tmp_path / "sr.dcm", identity_of([part]))
        assert errors_of_dciodvfy(tmp_path / "sr.dcm") == [], profile
    container = str(build_report([part], [None], context(Profile.OHIF)))
    assert "Not assessed" in container and "not-seen" not in container


def test_what_has_no_code_and_was_not_assessed_is_not_said_to_have_got_no_mark(box_series, context) -> None:
    missing = (NotAssessed("brain tumour", None, "label-not-learned", "this model has not learned brain tumour"),)
    answers = (ReadAnswer("Is there a brain tumour?", "Not assessed.", (), (), not_assessed=missing),)
    part = ReadPart(0, only_part(box_series().files), answers)
    for profile in (Profile.AIR, Profile.OHIF):
        report = str(build_report([part], [None], context(profile)))
        assert "'not-assessed'" in report and "nothing-marked" not in report


def test_a_question_that_goes_on_leaves_no_trace_of_nothing(box_series, context, read) -> None:
    part = read(only_part(box_series().files))
    more = ReadAnswer("How large is it?", "It is large.", (), (), goes_on=True)
    part = dataclasses.replace(part, answers=(*part.answers, more))
    report = str(build_report([part], [None], context()))
    assert "How large is it?" in report and "nothing-marked" not in report


def test_a_question_without_a_coded_target_leaves_a_trace(box_series, context) -> None:
    volume = only_part(box_series().files)
    report = build_report([ReadPart(0, volume, (ReadAnswer("What is this?", "An image.", (), ()),))], [None], context())
    assert "Nothing marked" in str(report) and "not seen" not in str(report)


@pytest.mark.slow
def test_same_job_same_bytes(box_series, context, read, tmp_path) -> None:
    files = box_series().files
    written = []
    for turn in range(2):
        volume = only_part(files[:: -1 if turn else 1])
        part = read(volume, volume.values > 3000)
        report = build_report([part], [build_segmentation(part, context())], context())
        save(report, tmp_path / f"{turn}.dcm", identity_of([part]))
        written.append((tmp_path / f"{turn}.dcm").read_bytes())
    assert written[0] == written[1]


@pytest.mark.slow
def test_a_partial_report_and_its_predecessor_say_so(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    first = build_report([read(volume)], [None], context(object_key="first"))
    made = context(object_key="second", complete=False, predecessors=[(first.SOPClassUID, first.SOPInstanceUID)])
    second = build_report([read(volume)], [None], made)
    assert second.CompletionFlag == "PARTIAL" and second.SOPInstanceUID != first.SOPInstanceUID
    series = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


RADIOGRAPHS = {
    "x-ray": "highdicom/data/test_files/dx_image.dcm",
    "computed radiograph": "pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CR1/6154",
}


def two_parts(shape: tuple[int, ...]) -> np.ndarray:
    """A big part with a notch and a small one."""
    mask = np.zeros(shape, dtype=bool)
    mask[0, 2:9, 3:8] = True
    mask[0, 2:4, 3:5] = False
    mask[0, 11:14, 10:13] = True
    return mask


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("file", RADIOGRAPHS.values(), ids=RADIOGRAPHS)
def test_a_radiograph_gets_contours_beside_its_segment(shared_data, context, read, tmp_path, file, profile) -> None:
    volume = only_part([shared_data / "dicom" / file])
    mask = two_parts(volume.values.shape)
    part = read(volume, mask, mask & (np.indices(mask.shape)[1] < 9))
    segmentation = build_segmentation(part, context(profile))
    save(build_report([part], [segmentation], context(profile)), tmp_path / "sr.dcm", identity_of([part]))
    stored = hd.sr.srread(tmp_path / "sr.dcm")
    groups = stored.content.get_planar_roi_measurement_groups()
    regions = [group for group in groups if group.roi is not None]
    frames = [group for group in groups if group.roi is None]
    assert [group.tracking_uid for group in frames] == [item.TrackingUID for item in segmentation.SegmentSequence]
    for number, group in enumerate(frames, start=1):
        (reference,) = group.referenced_segmentation_frame[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert reference.ReferencedFrameNumber == number and "ReferencedSegmentNumber" not in reference
    # The first contour is the segment's, further parts have UIDs of their own.
    assert [group.tracking_uid for group in regions[::2]] == [group.tracking_uid for group in frames]
    assert len({group.tracking_uid for group in regions}) == len(regions) == 3
    assert regions[1].tracking_identifier == "liver 1 part 2"
    drawn = np.zeros(mask.shape[1:], dtype=bool)
    for region in regions[:2]:
        assert region.roi.graphic_type is hd.sr.GraphicTypeValues.POLYLINE
        (source,) = region.roi.ContentSequence[0].ReferencedSOPSequence
        assert source.ReferencedSOPInstanceUID == volume.sources[0].SOPInstanceUID
        drawn |= enclosed(region.roi.value, drawn.shape)
    np.testing.assert_array_equal(drawn, mask[0])
    (area,) = frames[0].get_measurements(name=hd.sr.CodedConcept("42798000", "SCT", "Area"))
    rows, columns = volume.pixel_spacing_mm
    assert area.value == pytest.approx(int(mask.sum()) * rows * columns, rel=1e-2)
    assert area.value == part.findings[0].measurements[0].rounded
    assert area.method.value == "spacing-detector"


def enclosed(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres a closed polyline goes around, by PIL rather than by the code that drew it."""
    scale = 4  # the centre of a pixel is then a pixel of its own
    picture = Image.new("1", (shape[1] * scale, shape[0] * scale))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in (points * scale).tolist()], fill=1)
    return np.asarray(picture)[scale // 2 :: scale, scale // 2 :: scale]


def test_specks_beyond_the_outlined_parts_are_told(shared_data, context, read) -> None:
    volume = only_part([shared_data / "dicom" / RADIOGRAPHS["x-ray"]])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:60:2, 10] = True
    part = read(volume, mask)
    report = build_report([part], [build_segmentation(part, context())], context())
    comments = [item.value for item in report.iterall() if item.keyword == "TextValue" and "parts" in item.value]
    assert comments == ["liver 1: the 20 largest of 25 parts are outlined; the segmentation holds all."]


def test_ohif_draws_a_radiographs_report_only_where_every_group_has_coordinates(shared_data, context, read) -> None:
    volume = only_part([shared_data / "dicom" / RADIOGRAPHS["x-ray"]])
    part = read(volume, two_parts(volume.values.shape))
    made = context(Profile.OHIF)
    drawn = build_report([part], [None], made)
    assert drawn.ConceptNameCodeSequence[0].CodeValue == "126000"
    content = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in drawn.ContentSequence}
    uids: dict[str, set[str]] = {}
    for group in content["Imaging Measurements"].ContentSequence:
        (uid,) = [item.UID for item in group.ContentSequence if item.ValueType == "UIDREF"]
        uids.setdefault(uid, set()).update(item.ValueType for item in group.ContentSequence)
    assert all("SCOORD" in kinds for kinds in uids.values())
    (unseen,) = content["Qualitative Evaluations"].ContentSequence
    assert unseen.ConceptNameCodeSequence[0].CodeValue == NOT_SEEN.value
    assert unseen.ConceptCodeSequence[0].CodeMeaning == "Spleen"

    nothing = build_report([read(volume)], [None], made)
    (title,) = nothing.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == (
        "ai-result-report", "99MEDSEG", "AI result report",
    )  # fmt: skip
    assert "Looked for and not seen" in str(nothing)


def test_a_reader_of_text_meets_question_and_answer_first(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000)
    for profile in Profile:
        made = context(profile)
        report = build_report([part], [build_segmentation(part, made)], made)
        contained = [item for item in report.ContentSequence if item.RelationshipType == "CONTAINS"]
        if profile is Profile.OHIF:  # which shows who observed it as lines too
            assert list(report.ContentSequence[:3]) == contained[:3]
        assert [item.ConceptNameCodeSequence[0].CodeMeaning for item in contained[:3]] == [
            "Terms of use", "Clinical question", "Answer",
        ]  # fmt: skip
        groups = contained[-1].ContentSequence
        assert {report.ContinuityOfContent, *(group.ContinuityOfContent for group in groups)} == {"SEPARATE"}
        images = [item for item in report.iterall() if item.keyword == "ValueType" and item.value == "IMAGE"]
        # OHIF writes "IMAGE is not supported" for each: the reference to the segment alone is left there.
        assert len(images) == (1 if profile is Profile.OHIF else 1 + 3 + 9 + 2)


def test_ohif_gets_the_title_that_it_opens(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    titles = {
        profile: build_report([read(volume)], [None], context(profile)).ConceptNameCodeSequence[0].CodeValue
        for profile in Profile
    }
    assert titles == {profile: "ai-result-report" if profile is Profile.OHIF else "126000" for profile in Profile}


def test_an_empty_mask_does_no_harm(box_series, context, read, tmp_path) -> None:
    volume = only_part(box_series().files)
    part = read(volume, np.zeros(volume.values.shape, dtype=bool))
    assert build_segmentation(part, context()) is not None
