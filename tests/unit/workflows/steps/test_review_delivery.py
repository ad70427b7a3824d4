"""A review's way out: once, to every archive in its own form, whatever fails between, and what comes after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.network.archive import ArchiveAddress
from dicom_node.network.storage_scu import Peer
from dicom_node.results.mask_file import read_masks, write_masks
from dicom_node.results.profiles import Profile, ResultKind, Wishes
from workflows.commands.reporting import explain_study, status_of_all
from workflows.commands.telling import explained
from workflows.settings import Supersede
from workflows.state.records import Destination
from workflows.state.reviewing import ReviewState
from workflows.state.states import DeliveryState, JobState
from workflows.state.tables import JobRow
from workflows.steps import review as review_step
from workflows.steps.review import write_review
from workflows.steps.route import Route

from .conftest import LARGE, SMALL
from .reviewing import (
    ACCEPT,
    NOT_THERE,
    OUTLINE,
    WRITER,
    correct,
    deliver,
    made,
    reviewed,
    sign,
    to_archives,
    verdict,
    write,
)  # fmt: skip
from .test_retract import use
from .test_review import BOTH, DRAWN, box

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

Study = Callable[..., list[Path]]


@pytest.fixture
def answered(steps: Steps, marking: Marking, study: Study) -> Callable[..., tuple[str, str]]:
    """`answered(destinations)`: a study that is read and not sent yet: its UID and the key of its job."""

    def read(*destinations: Destination) -> tuple[str, str]:
        if destinations:
            steps.planner = replace(steps.planner, destinations=destinations)
        marking.marked = BOTH
        steps.receive(*study(1, "20260101"))
        study_uid = steps.to_plan()
        (key,) = steps.keys(study_uid)
        steps.predict(key)
        return study_uid, key

    return read


Answered = Callable[..., tuple[str, str]]


def states(steps: Steps, study_uid: str) -> list[tuple[str, str, str]]:
    """Kind, archive and state of each delivery, those of the model's objects first."""
    (known,) = status_of_all(steps.repository, steps.folder)
    results = known["jobs"][0]["results"]
    return [(one["kind"], one["archive"], one["state"]) for one in results if one["kind"] != "REJECTION"]


def attention(steps: Steps, study_uid: str) -> str:
    study = steps.repository.study(study_uid)
    assert study is not None
    return study.attention


def accepted(key: str) -> list[Any]:
    return [verdict(key, 0, ACCEPT), verdict(key, 1, ACCEPT)]


def corrected(steps: Steps, study_uid: str, key: str) -> list[Any]:
    return [verdict(key, 0, OUTLINE, correction=correct(steps, study_uid, key, box(DRAWN))), verdict(key, 1, ACCEPT)]


# --- Once -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [False, True])
def test_the_same_review_written_twice_has_the_same_bytes_and_goes_out_once(
    steps: Steps, archive: Archive, answered: Answered, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_uid, key = answered()
    deliver(steps)
    number = sign(steps, study_uid, corrected(steps, study_uid, key) if changed else accepted(key))

    def killed(_point: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(review_step, "fault_point", killed)  # its objects are saved, no row says so
    with pytest.raises(KeyboardInterrupt):
        write(steps, study_uid)
    assert steps.repository.next_review() is None  # its lease is held
    first = {path.name: path.read_bytes() for path in steps.folder.results.rglob("*.dcm") if _fresh(steps, path)}
    assert first
    monkeypatch.undo()
    steps.tick(WRITER.lease_s)
    write(steps, study_uid)
    second = {steps.folder.absolute(one.path) for one in steps.repository.review_objects(study_uid)}
    assert {path.name: path.read_bytes() for path in second} == first
    sent = len(archive.objects)
    deliver(steps)
    assert len(archive.objects) == sent + len(first) + changed  # and the note
    write_review(study_uid, number, steps.repository, steps.folder, WRITER, steps.waker)
    deliver(steps)
    assert len(archive.objects) == sent + len(first) + changed


def _fresh(steps: Steps, path: Path) -> bool:
    saved = {
        one.path for key in [job.job_key for job in steps.jobs("1.2.3.1")] for one in steps.repository.objects(key)
    }
    return steps.folder.relative(path) not in saved


def test_an_error_that_nobody_foresaw_is_tried_once_more_and_then_needs_a_person(
    steps: Steps, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_uid, key = answered()
    sign(steps, study_uid, corrected(steps, study_uid, key))

    def broken(*_: object) -> None:
        raise RuntimeError("Box^Anna")

    monkeypatch.setattr(review_step, "load_series", broken)
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.SIGNED
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.FAILED
    assert "a signed review is not written" in attention(steps, study_uid)
    assert "Anna" not in attention(steps, study_uid)
    monkeypatch.undo()
    outcome = steps.repository.requeue(study_uid, "eva")
    assert outcome.ready and "1 review" in outcome.outcome
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.WRITTEN and attention(steps, study_uid) == ""


def test_a_review_cannot_be_written_before_its_undo_time_is_over(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    number = sign(steps, study_uid, accepted(key))
    write_review(study_uid, number, steps.repository, steps.folder, WRITER, steps.waker)
    assert reviewed(steps, study_uid) is ReviewState.SIGNED


# --- Corrections and images that cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["damaged", "gone", "grid", "empty"])
def test_a_correction_that_cannot_be_used_says_so(steps: Steps, answered: Answered, how: str) -> None:
    study_uid, key = answered()
    mask = {"grid": box(SMALL, (4, 24, 24)), "empty": box((slice(0), slice(0), slice(0)))}.get(how, box(DRAWN))
    digest = correct(steps, study_uid, key, mask)
    path = steps.folder.root / "reviews" / study_uid / f"{digest}.npz"
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    if how == "gone":
        path.unlink()
    sign(steps, study_uid, [verdict(key, 0, OUTLINE, correction=digest), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    review = steps.repository.review(study_uid)
    assert review is not None and review.state is ReviewState.FAILED
    assert "draw liver again" in review.reason
    assert steps.repository.review_objects(study_uid) == []


def test_what_is_right_is_verified_without_its_images(steps: Steps, archive: Archive, answered: Answered) -> None:
    study_uid, key = answered()
    for path in steps.stored():
        steps.folder.absolute(path).unlink()
    sign(steps, study_uid, accepted(key))
    write(steps, study_uid)
    deliver(steps)
    assert [one.get("VerificationFlag") for one in archive.objects] == [None, "UNVERIFIED", "VERIFIED"]


def test_a_correction_whose_images_are_gone_waits_for_them_and_then_says_so(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    for path in steps.stored():
        steps.folder.absolute(path).unlink()
    sign(steps, study_uid, corrected(steps, study_uid, key))
    for _ in range(5):
        assert reviewed(steps, study_uid) is ReviewState.SIGNED
        write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.FAILED
    assert f"requeue --study {study_uid}" in attention(steps, study_uid)


def test_masks_that_were_swapped_on_the_disk_are_not_written(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    for path in steps.folder.results.rglob("masks.npz"):
        kept = read_masks(path)
        other = [np.roll(mask, 1, axis=2) for mask in kept]  # as many voxels, elsewhere
        write_masks(path, other, other[0].shape)  # type: ignore[arg-type]
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NOT_THERE)])
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.FAILED
    assert "not those of the answer" in attention(steps, study_uid)
    assert steps.repository.review_objects(study_uid) == []


def test_a_correction_of_an_earlier_reading_of_the_same_images_is_written(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    before = steps.repository.job(key)
    with steps.repository._writing() as session:
        row = session.get_one(JobRow, key)
        values = {column.name: getattr(row, column.name) for column in JobRow.__table__.columns}
        earlier = {**values, "job_key": "earlier", "state": JobState.SUPERSEDED, "answers": []}
        session.add(JobRow(**earlier))
        session.add(JobRow(**{**earlier, "job_key": "other", "inputs": ["other images"]}))
    digest = correct(steps, study_uid, "earlier", box(DRAWN))
    sign(steps, study_uid, [verdict(key, 0, OUTLINE, correction=digest), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.WRITTEN
    other = correct(steps, study_uid, "other", box(LARGE))
    sign(steps, study_uid, [verdict(key, 0, OUTLINE, correction=other), verdict(key, 1, ACCEPT)])
    write(steps, study_uid)
    assert reviewed(steps, study_uid) is ReviewState.FAILED, "the same series, and other images"
    assert before.inputs != ("other images",)


def test_masks_of_an_earlier_version_come_from_its_segmentation(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered()
    for path in steps.folder.results.rglob("masks*.npz"):
        path.unlink()
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NOT_THERE)])
    write(steps, study_uid)
    (path,) = made(steps, study_uid, "SEG")
    assert [one.SegmentLabel for one in dcmread(path).SegmentSequence] == ["liver"]


# --- Archives ---------------------------------------------------------------------------------------------------------


def test_what_an_archive_that_is_down_was_to_get_gives_way_to_the_reviewed(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered()
    there = steps.sender
    to_archives(steps, pacs=Route(ArchiveAddress(Peer("PACS", "127.0.0.1", 9)), "MEDSEG"))
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    deliver(steps)
    assert archive.objects == [] and reviewed(steps, study_uid) is ReviewState.WRITTEN
    steps.sender = there
    deliver(steps)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR"] and archive.objects[1].VerificationFlag == "VERIFIED"
    assert steps.state(study_uid)[0] == "DELIVERED"
    assert states(steps, study_uid)[:2] == [("SEG", "pacs", "WITHHELD"), ("SR", "pacs", "WITHHELD")]


def test_what_is_right_follows_the_objects_that_it_is_of(steps: Steps, archive: Archive, answered: Answered) -> None:
    study_uid, key = answered()
    sign(steps, study_uid, accepted(key))
    write(steps, study_uid)
    deliver(steps)
    assert [one.get("VerificationFlag") for one in archive.objects] == [None, "UNVERIFIED", "VERIFIED"]


def test_each_archive_gets_the_reviewed_set_in_its_own_form(steps: Steps, archive: Archive, answered: Answered) -> None:
    also = Wishes(also=(ResultKind.DOCUMENT, ResultKind.KEY_OBJECTS))
    study_uid, key = answered(
        Destination("pacs", Profile.AIR, also),
        Destination("plain", Profile.PLAIN_PACS),
        Destination("ohif", Profile.OHIF),
    )
    to_archives(steps, plain=steps.way_to(archive.peer), ohif=steps.way_to(archive.peer))
    deliver(steps, "pacs", "plain", "ohif")
    before = sorted(archive.kinds())
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    deliver(steps, "pacs", "plain", "ohif")
    after = sorted(archive.kinds()[len(before) :])
    assert after == sorted([*before, "KO", "KO", "KO"])  # a note for each archive
    new = {(state, place) for kind, place, state in states(steps, study_uid)}
    assert new == {("DELIVERED", "pacs"), ("DELIVERED", "plain"), ("DELIVERED", "ohif")}


def test_captures_and_documents_of_what_is_right_say_that_it_is_verified(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered(
        Destination("pacs", Profile.AIR, Wishes(also=(ResultKind.DOCUMENT, ResultKind.KEY_OBJECTS))),
        Destination("plain", Profile.PLAIN_PACS),
    )
    to_archives(steps, plain=steps.way_to(archive.peer))
    deliver(steps, "pacs", "plain")
    sign(steps, study_uid, accepted(key))
    write(steps, study_uid)
    kinds = [one.kind for one in steps.repository.review_objects(study_uid)]
    assert sorted(kinds, key=str) == sorted(
        [ResultKind.REPORT, ResultKind.KEY_OBJECTS, ResultKind.DOCUMENT, ResultKind.CAPTURE], key=str
    )
    (path,) = made(steps, study_uid, "KO")
    assert "Verified by a person." in str(dcmread(path).ContentSequence[0].TextValue)
    deliver(steps, "pacs", "plain")
    taken_back = {one.result.kind for one in _retracted(steps, study_uid)}
    assert taken_back == {ResultKind.KEY_OBJECTS, ResultKind.DOCUMENT, ResultKind.CAPTURE}


def _retracted(steps: Steps, study_uid: str) -> list[Any]:
    details = steps.repository.study_details(study_uid)
    assert details is not None
    return [one for job in details.view.jobs for one in job.objects if one.retractions]


@pytest.mark.parametrize("supersede", list(Supersede))
def test_what_a_review_replaces_goes_as_the_archive_has_it(
    steps: Steps, archive: Archive, answered: Answered, supersede: Supersede
) -> None:
    route = use(steps, supersede)
    study_uid, key = answered()
    deliver(steps)
    old = [one.sop_instance_uid for one in steps.repository.objects(key)]
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NOT_THERE)])
    write(steps, study_uid)
    for job_key, name in [(key, "pacs")]:
        steps.publish(job_key, name)
        assert route.deleted == []
    if supersede is Supersede.DELETE:
        deliver(steps)
        assert route.deleted == []  # the archive has not said yet that it keeps the new ones
        new = [one.sop_instance_uid for one in steps.repository.review_objects(study_uid)]
        steps.repository.record_seen(key, "pacs", new)
    deliver(steps)
    assert (archive.kinds()[4:] == ["KO"]) is (supersede is Supersede.KOS)
    assert sorted(route.deleted) == (sorted(old) if supersede is Supersede.DELETE else [])
    assert ("a wrong result stays in pacs" in attention(steps, study_uid)) is (supersede is Supersede.NONE)


def test_what_an_archive_refuses_of_a_review_needs_a_person_and_old_results_stay(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    archive.refused = {"1.2.840.10008.5.1.4.1.1.66.4"}
    deliver(steps)
    assert "pacs does not have the SEG of a review" in attention(steps, study_uid)
    assert _retracted(steps, study_uid) == [] and steps.state(study_uid)[0] == "DELIVERED"
    archive.refused = set()
    assert steps.repository.requeue(study_uid, "eva").ready
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO"] and attention(steps, study_uid) == ""


# --- After it ---------------------------------------------------------------------------------------------------------


def test_a_reread_takes_nothing_back_that_was_reviewed_and_a_person_is_told(
    steps: Steps, archive: Archive, answered: Answered, marking: Marking
) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, accepted(key))
    write(steps, study_uid)
    deliver(steps)
    verified = archive.objects[2].SOPInstanceUID
    steps.planner = replace(steps.planner, software="0.2")
    steps.repository.reopen(study_uid, "asked for")
    steps.plan(study_uid)
    (later,) = steps.keys(study_uid)
    assert later != key and "superseded after review" in attention(steps, study_uid)
    steps.predict(later)
    deliver(steps)
    taken_back = [one for one in archive.objects if one.Modality == "KO"]
    named = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for note in taken_back
             for item in note.ContentSequence if "ReferencedSOPSequence" in item}  # fmt: skip
    assert named == {archive.objects[1].SOPInstanceUID}  # the report that the verified one had replaced
    predecessor = archive.objects[4].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert predecessor.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == verified


def test_a_new_plan_of_the_same_sends_nothing_again_that_a_review_has_replaced(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    deliver(steps)
    steps.repository.reopen(study_uid, "asked for")
    steps.plan(study_uid)
    assert steps.keys(study_uid) == [key] and steps.state(study_uid)[0] == "DELIVERED"
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO"]
    steps.planner = replace(
        steps.planner, destinations=(*steps.planner.destinations, Destination("second", Profile.AIR))
    )
    to_archives(steps, second=steps.way_to(archive.peer))
    steps.repository.reopen(study_uid, "asked for")
    steps.plan(study_uid)
    deliver(steps, "pacs", "second")
    assert [one.get("VerificationFlag") for one in archive.objects[5:]] == [None, "VERIFIED"]


def test_results_that_were_replaced_before_they_were_written_are_not_verified(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    sign(steps, study_uid, accepted(key))
    steps.planner = replace(steps.planner, software="0.2")
    steps.repository.reopen(study_uid, "asked for")
    steps.plan(study_uid)
    write(steps, study_uid)
    assert steps.repository.review(study_uid) is None
    assert "superseded after review" in attention(steps, study_uid)


def test_a_second_review_replaces_what_the_first_one_made(steps: Steps, archive: Archive, answered: Answered) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    deliver(steps)
    sign(steps, study_uid, accepted(key), name="Beck^Jo")
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO", "SEG", "SR", "KO"]
    segmentation, report = archive.objects[5:7]
    assert [one.SegmentAlgorithmType for one in segmentation.SegmentSequence] == ["AUTOMATIC", "AUTOMATIC"]
    assert report.VerifyingObserverSequence[0].VerifyingObserverName == "Beck^Jo"


def test_a_damaged_object_of_a_review_is_made_again(steps: Steps, archive: Archive, answered: Answered) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    (path,) = made(steps, study_uid, "SEG")
    path.write_bytes(b"damaged")
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR"]
    write(steps, study_uid)
    deliver(steps)
    assert archive.kinds() == ["SEG", "SR", "SEG", "SR", "KO"]


def test_resend_sends_what_a_review_made_and_not_what_it_replaced(
    steps: Steps, archive: Archive, answered: Answered
) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, corrected(steps, study_uid, key))
    write(steps, study_uid)
    deliver(steps)
    steps.repository.resend(study_uid, "eva")
    deliver(steps)
    sent = [one.SOPInstanceUID for one in archive.objects]
    assert sent[5:] == sent[2:4] and steps.state(study_uid)[0] == "DELIVERED"


def test_explain_and_status_tell_of_the_review(steps: Steps, answered: Answered) -> None:
    study_uid, key = answered()
    deliver(steps)
    sign(steps, study_uid, [verdict(key, 0, ACCEPT), verdict(key, 1, NOT_THERE)])
    write(steps, study_uid)
    deliver(steps)
    known = explain_study(steps.repository, steps.folder, study_uid)
    assert known is not None
    (review,) = known["reviews"]
    assert (review["state"], review["reviewer"], review["verdicts"]) == (
        "WRITTEN",
        "eva",
        {"accept": 1, "not-there": 1},
    )
    told = "\n".join(explained(known))
    assert "review 1 by Adler^Eva: 1 accept, 1 not-there; written at" in told
    assert "by review 1" in told and "replaced by review 1" in told
    assert DeliveryState.DELIVERED.value in told
