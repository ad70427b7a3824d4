"""Writing a review: what each verdict makes of the results, once, in one consistent set, and what it takes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.headers.rejection import rejection_note
from dicom_node.volumes.load import load_series
from workflows.state.reviewing import Missed, ReviewState, WrongWords

from ...dicom_node.results.checkers import dsrdump, errors_of_dciodvfy
from .conftest import LARGE, SMALL
from .reviewing import (
    ACCEPT,
    NAME,
    NOT_THERE,
    OUTLINE,
    REVIEWER,
    correct,
    deliver,
    made,
    reviewed,
    sign,
    verdict,
    write,
)  # fmt: skip

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

Study = Callable[..., list[Path]]
BOTH = {"liver": (0.9, SMALL), "spleen": (0.8, np.s_[1:3, 10:14, 10:14])}
DRAWN = np.s_[1:4, 5:9, 4:9]


def box(place: tuple[slice, ...], shape: tuple[int, int, int] = (4, 24, 32)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return mask


@pytest.fixture
def read(steps: Steps, marking: Marking, study: Study) -> tuple[str, str]:
    """A study in which liver and spleen are seen, read and delivered: its UID and the key of its job."""
    marking.marked = BOTH
    study_uid = steps.through(*study(1, "20260101"))
    (key,) = steps.keys(study_uid)
    return study_uid, key


def texts(report: Dataset) -> str:
    return "\n".join(str(item.TextValue) for item in report.ContentSequence if item.ValueType == "TEXT")


def groups(report: Dataset) -> list[Dataset]:
    container = report.ContentSequence[-1]
    return [item for item in container.ContentSequence if item.ValueType == "CONTAINER"]


def tracked(report: Dataset) -> list[str]:
    """Tracking UIDs of the groups that have a segment."""
    found = []
    for group in groups(report):
        items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
        if "121191" in items:
            found.append(items["112040"].UID)
    return found


def masks(segmentation: Dataset) -> dict[str, int]:
    """Marked pixels of each segment, by its label."""
    segmentation.file_meta = FileMetaDataset()  # which what came over the network has not
    segmentation.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pixels = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    labels = {int(one.SegmentNumber): str(one.SegmentLabel) for one in segmentation.SegmentSequence}
    counted = dict.fromkeys(labels.values(), 0)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for frame, group in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        named = group if "SegmentIdentificationSequence" in group else shared
        counted[labels[int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]] += int(frame.sum())
    return counted


def test_what_is_right_gets_a_verified_copy_of_its_report(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, ACCEPT)])
    assert steps.repository.next_review() is None  # it can still be undone
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.WRITTEN
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SR"]
    segmentation, before, after = archive.objects
    assert (before.VerificationFlag, after.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    (observer,) = after.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == (REVIEWER, "Phantom Clinic")
    (predecessor,) = after.PredecessorDocumentsSequence
    named = predecessor.ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert named.SeriesInstanceUID == before.SeriesInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID and after.PatientName == "Box^Anna"
    people = [item for item in after.ContentSequence if item.ValueType == "PNAME"]
    assert [str(item.PersonName) for item in people] == [REVIEWER]
    assert tracked(after) == tracked(before) == [one.TrackingUID for one in segmentation.SegmentSequence]
    verified = 'The model said: "answered" Verified: liver and spleen, as marked.'
    assert texts(after).replace("Phantom Clinic\n", "") == texts(before).replace("answered", verified)
    assert steps.repository.reviewed_answers(study_uid)[key][0].text == verified
    assert steps.to_retract() == [] and steps.state(study_uid)[0] == "DELIVERED"


@pytest.mark.parametrize(
    ("said", "quoted"),
    [("I see the hippocampus.", "I see the hippocampus."), ('The "liver" is big.', "The 'liver' is big.")],
)
def test_the_words_of_the_model_never_stand_as_those_of_a_person(
    steps: Steps, archive: Archive, marking: Marking, study: Study, said: str, quoted: str
) -> None:
    marking.marked, marking.text = {}, said
    study_uid = steps.through(*study(1, "20260101"))
    sign(steps, study_uid, [])
    write(steps, study_uid)
    deliver(steps)
    before, after = archive.objects
    assert said in texts(before).split("\n") and after.VerificationFlag == "VERIFIED"
    told = f'The model said: "{quoted}" Verified: nothing is marked; liver and spleen, looked for and not seen.'
    assert told in texts(after).split("\n")


def test_words_that_are_wrong_stand_in_no_report_and_nothing_that_they_do_not_see(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    marking.marked, marking.text = {"liver": BOTH["liver"]}, "I see a hippocampus, no spleen."
    study_uid = steps.through(*study(1, "20260101"))
    (key,) = steps.keys(study_uid)
    sign(steps, study_uid, [verdict(key, 0, ACCEPT)], words=[WrongWords(key, 0, "another organ")])
    write(steps, study_uid)
    deliver(steps)
    report = archive.objects[3]
    told = "The reviewer has rejected the answer's words (another organ). Verified: liver, as marked."
    assert report.VerificationFlag == "VERIFIED" and told in texts(report).split("\n")
    assert "hippocampus" not in str(report) and len(groups(report)) == 1, "no group says that the spleen is not seen"
    (answer,) = steps.repository.reviewed_answers(study_uid)[key]
    assert (answer.text, answer.not_seen) == (told, ())


def test_words_that_are_wrong_where_nothing_is_marked(
    steps: Steps, archive: Archive, marking: Marking, study: Study
) -> None:
    marking.marked, marking.text = {}, "I have marked the hippocampus."
    study_uid = steps.through(*study(1, "20260101"))
    sign(steps, study_uid, [], words=[WrongWords(steps.keys(study_uid)[0], 0)])
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SR", "SR", "KO"]
    told = "The reviewer has rejected the answer's words. Verified: nothing is marked."
    assert told in texts(archive.objects[1]).split("\n") and "hippocampus" not in str(archive.objects[1])


@pytest.mark.service("programs")
def test_a_verified_report_passes_the_checkers_of_others(steps: Steps, read: tuple[str, str]) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    (path,) = made(steps, study_uid, "SR")
    assert errors_of_dciodvfy(path) == []
    assert "VERIFIED" in dsrdump(path) and REVIEWER in dsrdump(path)


@pytest.mark.service("programs")
def test_a_corrected_set_passes_the_checkers_of_others(steps: Steps, read: tuple[str, str]) -> None:
    study_uid, key = read
    digest = correct(steps, study_uid, key, box(DRAWN))
    missed = [
        Missed(key, 0, "kidney left", 1, 5.0, 20.0, "seen on the edge", correct(steps, study_uid, key, box(LARGE))),
        Missed(key, 0, "gallbladder", 2, 7.5, 3.25),
    ]
    sign(steps, study_uid, [verdict(key, 0, OUTLINE, correction=digest), verdict(key, 1, NOT_THERE)], missed)
    write(steps, study_uid)
    for path in (*made(steps, study_uid, "SEG"), *made(steps, study_uid, "SR")):
        assert errors_of_dciodvfy(path) == []
    assert "gallbladder" in dsrdump(made(steps, study_uid, "SR")[0])


def test_a_corrected_outline_becomes_a_new_segmentation_and_a_report_measured_from_it(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    digest = correct(steps, study_uid, key, box(DRAWN))
    sign(steps, study_uid, [verdict(key, 0, OUTLINE, correction=digest, reason="too small"), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO"]
    old, _, new, report, note = archive.objects
    assert masks(new) == {"liver": box(DRAWN).sum(), "spleen": masks(old)["spleen"]}
    assert [one.TrackingUID for one in new.SegmentSequence] == [one.TrackingUID for one in old.SegmentSequence]
    assert [one.SegmentAlgorithmType for one in new.SegmentSequence] == ["SEMIAUTOMATIC", "AUTOMATIC"]
    assert new.ContentCreatorName == REVIEWER and report.VerificationFlag == "VERIFIED"
    assert tracked(report) == [one.TrackingUID for one in new.SegmentSequence]
    assert "the outline of liver is corrected (too small)" in texts(report)
    assert "Not marked" not in texts(report)
    rejected = rejection_note(note)
    assert rejected is not None
    assert {one.sop_instance_uid for one in rejected.references} == {one.SOPInstanceUID for one in archive.objects[:2]}
    answers = steps.repository.reviewed_answers(study_uid)[key]
    assert answers[0].findings[0].voxels == box(DRAWN).sum()


def test_a_wrong_name_is_written_with_the_right_one(steps: Steps, archive: Archive, read: tuple[str, str]) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NAME, label="kidney left")])
    write(steps, study_uid)
    deliver(steps)
    old, _, new, report, _ = archive.objects
    assert masks(new) == {"liver": masks(old)["liver"], "kidney left": masks(old)["spleen"]}
    assert new.SegmentSequence[1].TrackingUID == old.SegmentSequence[1].TrackingUID
    assert "what was marked as spleen is kidney left" in texts(report)


def test_what_is_not_there_is_left_out_and_not_said_to_be_unseen_by_the_model(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NOT_THERE, reason="bowel")])
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO"]
    new, report = archive.objects[2:4]
    assert list(masks(new)) == ["liver"]
    assert len(groups(report)) == 1
    assert 'The model said: "answered" The reviewer: spleen is not there (bowel).' in texts(report)


def test_an_outline_that_is_wrong_and_not_drawn_anew_is_neither_marked_nor_measured(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, OUTLINE), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    deliver(steps)
    assert list(masks(archive.objects[2])) == ["spleen"]
    assert "liver is there, its outline is wrong and was not drawn anew" in texts(archive.objects[3])


def test_where_nothing_is_there_what_was_sent_is_rejected_and_nothing_else_made(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    sign(steps, study_uid, [verdict(key, 0, NOT_THERE), verdict(key, 1, NOT_THERE)])
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "KO"]
    note = rejection_note(archive.objects[2])
    assert note is not None and note.code.name == "QUALITY"
    assert {one.sop_instance_uid for one in note.references} == {one.SOPInstanceUID for one in archive.objects[:2]}
    assert steps.repository.review_objects(study_uid) == []
    assert steps.repository.reviewed_answers(study_uid)[key][0].findings == ()


def test_what_was_missed_is_drawn_by_a_person_or_pointed_out(
    steps: Steps, archive: Archive, read: tuple[str, str]
) -> None:
    study_uid, key = read
    drawn = Missed(key, 0, "kidney left", 1, 5.0, 20.0, "", correct(steps, study_uid, key, box(LARGE)))
    clicked = Missed(key, 0, "gallbladder", 2, 7.0, 3.0, "stone")
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, ACCEPT)], [drawn, clicked])
    write(steps, study_uid)
    deliver(steps)
    _, _, new, report, _ = archive.objects
    assert masks(new)["kidney left"] == box(LARGE).sum()
    by_hand = new.SegmentSequence[2]
    assert by_hand.SegmentAlgorithmType == "MANUAL" and "SegmentationAlgorithmIdentificationSequence" not in by_hand
    (pointed,) = [item for item in report.ContentSequence if "gallbladder, pointed" in str(item.get("TextValue", ""))]
    (point,) = pointed.ContentSequence
    assert (point.GraphicType, list(point.GraphicData)) == ("POINT", [3.5, 7.5])
    image = point.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert image == f"{study_uid}.1.2"


def test_mixed_verdicts_make_one_set(steps: Steps, archive: Archive, read: tuple[str, str]) -> None:
    study_uid, key = read
    digest = correct(steps, study_uid, key, box(DRAWN))
    missed = [Missed(key, 0, "kidney left", 1, 5.0, 20.0, "", correct(steps, study_uid, key, box(LARGE)))]
    sign(
        steps, study_uid, [verdict(key, 0, NOT_THERE), verdict(key, 1, NAME, label="liver", correction=digest)], missed
    )
    write(steps, study_uid)
    deliver(steps)
    segmentation, report = archive.objects[2:4]
    assert masks(segmentation) == {"liver": box(DRAWN).sum(), "kidney left": box(LARGE).sum()}
    assert tracked(report) == [one.TrackingUID for one in segmentation.SegmentSequence]


def test_an_oblique_series_has_the_voxels_that_were_drawn(
    steps: Steps, marking: Marking, phantom: Callable[..., Path]
) -> None:
    turned = [0.8, 0.6, 0, 0, 0, -1]
    normal = np.cross(turned[:3], turned[3:])
    images = [
        phantom(1, number, ImageOrientationPatient=turned,
                ImagePositionPatient=[round(float(x), 6) for x in 3 * number * normal])
        for number in range(5)
    ]  # fmt: skip
    study_uid = steps.through(*images)
    (job,) = steps.jobs(study_uid)
    series = load_series(images, job.frames)
    drawn = np.zeros(series.parts[0].values.shape[:3], dtype=bool)
    drawn[tuple(np.random.default_rng(6).integers(0, drawn.shape, (60, 3)).T)] = True
    digest = correct(steps, study_uid, job.job_key, drawn)
    sign(steps, study_uid, [verdict(job.job_key, 0, OUTLINE, correction=digest)])
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.WRITTEN  # the gate has compared every voxel in the patient
    (path,) = made(steps, study_uid, "SEG")
    assert masks(dcmread(path)) == {"liver": drawn.sum()}
