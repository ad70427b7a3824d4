"""What goes wrong on the way: archives away, own results back, late slices, series that are no volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pydicom import dcmread

from dicom_node.commissioning.marker import Marker
from dicom_node.network.storage_scu import Peer
from dicom_node.results.profiles import Profile
from inference.errors import InferenceError, RemoteFailed, RemoteRefused
from inference.interface import Answer, Predictor, Progress, Question, SliceStack
from tests.services import Postgres, free_port
from workflows.errors import OtherWeights
from workflows.state.records import Destination

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
DELIVERED = ("DELIVERED", "commissioning: answered and delivered")
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


class Counting:
    """A predictor that counts how often it is asked."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.asked = predictor, 0
        self.description = predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        self.asked += 1
        return self.predictor.answer(stack, questions, progress=progress)


def predicted(steps: Steps, files: list[Path]) -> tuple[str, str]:
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    steps.predict(key)
    return study_uid, key


def test_an_archive_that_is_down_keeps_the_study_delivering_with_a_reason(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    study_uid, key = predicted(steps, marked[0])
    for _ in range(3):
        steps.publish(key, routes={"pacs": steps.way_to(Peer("PACS", "127.0.0.1", free_port()))})
        state, reason = steps.state(study_uid)
        assert state == "DELIVERING" and reason.startswith("PACS@127.0.0.1:")
        steps.wake()
        assert steps.waker.deliveries == [(key, "pacs")], "not before the wait is over"
        steps.tick(300)
        steps.wake()
        assert steps.waker.deliveries.pop() == (key, "pacs")
    steps.publish(key)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR"])


def test_without_an_archive_the_study_waits_and_says_what_to_configure(steps: Steps, marked: Marked) -> None:
    steps.planner = replace(steps.planner, destinations=(Destination("", Profile.AIR),))
    study_uid, key = predicted(steps, marked[0][:3])
    steps.publish(key, "")
    state, reason = steps.state(study_uid)
    assert state == "DELIVERING" and "[[archives]]" in reason
    steps.tick(300)
    steps.publish(key, "", default="pacs")
    assert steps.state(study_uid) == DELIVERED


def test_an_archive_that_is_not_configured_any_more_is_named(steps: Steps, marked: Marked) -> None:
    study_uid, key = predicted(steps, marked[0][:3])
    steps.publish(key, routes={})
    state, reason = steps.state(study_uid)
    assert state == "DELIVERING" and "'pacs' is not configured any more" in reason


def test_a_report_waits_for_its_segmentation(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid, key = predicted(steps, marked[0])
    archive.full.add(SEG)
    for _ in range(2):
        steps.publish(key)
        state, reason = steps.state(study_uid)
        assert state == "DELIVERING" and "PACS answered SEG with status 0xA700" in reason
        assert archive.kinds() == []
        steps.tick(300)
    archive.full.clear()
    steps.publish(key)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR"])


def test_a_segmentation_that_is_refused_for_good_holds_back_the_report_that_references_it(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    study_uid, key = predicted(steps, marked[0])
    archive.refused.add(SEG)
    steps.publish(key)
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and archive.kinds() == []
    assert "SEG to pacs: PACS answered SEG with status 0xC000" in reason
    assert "SR to pacs: not sent: it references an object that PACS did not take" in reason
    assert "the profile 'plain-pacs' needs no SEG: set it for this archive, then `medseg-node reread`" in reason


@pytest.mark.service("postgres")
def test_the_words_of_an_archive_go_to_who_explains_and_into_no_log(
    steps_in: Callable[[str], Steps], postgres: Postgres, archive: Archive, marked: Marked
) -> None:
    steps = steps_in(postgres.fresh_url())
    study_uid, key = predicted(steps, marked[0])
    archive.comment = "wrong patient\x00 Box^Anna\x07"
    with structlog.testing.capture_logs() as logged:
        steps.publish(key)
    _state, reason = steps.state(study_uid)
    assert "PACS answered SEG with status 0xA900: wrong patient Box^Anna; the profile" in reason
    sent = [line for line in logged if line["event"] == "result_sent"]
    assert sent and "0xA900" in sent[0]["reason"] and "Anna" not in str(sent)


def test_each_outcome_is_recorded_as_it_comes(
    steps: Steps, archive: Archive, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_uid, key = predicted(steps, marked[0])
    record = steps.repository.record_delivery
    killed = iter([False, True])

    def killed_after_the_first(*words: Any, **more: Any) -> bool:
        if next(killed):
            raise SystemExit("killed")
        return record(*words, **more)

    monkeypatch.setattr(steps.repository, "record_delivery", killed_after_the_first)
    with pytest.raises(SystemExit):
        steps.publish(key)
    monkeypatch.undo()
    steps.tick(121)
    steps.publish(key, owner="another")
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR", "SR"]), "at least once"
    first, second = (one for one in archive.objects if one.Modality == "SR")
    assert first == second


def test_a_saved_result_that_is_gone_is_made_again(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid, key = predicted(steps, marked[0])
    steps.saved(key)[0].unlink()
    steps.publish(key)
    assert steps.state(study_uid)[0] == "PLANNED" and archive.objects == []
    steps.tick(300)
    steps.predict(key)
    steps.publish(key)
    assert steps.state(study_uid) == DELIVERED


def test_a_second_destination_with_a_profile_of_its_own_costs_no_second_inference(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    both = (Destination("pacs", Profile.AIR), Destination("viewer", Profile.OHIF), Destination("third", Profile.AIR))
    steps.planner = replace(steps.planner, destinations=both)
    steps.predictor = counting = Counting(steps.predictor)
    study_uid, key = predicted(steps, marked[0][:3])
    assert counting.asked == 1
    peers = dict.fromkeys(("pacs", "viewer", "third"), steps.sender.routes["pacs"])
    assert [archive for _, archive in steps.waker.deliveries] == ["pacs", "viewer", "third"]
    for name in peers:
        steps.publish(key, name, routes=peers)
    assert steps.state(study_uid) == DELIVERED
    assert archive.kinds() == ["SEG", "SR"] * 3
    uids = [one.SOPInstanceUID for one in archive.objects if one.Modality == "SR"]
    assert uids[0] == uids[2] != uids[1]
    segments = [one.SegmentSequence[0].TrackingUID for one in archive.objects if one.Modality == "SEG"]
    assert len(set(segments)) == 1, "the same finding, whoever shows it"


def test_our_own_results_that_come_back_are_taken_and_forgotten(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid = steps.through(*marked[0])
    (key,) = steps.keys(study_uid)
    before = steps.stored()
    steps.receive(*steps.saved(key))
    assert steps.stored() == before
    study = steps.repository.study(study_uid)
    assert study is not None and (study.generation, study.state.value) == (1, "DELIVERED")


@pytest.mark.parametrize("change", ["another node's", "ours, whatever its header says by now"])
def test_a_nodes_result_is_known_by_its_header_or_its_uid_and_is_never_placed_in_the_store(
    steps: Steps, marked: Marked, edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    study_uid = steps.through(*marked[0])
    report = steps.saved(steps.keys(study_uid)[0])[1]
    changes = {"SOPInstanceUID": "1.2.77"} if change == "another node's" else {"Manufacturer": "An archive"}
    monkeypatch.setattr(steps.store, "write", lambda _: pytest.fail("it was placed in the store"))
    steps.receive(edited(report, **changes))
    assert steps.state(study_uid) == DELIVERED


def test_a_secondary_capture_is_an_image_unless_a_node_made_it(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "1.2.78"}
    steps.receive(edited(marked[0][0], **capture, Manufacturer="MedSeg Node"))
    assert steps.held() == []
    steps.receive(edited(marked[0][0], **capture, Manufacturer="Somebody"))
    assert len(steps.held()) == 1


def test_what_only_says_our_manufacturer_is_an_image_like_any_other(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    steps.receive(edited(marked[0][0], Manufacturer="MedSeg Node"))
    assert len(steps.held()) == 1


@pytest.mark.parametrize("sop_class", [GSPS, SR, SEG])
def test_what_is_no_image_is_kept_and_opens_no_generation(
    steps: Steps, archive: Archive, marked: Marked, edited: Callable[..., Path], sop_class: str
) -> None:
    study_uid = steps.through(*marked[0])
    other = edited(
        steps.saved(steps.keys(study_uid)[0])[1],
        Manufacturer="Another", SOPInstanceUID="1.2.88", SeriesInstanceUID="1.2.8", SOPClassUID=sop_class,
    )  # fmt: skip
    steps.receive(other)
    assert steps.state(study_uid) == DELIVERED
    assert [instance.sop_class_uid for instance in steps.held()].count(sop_class) == 1
    steps.tick(1000)
    assert steps.complete() == []


def test_a_report_in_an_image_series_is_not_read_with_it(
    steps: Steps, archive: Archive, marked: Marked, edited: Callable[..., Path]
) -> None:
    first = dcmread(marked[0][0], stop_before_pixels=True)
    report = edited(marked[0][0], SOPInstanceUID="1.2.99", SOPClassUID=SR)
    study_uid = steps.through(*marked[0], report)
    assert steps.state(study_uid) == DELIVERED
    (job,) = steps.jobs(study_uid)
    assert (job.series_uid, len(job.inputs)) == (first.SeriesInstanceUID, len(marked[0]))


def test_a_late_slice_is_read_again_and_the_report_names_the_one_it_replaces(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    files, _marker = marked
    study_uid = steps.through(*files[:-1])
    (earlier,) = steps.keys(study_uid)
    steps.receive(files[-1])
    state, reason = steps.state(study_uid)
    assert state == "RECEIVING" and reason.startswith("generation 2 opened by a new instance; complete once nothing")
    assert steps.to_plan() == study_uid
    (key,) = steps.keys(study_uid)
    assert key != earlier
    steps.predict(key)
    steps.publish(key)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR", "SEG", "SR"])
    first, second = (one for one in archive.objects if one.Modality == "SR")
    assert first.SOPInstanceUID != second.SOPInstanceUID
    (replaced,) = second.PredecessorDocumentsSequence
    (series,) = replaced.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert replaced.StudyInstanceUID == study_uid
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert document.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert document.ReferencedSOPClassUID == first.SOPClassUID
    assert steps.repository.job(earlier).state.value == "SUPERSEDED"


def test_a_series_that_is_no_volume_fails_with_the_reason_and_the_rest_is_delivered(
    steps: Steps, archive: Archive, marked: Marked, edited: Callable[..., Path]
) -> None:
    files, _marker = marked
    broken = [
        edited(path, SeriesInstanceUID="1.2.9", SOPInstanceUID=f"1.2.9.{number}")
        for number, path in enumerate([files[0], files[1], files[5]])
    ]
    study_uid = steps.through(*files, *broken)
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and "mm between" in reason
    states = {job.series_uid: (job.state.value, job.reason) for job in steps.jobs(study_uid)}
    assert states.pop("1.2.9") == ("FAILED", reason)
    assert list(states.values()) == [("DELIVERED", "")]
    assert archive.kinds() == ["SEG", "SR"]


def test_a_study_without_images_is_unmatched_with_a_reason(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    study_uid = steps.through(edited(marked[0][0], Modality="PR"))
    assert steps.state(study_uid) == ("UNMATCHED", "commissioning: no image series in this study")


# --- Who answers, and what goes wrong in it ---------------------------------------------------------------------------


def test_a_job_planned_for_other_weights_is_given_back_with_the_reason(steps: Steps, marked: Marked) -> None:
    steps.receive(*marked[0][:3])
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)

    def other(_model: object) -> Predictor:
        raise OtherWeights("planned for weights a 1 (aaaa), this worker holds b 2 (bbbb)")

    mine, steps.inference = steps.inference, replace(steps.inference, predictor_for=other)
    for _ in range(5):
        steps.predict(key)
        assert steps.state(study_uid) == ("PLANNED", "planned for weights a 1 (aaaa), this worker holds b 2 (bbbb)")
        assert steps.waker.jobs == [key], "not woken before its wait is over"
        steps.tick(31)
    steps.inference = mine
    steps.predict(key)
    assert steps.state(study_uid)[0] == "DELIVERING"


@pytest.mark.parametrize(
    ("error", "state"), [(RemoteFailed("gpu broke off"), "PLANNED"), (RemoteRefused("gpu lied"), "FAILED")]
)
def test_a_remote_predictor_that_dies_gives_the_job_back_and_one_that_lies_fails_it(
    steps: Steps, marked: Marked, error: InferenceError, state: str
) -> None:
    steps.receive(*marked[0][:3])
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    good = steps.predictor

    class Elsewhere:
        description = good.description

        def answer(self, *_: object, **__: object) -> tuple[Answer, ...]:
            raise error

    steps.predictor = Elsewhere()
    for _ in range(4):  # more often than a job may come to nothing
        steps.predict(key)
        assert steps.state(study_uid)[0] == state and str(error) in steps.state(study_uid)[1]
        steps.tick(600)
    steps.predictor = good
    steps.predict(key)
    assert steps.state(study_uid)[0] == ("DELIVERING" if state == "PLANNED" else "FAILED")


def test_objects_and_database_name_the_weights_that_answered(steps: Steps, archive: Archive, marked: Marked) -> None:
    planned = steps.predictor.description
    steps.predictor = Counting(steps.predictor)
    steps.predictor.description = replace(planned, name="Answerer", version="7", terms="research use only")
    study_uid = steps.through(*marked[0])
    (job,) = steps.jobs(study_uid)
    assert (job.model.name, job.model.version, job.model.terms) == ("Answerer", "7", "research use only")
    segmentation, report = archive.objects
    algorithm = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Answerer", "7")
    text = str(report)
    assert "Answerer" in text and planned.digest in text
    assert "; research use only" in report.SeriesDescription
    assert "RESEARCH USE ONLY" in [item.get("TextValue") for item in report.ContentSequence]


class Broken(Counting):
    """A predictor that fails as programs do."""

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        self.asked += 1
        raise TypeError("Doe^Jane is no number")


def test_an_error_that_nobody_foresaw_is_tried_once_more_and_told_as_what_it_is(
    steps: Steps, marked: Marked, capfd: pytest.CaptureFixture[str]
) -> None:
    steps.predictor = broken = Broken(steps.predictor)
    study_uid, key = predicted(steps, marked[0][:3])
    state, reason = steps.state(study_uid)
    assert state == "PLANNED" and reason.startswith("the program failed: TypeError in ")
    assert "please report it" in reason and "Doe" not in reason
    steps.tick(60)
    steps.predict(key)
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and "2 times: the program failed: TypeError" in reason and "died" not in reason
    steps.tick(60)
    steps.predict(key)
    assert broken.asked == 2


def test_a_message_for_a_job_that_is_not_there_does_nothing(steps: Steps) -> None:
    steps.predict("unknown")
    steps.publish("unknown")


def test_a_person_who_wants_a_study_read_again_gets_it_with_todays_weights(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    study_uid = steps.through(*marked[0])
    (first,) = steps.keys(study_uid)
    newer = replace(steps.planner.model, version="2", digest="f" * 64)
    steps.planner = replace(steps.planner, model=newer)
    assert steps.repository.reopen(study_uid, "a person wants it read again")
    steps.plan(study_uid)
    (second,) = steps.keys(study_uid)
    assert second != first
    steps.predict(second)
    steps.publish(second)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR"] * 2)
    reports = [one for one in archive.objects if one.Modality == "SR"]
    (document,) = reports[1].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == reports[0].SOPInstanceUID
