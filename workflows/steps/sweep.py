"""The sweep: files and rows are made to agree after a crash or a restore, while instances come in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicom_node.errors import InstanceRefused
from workflows.data_folder import DataFolder
from workflows.state.records import Instance
from workflows.steps.receive import Receiver, index_or_set_aside
from workflows.steps.setting_aside import keep_unreadable

__all__ = ["reconcile"]

log = structlog.get_logger()


def reconcile(receiver: Receiver) -> tuple[int, int]:
    """Make files and rows agree; return how many files were indexed and how many were found lost.

    A file without a row was placed by an indexer that died before its transaction; keeping it is always safe. One that
    cannot be read or indexed is set aside. A row without a file says that its instance was lost; when the file is back,
    put there by a restore or sent again, the instance is. It goes study by study, while instances come in, and in one
    process: another that sweeps already is left to it.
    """
    with _only_sweep(receiver.folder) as alone:
        if not alone:
            log.info("sweep_left_to_another_process")
            return 0, 0
        receiver.store.remove_leftovers()
        found = lost = 0
        for study_uid, rows in _studies(receiver):
            indexed, gone = _reconcile_study(study_uid, rows, receiver)
            found, lost = found + indexed, lost + gone
    return found, lost


def _studies(receiver: Receiver) -> Iterator[tuple[str, list[Instance]]]:
    """Each study that has rows or files, with its rows, one study at a time."""
    for study_uid, rows in receiver.repository.held_studies():
        yield study_uid, rows
    for study_uid in receiver.store.study_uids():
        if receiver.repository.study(study_uid) is None:
            yield study_uid, []


def _reconcile_study(study_uid: str, rows: list[Instance], receiver: Receiver) -> tuple[int, int]:
    # Rows were read before files: an instance that arrives in between then looks new, never gone.
    on_disk = {receiver.row_path(path) for path in receiver.store.files_of(study_uid)}
    indexed = {row.path for row in rows}
    gone = sorted(str(path) for path in indexed - on_disk)
    if gone:
        receiver.repository.lose_instances(study_uid, gone)
        log.error("instance_files_missing", study_uid=study_uid, count=len(gone), first=gone[0])
    # What was read stays beside what came since, until the next plan has compared the two.
    known = indexed | {row.read_path for row in rows if row.read_path is not None}
    return sum(_reconcile_file(path, receiver) for path in sorted(on_disk - known)), len(gone)


def _reconcile_file(path: Path, receiver: Receiver) -> bool:
    """Index, discard or set aside a file that no row pointed at; True: it was indexed.

    The journal may still hold the instance that the file was made from. Then it comes again, and is IDENTICAL, or NEW
    if its file was discarded here.
    """
    file = receiver.store_path(path)
    try:
        stored = receiver.store.read(file)
    except FileNotFoundError:  # replaced since the folder was read
        return False
    except InstanceRefused as error:
        why = f"its file in the store is no instance any more: {type(error).__name__}"
        keep_unreadable(file, why, receiver.store, receiver.quarantine)
        return False
    except OSError as error:
        log.error("stored_file_unreadable", path=str(path), reason=error.strerror or type(error).__name__)
        return False
    with receiver.store.exclusive(stored.sop_instance_uid):
        if not receiver.folder.absolute(path).is_file():
            return False
        if receiver.own_results([(stored.sop_instance_uid, stored.sop_class_uid, stored.header)]):
            receiver.store.discard(file)
            log.info("own_result_ignored", sop_instance_uid=stored.sop_instance_uid)
            return False
        row = receiver.repository.instance(stored.study_uid, stored.series_uid, stored.sop_instance_uid)
        if row is None and receiver.repository.is_purged(stored.study_uid):
            receiver.store.discard(file)
            return False
        if row is not None and row.path == path and row.removed_at is not None:
            receiver.store.discard(file)  # retention was interrupted between its row and its file
            return False
        if row is not None and row.path == path and row.lost_at is None:
            return False
        if row is not None and row.read_path == path:
            return False
        if row is not None and row.path != path and receiver.folder.absolute(row.path).is_file():
            # Another version has the row. This one was replaced, or waits in the journal and is placed again.
            receiver.store.discard(file)
            return False
        return index_or_set_aside([stored], receiver) == 1


@contextmanager
def _only_sweep(folder: DataFolder) -> Iterator[bool]:
    """True for one process at a time; the lock ends with the process."""
    descriptor = os.open(folder.root / ".sweep", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
