"""What goes wrong on the way: archives away, own results back, late slices, series that are no volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.commissioning.marker import Marker
from dicom_node.network.storage_scu import Peer
from tests.services import free_port

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
DELIVERED = ("DELIVERED", "commissioning: answered and delivered")
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


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
        steps.publish(key, peer=Peer("PACS", "127.0.0.1", free_port()))
        state, reason = steps.state(study_uid)
        assert state == "DELIVERING" and reason.startswith("PACS@127.0.0.1:")
        steps.wake()
        assert steps.waker.deliveries == [key], "not before the wait is over"
        steps.tick(300)
        steps.wake()
        assert steps.waker.deliveries.pop() == key
    steps.publish(key)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SEG", "SR"])


def test_without_an_archive_the_study_waits_and_says_what_to_configure(steps: Steps, marked: Marked) -> None:
    study_uid, key = predicted(steps, marked[0][:3])
    steps.publish(key, peer=None)
    state, reason = steps.state(study_uid)
    assert state == "DELIVERING" and "[[archives]]" in reason


def test_an_archive_without_room_for_one_object_is_asked_again_for_that_one_only(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    study_uid, key = predicted(steps, marked[0])
    archive.refuse.add(SEG)
    steps.publish(key)
    assert steps.state(study_uid)[0] == "DELIVERING" and "PACS answered SEG with" in steps.state(study_uid)[1]
    archive.refuse.clear()
    steps.publish(key)
    assert (steps.state(study_uid), archive.kinds()) == (DELIVERED, ["SR", "SEG"])


def test_a_saved_result_that_is_gone_is_named_as_the_reason(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid, key = predicted(steps, marked[0])
    path = Path(steps.repository.results(key)[0].path)
    kept = path.read_bytes()
    path.unlink()
    steps.publish(key)
    state, reason = steps.state(study_uid)
    assert state == "DELIVERING" and "seg.dcm" in reason and archive.objects == []
    path.write_bytes(kept)
    steps.publish(key)
    assert steps.state(study_uid) == DELIVERED


def test_our_own_results_that_come_back_are_taken_and_forgotten(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid = steps.through(*marked[0])
    (key,) = steps.keys(study_uid)
    before = set(steps.store.sweep())
    steps.receive(*(Path(row.path) for row in steps.repository.results(key)))
    assert set(steps.store.sweep()) == before
    study = steps.repository.study(study_uid)
    assert study is not None and (study.generation, study.state.value) == (1, "DELIVERED")


def test_a_late_slice_is_read_again_and_the_report_names_the_one_it_replaces(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    files, _marker = marked
    study_uid = steps.through(*files[:-1])
    (earlier,) = steps.keys(study_uid)
    steps.receive(files[-1])
    assert steps.state(study_uid) == ("RECEIVING", "generation 2 opened by a new instance")
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
    states = {job.series_uid: (job.state.value, job.reason) for job in steps.repository.jobs(study_uid)}
    assert states.pop("1.2.9") == ("FAILED", reason)
    assert list(states.values()) == [("DELIVERED", "")]
    assert archive.kinds() == ["SEG", "SR"]


def test_a_study_without_images_is_unmatched_with_a_reason(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    study_uid = steps.through(edited(marked[0][0], Modality="PR"))
    assert steps.state(study_uid) == ("UNMATCHED", "commissioning: no image series in this study")
