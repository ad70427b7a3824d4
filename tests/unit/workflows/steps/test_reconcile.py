"""Reconcile: after a crash files and rows agree again."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.commissioning.marker import Marker

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
DELIVERED = ("DELIVERED", "commissioning: answered and delivered")


def uid_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def written_only(steps: Steps, path: Path) -> Path:
    """What a receiver leaves that dies between the file and its row."""
    from .conftest import received_from

    return Path("instances") / steps.store.write(steps.store.inspect(received_from(path))).path


def test_a_file_without_a_row_is_indexed_and_running_again_finds_nothing(steps: Steps, marked: Marked) -> None:
    steps.receive(marked[0][0])
    path = written_only(steps, marked[0][1])
    assert steps.reconcile() == (1, 0)
    rows = {row.path: row for row in steps.held()}
    assert len(rows) == 2 and rows[path].calling_ae_title == "CT1"
    assert steps.reconcile() == (0, 0)
    steps.receive(marked[0][1])
    assert len(steps.held()) == 2


def test_a_study_that_lost_an_end_slice_is_not_read_until_it_is_sent_again(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    files, _marker = marked
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    gone = next(row for row in steps.held() if row.path.name == f"{uid_of(files[-1])}.dcm")
    steps.folder.absolute(gone.path).unlink()
    assert steps.reconcile() == (0, 1)
    assert steps.reconcile() == (0, 0)
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
def test_a_file_that_this_host_cannot_read_is_not_declared_lost_by_who_looks_for_it(
    steps: Steps, marked: Marked, step: str
) -> None:
    steps.receive(*marked[0])
    steps.tick(60)
    (study_uid,) = steps.complete()
    if step == "predict":
        steps.plan(study_uid)
    path = steps.folder.absolute(steps.held()[0].path)
    kept = path.rename(path.with_suffix(".away"))
    for _ in range(5):
        steps.plan(study_uid) if step == "plan" else steps.predict(steps.keys(study_uid)[0])
        state, reason = steps.state(study_uid)
        assert state == {"plan": "COMPLETE", "predict": "PLANNED"}[step]
        assert f"{socket.gethostname()} cannot read {path}" in reason
        steps.tick(60)
    assert steps.repository.lost_instances(study_uid) == []
    kept.rename(path)
    steps.plan(study_uid)
    steps.predict(steps.keys(study_uid)[0])
    assert steps.state(study_uid)[0] == "DELIVERING"


def test_the_sweep_declares_lost_what_the_steps_only_missed(steps: Steps, marked: Marked) -> None:
    steps.receive(*marked[0])
    steps.tick(60)
    (study_uid,) = steps.complete()
    steps.folder.absolute(steps.held()[0].path).unlink()
    steps.plan(study_uid)
    assert steps.reconcile() == (0, 1)
    assert steps.complete() == []
    assert steps.state(study_uid)[0] == "FAILED"


def test_only_one_process_sweeps(steps: Steps, marked: Marked) -> None:
    written_only(steps, marked[0][0])
    with (steps.folder.root / ".sweep").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert steps.reconcile() == (0, 0)
    assert steps.reconcile() == (1, 0)


def test_a_version_whose_row_comes_while_the_sweep_looks_is_kept(
    steps: Steps, marked: Marked, edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = marked[0][0]
    steps.receive(original)
    listed = steps.store.files_of

    def corrected_meanwhile(study_uid: str) -> tuple[Path, ...]:
        monkeypatch.undo()
        steps.receive(edited(original, SeriesDescription="corrected"))
        return listed(study_uid)

    monkeypatch.setattr(steps.store, "files_of", corrected_meanwhile)
    steps.reconcile()
    (row,) = steps.held()
    assert steps.stored() == {row.path}


def test_a_delivered_study_stands_and_a_restored_file_is_taken_back(steps: Steps, marked: Marked) -> None:
    study_uid = steps.through(*marked[0][:3])
    gone = steps.held()[0]
    kept = steps.folder.absolute(gone.path).read_bytes()
    steps.folder.absolute(gone.path).unlink()
    assert steps.reconcile() == (0, 1)
    assert steps.state(study_uid) == DELIVERED
    assert [row.path for row in steps.repository.lost_instances(study_uid)] == [gone.path]
    steps.folder.absolute(gone.path).write_bytes(kept)
    assert steps.reconcile() == (1, 0)
    assert steps.state(study_uid) == DELIVERED and steps.repository.lost_instances(study_uid) == []


def test_a_stored_file_that_was_damaged_is_not_planned_from_and_is_looked_after(steps: Steps, marked: Marked) -> None:
    steps.receive(*marked[0])
    path = steps.folder.absolute(steps.held()[0].path)
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    study_uid = steps.to_plan()
    state, reason = steps.state(study_uid)
    assert state == "COMPLETE" and f"reads other bytes in {path}" in reason
    assert steps.repository.due_recoveries() == [study_uid]


def test_a_replaced_version_is_never_revived(steps: Steps, marked: Marked, edited: Callable[..., Path]) -> None:
    original = marked[0][0]
    steps.receive(original)
    steps.receive(edited(original, SeriesDescription="corrected"))
    (current,) = steps.held()
    written_only(steps, original)
    assert steps.reconcile() == (0, 0)
    assert steps.held() == [current]
    assert steps.stored() == {current.path}


def test_our_own_result_whose_receiver_died_is_not_indexed(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid = steps.through(*marked[0])
    (key,) = steps.keys(study_uid)
    path = written_only(steps, steps.saved(key)[0])
    assert steps.reconcile() == (0, 0)
    assert not steps.folder.absolute(path).exists()
    assert steps.state(study_uid)[0] == "DELIVERED"


def test_a_file_that_cannot_be_read_is_set_aside_and_stops_nothing(steps: Steps, marked: Marked) -> None:
    path = written_only(steps, marked[0][1])
    damaged = steps.folder.absolute(path).with_name("0.dcm")
    damaged.write_bytes(b"not DICOM")
    assert steps.reconcile() == (1, 0)
    assert not damaged.exists()
    (aside,) = steps.receiver.quarantine.instances()
    assert steps.receiver.quarantine.path(aside).read_bytes() == b"not DICOM"
    assert aside.study_uid == path.parts[1] and "no instance any more" in aside.reason
    assert steps.reconcile() == (0, 0)
