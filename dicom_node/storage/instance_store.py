"""InstanceStore: instances as files that survive a crash.

    root/study/series/instance.dcm             the first data set that came with this SOP Instance UID
    root/study/series/instance.<digest>.dcm    any other that came later with the same UID
    root/.incoming/<random>.part               being written
    root/.locks/00 to ff                       see InstanceStore.exclusive

No file is ever overwritten, so a row always points at the bytes it was made from: an instance that comes back changed
lies beside the earlier one until its own row is committed, and a crash in between loses neither. Which of several files
is the current one is for the rows to say. An instance whose file is in place but whose row never came was not
acknowledged: its sender sends it again, and it is IDENTICAL.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

import structlog

from dicom_node.errors import IdentifierMismatch, StorageFull
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.instance import INSTANCE_KEYWORDS, checked_identifiers, instance_header
from dicom_node.storage.files import sync_directory
from dicom_node.storage.inspection import inspect_data_set
from dicom_node.storage.instance import InspectedInstance, ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.part10 import data_set_offset
from dicom_node.storage.placing import InspectedSource, Placing, Refusal, Source

__all__ = ["InstanceStore"]

_INCOMING = ".incoming"
_LOCKS = ".locks"
_BATCH = 128
"""So many files are open at once."""

_log = structlog.get_logger()


class InstanceStore:
    """Instances under `root` (mode 0700); `inspect` looks at one, and what `write` returned is on the disk.

    `minimum_free_bytes`: room that is left to the rest of the node; below it instances are refused with StorageFull.
    Any number of threads and processes may write at once.
    """

    def __init__(self, root: Path, *, minimum_free_bytes: int = 512 * 1024 * 1024) -> None:
        self.root = root
        self._minimum_free_bytes = minimum_free_bytes
        self._durable: set[Path] = set()
        self._durable_lock = Lock()
        self._incoming = root / _INCOMING
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        self._locks = root / _LOCKS
        self._locks.mkdir(mode=0o700, exist_ok=True)

    def inspect(self, received: ReceivedInstance) -> InspectedInstance:
        """Parse and check an instance, and write nothing, so that a caller can decide whether to keep it.

        Raises UnparseableInstance for bytes that are no data set, and IdentifierMismatch for UIDs that are missing,
        malformed or other than the C-STORE command's (PS3.4 B.2.3).
        """
        identifiers, header = inspect_data_set(received.data_set, received)
        return InspectedInstance(
            received=received,
            identifiers=identifiers,
            header=header,
            digest=hashlib.sha256(received.data_set).hexdigest(),
        )

    def write(self, inspected: InspectedInstance) -> StoredInstance:
        """Keep an instance as it came: synced, in its place, its directories synced.

        Raises StorageFull; nothing is then left behind.
        """
        self._check_room(len(inspected.received.data_set))
        (placed,) = self.place([InspectedSource(inspected)])
        if isinstance(placed, Exception):
            raise placed
        return placed

    def place(self, entries: Sequence[Source]) -> list[StoredInstance | Refusal]:
        """Make instances of the journal files: written, synced together, in their places, their directories synced.

        What each came to, in the order of the entries: the stored instance, or the error that kept it from being one;
        no error of one keeps the others. Room is not looked at beforehand: what is acknowledged is kept while there is
        any. Hold `exclusive` for all of them until their rows are committed.
        """
        placed: list[StoredInstance | Refusal] = []
        for start in range(0, len(entries), _BATCH):
            placing = Placing(self.root, self._incoming, self._make_durable)
            placed += placing.place(entries[start : start + _BATCH])
        return placed

    @contextmanager
    def exclusive(self, *sop_instance_uids: str) -> Iterator[None]:
        """Keep other threads and processes from writing, indexing and discarding these instances at the same time.

        Without it, a file that one finds IDENTICAL may be one that another has just replaced and is about to discard.
        """
        stripes = {hashlib.sha256(uid.encode()).hexdigest()[:2] for uid in sop_instance_uids}
        with ExitStack() as held:
            for stripe in sorted(stripes):  # in one order, so that two who want several never wait for each other
                descriptor = os.open(self._locks / stripe, os.O_RDWR | os.O_CREAT, 0o600)
                held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def absolute(self, path: Path) -> Path:
        """Where a StoredInstance's relative path lies."""
        return self.root / path

    def read(self, path: Path) -> StoredInstance:
        """Describe a file of the store (relative path) as `write` did, from the file alone; for rows that were lost.

        The outcome is IDENTICAL. Raises UnparseableInstance or IdentifierMismatch if it is not what it was, OSError if
        it cannot be read.
        """
        absolute = self.absolute(path)
        meta, header = read_file_header(absolute, INSTANCE_KEYWORDS)
        identifiers = checked_identifiers(header)
        if path.parts[:2] != (identifiers.study_uid, identifiers.series_uid):
            raise IdentifierMismatch(f"{path}: lies under another study or series than its own")
        with absolute.open("rb") as file:
            file.seek(data_set_offset(file))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredInstance(
            study_uid=identifiers.study_uid,
            series_uid=identifiers.series_uid,
            sop_instance_uid=identifiers.sop_instance_uid,
            sop_class_uid=identifiers.sop_class_uid,
            transfer_syntax_uid=text(meta, "TransferSyntaxUID"),
            path=path,
            size=absolute.stat().st_size,
            digest=digest,
            outcome=WriteOutcome.IDENTICAL,
            calling_ae_title=text(meta, "SendingApplicationEntityTitle"),
            called_ae_title=text(meta, "ReceivingApplicationEntityTitle"),
            peer_address=text(meta, "SourcePresentationAddress").removeprefix("dicom://"),
            header=instance_header(header),
        )

    def remove_leftovers(self) -> None:
        """Remove what interrupted writes left. A file that another thread or process is just writing stays."""
        for leftover in self._incoming.iterdir():
            if _remove_if_abandoned(leftover):
                _log.info("incoming_leftover_removed", name=leftover.name)

    def study_uids(self) -> Iterator[str]:
        """The Study Instance UID of every study that has a directory, sorted; its files may all be gone."""
        with os.scandir(self.root) as entries:
            studies = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        yield from sorted(studies)

    def files_of(self, study_uid: str) -> tuple[Path, ...]:
        """Every file of a study that is in its place, sorted, relative to the root; () for a study that is not there.

        So a caller can go through the store study by study without holding the paths of all.
        """
        return tuple(file.relative_to(self.root) for file in sorted((self.root / study_uid).glob("*/*.dcm")))

    def discard(self, path: Path) -> None:
        """Remove a file (relative path) that no row needs any more; one that is gone already is no error."""
        absolute = self.absolute(path)
        absolute.unlink(missing_ok=True)
        if absolute.parent.is_dir():
            sync_directory(absolute.parent)

    def _check_room(self, size: int) -> None:
        status = os.statvfs(self.root)
        free = status.f_bavail * status.f_frsize
        if free - size < self._minimum_free_bytes:
            raise StorageFull(
                f"{free} bytes are free under {self.root}, fewer than the {self._minimum_free_bytes} to keep free"
            )

    def _make_durable(self, directory: Path) -> None:
        """Make the study's and the series' directory and sync the entries that lead there."""
        with self._durable_lock:
            if directory in self._durable and directory.is_dir():
                return
            for made in (directory.parent, directory):
                made.mkdir(mode=0o700, exist_ok=True)
                sync_directory(made.parent)
            if len(self._durable) > 10_000:
                self._durable.clear()
            self._durable.add(directory)


def _remove_if_abandoned(path: Path) -> bool:
    """Remove a file under .incoming that nobody has locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
