"""Reconcile: after a crash files and rows agree again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.commissioning.marker import Marker
from workflows.steps.receive import reconcile

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
DELIVERED = ("DELIVERED", "commissioning: answered and delivered")


def uid_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def written_only(steps: Steps, path: Path) -> Path:
    """What a receiver leaves that dies between the file and its row."""
    from .conftest import received_from

    return steps.store.write(received_from(path)).path


def test_a_file_without_a_row_is_indexed_and_running_again_finds_nothing(steps: Steps, marked: Marked) -> None:
    steps.receive(marked[0][0])
    path = written_only(steps, marked[0][1])
    assert reconcile(steps.store, steps.repository) == (1, 0)
    rows = {row.path: row for row in steps.repository.held_instances()}
    assert len(rows) == 2 and rows[str(path)].calling_ae_title == "CT1"
    assert reconcile(steps.store, steps.repository) == (0, 0)
    steps.receive(marked[0][1])
    assert len(steps.repository.held_instances()) == 2


def test_a_study_that_lost_an_end_slice_is_not_read_until_it_is_sent_again(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    files, _marker = marked
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    gone = next(row for row in steps.repository.held_instances() if row.path.endswith(f"/{uid_of(files[-1])}.dcm"))
    steps.store.discard(Path(gone.path))
    assert reconcile(steps.store, steps.repository) == (0, 1)
    assert reconcile(steps.store, steps.repository) == (0, 0)
    steps.predict(key)
    assert steps.complete() == []
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and gone.sop_instance_uid in reason and "send the study again" in reason
    steps.receive(*files)
    assert steps.to_plan() == study_uid
    steps.predict(key)
    steps.publish(key)
    assert steps.state(study_uid)[0] == "DELIVERED"
    (report,) = (one for one in archive.objects if one.Modality == "SR")
    assert uid_of(files[-1]) in str(report)


@pytest.mark.parametrize("step", ["plan", "predict"])
def test_a_file_that_is_gone_when_its_step_looks_for_it_is_found_lost(steps: Steps, marked: Marked, step: str) -> None:
    steps.receive(*marked[0])
    steps.tick(60)
    (study_uid,) = steps.complete()
    if step == "predict":
        steps.plan(study_uid)
    keys = steps.keys(study_uid)
    steps.store.discard(Path(steps.repository.held_instances()[0].path))
    steps.plan(study_uid) if step == "plan" else steps.predict(keys[0])
    assert steps.state(study_uid)[0] == "RECEIVING"
    assert steps.complete() == []
    assert steps.state(study_uid)[0] == "FAILED"
    assert [job.answers for job in steps.repository.jobs(study_uid)] == [[] for _ in keys]


def test_a_delivered_study_stands_and_a_restored_file_is_taken_back(steps: Steps, marked: Marked) -> None:
    study_uid = steps.through(*marked[0][:3])
    gone = steps.repository.held_instances()[0]
    kept = steps.store.absolute(Path(gone.path)).read_bytes()
    steps.store.discard(Path(gone.path))
    assert reconcile(steps.store, steps.repository) == (0, 1)
    assert steps.state(study_uid) == DELIVERED
    assert [row.path for row in steps.repository.lost_instances(study_uid)] == [gone.path]
    steps.store.absolute(Path(gone.path)).write_bytes(kept)
    assert reconcile(steps.store, steps.repository) == (1, 0)
    assert steps.state(study_uid) == DELIVERED and steps.repository.lost_instances(study_uid) == []


def test_a_stored_header_that_cannot_be_read_any_more_fails_the_study(steps: Steps, marked: Marked) -> None:
    steps.receive(*marked[0])
    path = steps.store.absolute(Path(steps.repository.held_instances()[0].path))
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    study_uid = steps.to_plan()
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and path.name in reason


def test_a_replaced_version_is_never_revived(steps: Steps, marked: Marked, edited: Callable[..., Path]) -> None:
    original = marked[0][0]
    steps.receive(original)
    steps.receive(edited(original, SeriesDescription="corrected"))
    (current,) = steps.repository.held_instances()
    written_only(steps, original)
    assert reconcile(steps.store, steps.repository) == (0, 0)
    assert [row.path for row in steps.repository.held_instances()] == [current.path]
    assert list(steps.store.sweep()) == [Path(current.path)]


def test_our_own_result_whose_receiver_died_is_not_indexed(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid = steps.through(*marked[0])
    (key,) = steps.keys(study_uid)
    path = written_only(steps, Path(steps.repository.results(key)[0].path))
    assert reconcile(steps.store, steps.repository) == (0, 0)
    assert not steps.store.absolute(path).exists()
    assert steps.state(study_uid)[0] == "DELIVERED"


def test_a_file_that_cannot_be_read_stays_and_stops_nothing(steps: Steps, marked: Marked) -> None:
    path = written_only(steps, marked[0][1])
    damaged = steps.store.absolute(path).with_name("0.dcm")
    damaged.write_bytes(b"not DICOM")
    assert reconcile(steps.store, steps.repository) == (1, 0)
    assert damaged.exists()
