"""Reconcile: after a crash files and rows agree again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.volumes.marker import Marker
from workflows.steps.receive import reconcile

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]


def written_only(steps: Steps, path: Path) -> Path:
    """What a receiver leaves that dies between the file and its row."""
    from .conftest import received_from

    return steps.store.write(received_from(path)).path


def test_a_file_without_a_row_is_indexed_and_running_again_finds_nothing(steps: Steps, marked: Marked) -> None:
    steps.receive(marked[0][0])
    path = written_only(steps, marked[0][1])
    assert reconcile(steps.store, steps.repository) == (1, 0)
    rows = {row.path: row for row in steps.repository.all_instances()}
    assert len(rows) == 2 and rows[str(path)].calling_ae_title == "CT1"
    assert reconcile(steps.store, steps.repository) == (0, 0)
    steps.receive(marked[0][1])
    assert len(steps.repository.all_instances()) == 2


def test_a_row_without_a_file_is_dropped_and_its_study_says_so(steps: Steps, marked: Marked) -> None:
    study_uid = steps.through(*marked[0][:3])
    gone = steps.repository.all_instances()[0]
    steps.store.discard(Path(gone.path))
    assert reconcile(steps.store, steps.repository) == (0, 1)
    state, reason = steps.state(study_uid)
    assert state == "RECEIVING" and gone.sop_instance_uid in reason
    assert len(steps.repository.all_instances()) == 2


def test_a_replaced_version_is_never_revived(steps: Steps, marked: Marked, edited: Callable[..., Path]) -> None:
    original = marked[0][0]
    steps.receive(original)
    steps.receive(edited(original, SeriesDescription="corrected"))
    (current,) = steps.repository.all_instances()
    written_only(steps, original)
    assert reconcile(steps.store, steps.repository) == (0, 0)
    assert [row.path for row in steps.repository.all_instances()] == [current.path]
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
