"""Receive: an instance is written, synced and renamed, its row committed; only then is it acknowledged."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicom_node.errors import InstanceRefused
from dicom_node.headers.instance import InstanceHeader
from dicom_node.headers.rejection import RejectionNote
from dicom_node.results.equipment import is_a_nodes_result
from dicom_node.sop_classes import WRITTEN_CLASSES, holds_images
from dicom_node.storage.instance import ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.instance_store import InstanceStore
from workflows.data_folder import DataFolder
from workflows.state.records import Instance, NewInstance
from workflows.state.repository import Repository

__all__ = ["QuietPeriod", "Receiver", "receive_instance", "reconcile"]

log = structlog.get_logger()

QuietPeriod = Callable[[str], float]
"""Seconds without a new instance from a calling AE title that complete a study."""


class Receiver:
    """Where instances go: the store, its folder, the rows, and how long each source is waited for."""

    def __init__(
        self, store: InstanceStore, folder: DataFolder, repository: Repository, quiet_period_s: QuietPeriod
    ) -> None:
        self.store, self.folder, self.repository, self.quiet_period_s = store, folder, repository, quiet_period_s

    def is_own_result(self, sop_instance_uid: str, sop_class_uid: str, header: InstanceHeader) -> bool:
        """Whether an instance is ours, one of our saved results, or any MedSeg Node's: neither is ever input."""
        if sop_class_uid not in WRITTEN_CLASSES:  # almost everything that comes: no query for each image
            return False
        if self.repository.is_own_result(sop_instance_uid):
            return True
        # A person who verifies a report of ours may leave our name on it.
        return is_a_nodes_result(header, sop_class_uid) and not header.verifies

    def index(self, stored: StoredInstance) -> None:
        """Commit the instance's row, then discard the file that it replaces.

        What a rejection note says is committed before its row: a note that has a row was heeded.
        """
        if stored.header.rejects is not None:
            self._reject(stored, stored.header.rejects)
        if stored.header.verifies:
            self._review(stored)
        if stored.outcome is WriteOutcome.CHANGED:
            self._know_whom_it_named(stored)
        replaced = self.repository.record_instance(
            NewInstance(
                study_uid=stored.study_uid,
                series_uid=stored.series_uid,
                sop_instance_uid=stored.sop_instance_uid,
                sop_class_uid=stored.sop_class_uid,
                transfer_syntax_uid=stored.transfer_syntax_uid,
                path=self.row_path(stored.path),
                bytes=stored.size,
                digest=stored.digest,
                calling_ae_title=stored.calling_ae_title,
                image=holds_images(stored.sop_class_uid),
                patient=stored.header.patient,
                modality=stored.header.modality,
                series_description=stored.header.series_description,
                accession_number=stored.header.accession_number,
            ),
            self.quiet_period_s(stored.calling_ae_title),
        )
        if replaced is not None:
            self.store.discard(self.store_path(Path(replaced)))

    def _reject(self, stored: StoredInstance, note: RejectionNote) -> None:
        quiet_period_s = self.quiet_period_s(stored.calling_ae_title)
        again = self.repository.record_rejection(stored.sop_instance_uid, note, quiet_period_s)
        log.warning(
            "images_rejected",
            note_uid=stored.sop_instance_uid,
            code=note.code.value,
            named=len(note.references),
            planned_again=again,
        )

    def _review(self, stored: StoredInstance) -> None:
        kept = self.repository.record_review(stored.study_uid, stored.header.verifies, "a person")
        if kept:
            log.info("results_verified", study_uid=stored.study_uid, document=stored.sop_instance_uid, objects=kept)

    def _know_whom_it_named(self, stored: StoredInstance) -> None:
        """A row from before patients were kept gets the one of the file that is about to be replaced."""
        row = self.repository.instance(stored.study_uid, stored.series_uid, stored.sop_instance_uid)
        if row is None or row.patient is not None:
            return
        try:
            before = self.store.read(self.store_path(row.path))
        except (InstanceRefused, OSError):
            return  # it is gone, or nobody can tell any more
        self.repository.record_patients(stored.study_uid, {row.path: before.header.patient})

    def row_path(self, path: Path) -> Path:
        """A path of the store as rows keep it: relative to the data folder."""
        return self.folder.relative(self.store.absolute(path))

    def store_path(self, path: Path) -> Path:
        """The inverse of `row_path`."""
        return self.folder.absolute(path).relative_to(self.store.root)


def receive_instance(received: ReceivedInstance, receiver: Receiver) -> None:
    """Keep one instance. Raises what `InstanceStore.inspect` and `write` raise; returning means that it is safe.

    A node's own results are acknowledged and not kept: taken as input they would be read again for ever.
    """
    inspected = receiver.store.inspect(received)
    identifiers = inspected.identifiers
    if receiver.is_own_result(identifiers.sop_instance_uid, identifiers.sop_class_uid, inspected.header):
        _log_own_result(identifiers.study_uid, identifiers.sop_instance_uid)
        return
    with receiver.store.exclusive(identifiers.sop_instance_uid):
        stored = receiver.store.write(inspected)
        receiver.index(stored)
    log.info(
        "instance_received",
        study_uid=stored.study_uid,
        sop_instance_uid=stored.sop_instance_uid,
        outcome=stored.outcome.value,
        calling_ae_title=stored.calling_ae_title,
    )


def _log_own_result(study_uid: str, sop_instance_uid: str) -> None:
    log.info("own_result_ignored", study_uid=study_uid, sop_instance_uid=sop_instance_uid)


# --- The sweep --------------------------------------------------------------------------------------------------------


def reconcile(receiver: Receiver) -> tuple[int, int]:
    """Make files and rows agree after a crash; return how many files were indexed and how many were found lost.

    A file without a row was written by a receiver that died before it acknowledged; keeping it is always safe. One that
    cannot be read is left where it is and named in the log. A row without a file says that its instance was lost; when
    the file is back, put there by a restore or sent again, the instance is. It goes study by study, while instances
    come in, and in one process: another that sweeps already is left to it.
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
    return sum(_reconcile_file(path, receiver) for path in sorted(on_disk - indexed)), len(gone)


def _reconcile_file(path: Path, receiver: Receiver) -> bool:
    """Index, discard or leave a file that no row pointed at; True: it was indexed."""
    file = receiver.store_path(path)
    try:
        stored = receiver.store.read(file)
    except FileNotFoundError:  # replaced by its receiver since the folder was read
        return False
    except (InstanceRefused, OSError) as error:
        log.error("stored_file_unreadable", path=str(path), reason=str(error))
        return False
    with receiver.store.exclusive(stored.sop_instance_uid):
        if not receiver.folder.absolute(path).is_file():
            return False
        if receiver.is_own_result(stored.sop_instance_uid, stored.sop_class_uid, stored.header):
            receiver.store.discard(file)
            _log_own_result(stored.study_uid, stored.sop_instance_uid)
            return False
        row = receiver.repository.instance(stored.study_uid, stored.series_uid, stored.sop_instance_uid)
        if row is not None and row.path == path and row.lost_at is None:
            return False
        if row is not None and row.path != path and receiver.folder.absolute(row.path).is_file():
            # Another version has the row. This one was replaced, or was never acknowledged and comes again.
            receiver.store.discard(file)
            return False
        receiver.index(stored)
        return True


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
