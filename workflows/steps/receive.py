"""Receive: what the journal holds becomes files and rows, several instances in one transaction.

An instance was acknowledged once the journal had it. Here it becomes a file of the store, its row is committed, and
only then the journal lets it go: whatever dies in between, the next turn does it again, and all of it may be done
twice. What cannot be indexed is set aside (`workflows/quarantine.py`), so it stands in nobody's way.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from dicom_node.errors import InstanceRefused, StorageFull
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.headers.instance import InstanceHeader
from dicom_node.headers.rejection import RejectionNote
from dicom_node.results.equipment import is_a_nodes_result
from dicom_node.sop_classes import SEGMENTATION_CLASSES, WRITTEN_CLASSES, holds_images
from dicom_node.storage.backlog import backlog
from dicom_node.storage.instance import StoredInstance, WriteOutcome
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.journal_entry import JournalEntry
from dicom_node.storage.journal_reader import JournalReader
from dicom_node.storage.placing import Source
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, RowRefused, WorkflowError, defect
from workflows.quarantine import Quarantine
from workflows.state.records import NewInstance
from workflows.state.repository import Repository
from workflows.steps.setting_aside import keep_entry, keep_file

__all__ = ["QuietPeriod", "Receiver", "index_batch", "index_entries", "index_or_set_aside", "index_waiting"]

log = structlog.get_logger()

QuietPeriod = Callable[[str], float]
"""Seconds without a new instance from a calling AE title that complete a study."""

AT_ONCE = 250
"""Instances in one transaction: more make it hardly cheaper, and others wait longer for the database."""
_GATHER_S = 3.0
"""How long a turn waits for more, while more comes: what is indexed meanwhile slows down what is received."""
_PAUSE_S = 0.03
"""A pause that long, and what has come is indexed."""
_NICE = 10
_LOOK_S = 0.5
_NAMED = 3
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.ESTALE})
"""What the machine lacks for a moment, or another process has just removed: no instance is to blame for it."""
_LONGEST_PAUSE_S = 10.0


class Receiver:
    """Where instances go: the store, its folder, the rows, and how long each source is waited for.

    `keeps_late`: whether images of a source that come after their study was read are kept and not read.
    """

    def __init__(
        self,
        store: InstanceStore,
        folder: DataFolder,
        repository: Repository,
        quiet_period_s: QuietPeriod,
        keeps_late: Callable[[str], bool] = lambda _title: False,
    ) -> None:
        self.store, self.folder, self.repository, self.quiet_period_s = store, folder, repository, quiet_period_s
        self.quarantine = Quarantine(folder.quarantine)
        self.keeps_late = keeps_late

    def own_results(self, instances: Sequence[tuple[str, str, InstanceHeader]]) -> set[str]:
        """Which instances (SOP Instance UID, SOP Class UID, header) are results of this node, or of any MedSeg Node.

        Neither is ever input: it would be read again for ever.
        """
        # Almost everything that comes is of another class: no query for it.
        perhaps = [one for one in instances if one[1] in WRITTEN_CLASSES]
        if not perhaps:
            return set()
        saved = self.repository.own_results([uid for uid, _class, _header in perhaps])
        # A person who verifies a report of ours may leave our name on it.
        return saved | {
            uid
            for uid, sop_class_uid, header in perhaps
            if is_a_nodes_result(header, sop_class_uid) and not header.verifies
        }

    def index(self, stored: Sequence[StoredInstance]) -> None:
        """Commit the rows of different instances in one transaction, then discard the files that they replace.

        What a rejection note says is committed before its row: a note that has a row was heeded.
        """
        for one in stored:
            if one.header.rejects is not None:
                self._reject(one, one.header.rejects)
            if one.header.verifies:
                self._review(one)
            if one.outcome is WriteOutcome.CHANGED:
                self._know_whom_it_named(one)
        replaced = self.repository.record_instances([self._row(one) for one in stored], self.quiet_period_s)
        for one in stored:
            if one.sop_class_uid in SEGMENTATION_CLASSES:
                self._note_segmentation(one)
        for path in replaced:
            if path is not None:
                self.store.discard(self.store_path(Path(path)))

    def _row(self, stored: StoredInstance) -> NewInstance:
        return NewInstance(
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
            keep_late=self.keeps_late(stored.calling_ae_title),
        )

    def _note_segmentation(self, stored: StoredInstance) -> None:
        """Have a SEG that is not ours looked at as a correction, beside all else (`steps/proposals.py`)."""
        try:
            anew = stored.outcome is not WriteOutcome.IDENTICAL
            self.repository.note_segmentation(stored.study_uid, stored.sop_instance_uid, anew=anew)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # it is received all the same
            log.exception("segmentation_not_noted", study_uid=stored.study_uid, reason=defect(error))

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

    def set_aside(self, stored: StoredInstance, reason: str) -> None:
        """Put an instance of the store into quarantine. Raises OSError, DatabaseUnavailable."""
        try:
            row = self.repository.instance(stored.study_uid, stored.series_uid, stored.sop_instance_uid)
        except RowRefused:
            row = None
        has_row = row is not None and row.path == self.row_path(stored.path)
        keep_file(stored, reason, self.store, self.quarantine, has_row=has_row)

    def row_path(self, path: Path) -> Path:
        """A path of the store as rows keep it: relative to the data folder."""
        return self.folder.relative(self.store.absolute(path))

    def store_path(self, path: Path) -> Path:
        """The inverse of `row_path`."""
        return self.folder.absolute(path).relative_to(self.store.root)


# --- The loop ---------------------------------------------------------------------------------------------------------


def index_waiting(
    reader: JournalReader, receiver: Callable[[], Receiver], stop: threading.Event, *, gather_bytes: int = 0
) -> None:
    """Index what waits in the journal until `stop`, and then what is left, as far as it can be.

    While instances keep coming, up to `gather_bytes` of them are let wait for some seconds. `receiver` is called each
    time: it may need a database that is not there yet. While the database is away, or the disk full, the journal holds
    what comes in; it is tried again, less and less often, and the log is told once.
    """
    _let_receiving_go_first()
    pause_s, told = 0.0, ""
    while True:
        try:
            indexed = index_batch(reader, receiver())
            if told and indexed:
                log.info("indexing_goes_on", instances=indexed)
                pause_s, told = 0.0, ""
            if stop.is_set() and not indexed:
                return
            if indexed < AT_ONCE and not stop.is_set() and reader.wait(_LOOK_S):
                _gather(reader, gather_bytes)
        except Exception as error:
            why = _passing(error)
            if why != told:
                log.error("indexing_waits", reason=why)
                told = why
            pause_s = min(2 * pause_s or 0.25, _LONGEST_PAUSE_S)
            if stop.wait(pause_s):
                return


def _gather(reader: JournalReader, most_bytes: int) -> None:
    """Wait until nothing more comes for a moment, so much waits, or long enough."""
    until = time.monotonic() + _GATHER_S
    while True:
        time.sleep(_PAUSE_S)
        if not reader.wait(0) or time.monotonic() >= until or backlog(reader.folder).data_bytes >= most_bytes:
            return


def _let_receiving_go_first() -> None:
    """A sender waits for its answer, and nobody waits for a row: this thread, and those that it starts, stand back.

    Under SCHED_BATCH it does not take the processor from an acceptor just because that has woken it.
    """
    with suppress(OSError, AttributeError):  # not every system has them
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _passing(error: Exception) -> str:
    """Why indexing has to wait, as a sentence without values."""
    if isinstance(error, DatabaseUnavailable | StorageFull):
        return str(error)
    if isinstance(error, OSError):
        return f"a file cannot be written or read: {error.strerror or type(error).__name__}"
    return str(error) if isinstance(error, WorkflowError) else defect(error)


def index_batch(reader: JournalReader, receiver: Receiver) -> int:
    """Make files and rows of some of what waits in the journal; return how many instances it may forget now.

    Raises DatabaseUnavailable, StorageFull, OSError: none of them is lost, nor released.
    """
    entries = _different(reader.waiting(AT_ONCE))
    if not entries:
        return 0
    while True:
        try:
            index_entries(entries, receiver)
            break
        except StorageFull:  # some of them may fit, and what is done of them is done
            if len(entries) == 1:
                raise
            entries = entries[: len(entries) // 2]
    fault_point(FaultPoint.INDEXED)
    reader.release(entries)
    return len(entries)


def index_entries(entries: Sequence[Source], receiver: Receiver) -> None:
    """Index different instances, or set them aside, but for those that are own results."""
    own = receiver.own_results(
        [
            (one.instance.identifiers.sop_instance_uid, one.instance.identifiers.sop_class_uid, one.instance.header)
            for one in entries
        ]
    )
    for uid in sorted(own):
        log.info("own_result_ignored", sop_instance_uid=uid)
    wanted = [one for one in entries if one.instance.identifiers.sop_instance_uid not in own]
    # Another who finds a file IDENTICAL must not be told so just before this one discards it.
    with receiver.store.exclusive(*(one.instance.identifiers.sop_instance_uid for one in wanted)):
        stored = _placed(wanted, receiver)
        if indexed := index_or_set_aside(stored, receiver):
            log.info("instances_indexed", count=indexed, studies=sorted({one.study_uid for one in stored})[:_NAMED])


def _placed(entries: Sequence[Source], receiver: Receiver) -> list[StoredInstance]:
    """The instances as files of the store; those that cannot be are set aside. Raises StorageFull, OSError."""
    stored = []
    for entry, placed in zip(entries, receiver.store.place(entries), strict=True):
        if isinstance(placed, StoredInstance):
            stored.append(placed)
        elif isinstance(placed, StorageFull) or placed.errno in _PASSING:
            raise placed
        else:
            keep_entry(entry, f"it cannot be kept in the store: {_passing(placed)}", receiver.quarantine)
    return stored


def index_or_set_aside(stored: Sequence[StoredInstance], receiver: Receiver) -> int:
    """Index different instances; return how many. Where one is to blame for a failure, it alone is set aside.

    Raises DatabaseUnavailable and OSError, which no instance is to blame for.
    """
    if not stored:
        return 0
    try:
        receiver.index(stored)
    except (DatabaseUnavailable, OSError, MemoryError):
        raise
    except Exception as error:
        if len(stored) > 1:
            half = len(stored) // 2
            return index_or_set_aside(stored[:half], receiver) + index_or_set_aside(stored[half:], receiver)
        reason = str(error) if isinstance(error, WorkflowError) else defect(error)
        receiver.set_aside(stored[0], f"it cannot be indexed: {reason}")
        return 0
    return len(stored)


def _different(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """The entries before the first one whose instance comes again: what comes again may replace what came before."""
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        uid = entry.instance.identifiers.sop_instance_uid
        if uid in seen:
            return list(entries[:number])
        seen.add(uid)
    return list(entries)
