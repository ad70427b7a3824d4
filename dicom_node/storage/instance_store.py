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

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock

import structlog
from pydicom.dataset import Dataset

from dicom_node.errors import IdentifierMismatch, StorageFull, UnparseableInstance
from dicom_node.headers.elements import read_data_set_header, read_file_header, text
from dicom_node.headers.instance import INSTANCE_KEYWORDS, InstanceIdentifiers, checked_identifiers, instance_header
from dicom_node.storage.instance import InspectedInstance, ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.part10 import data_set_offset, part10_prefix

__all__ = ["InstanceStore"]

_INCOMING = ".incoming"
_LOCKS = ".locks"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK = 1024 * 1024

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
        header = read_data_set_header(BytesIO(received.data_set), received.transfer_syntax_uid, INSTANCE_KEYWORDS)
        return InspectedInstance(
            received=received,
            identifiers=_agreed_identifiers(header, received),
            header=instance_header(header),
            digest=hashlib.sha256(received.data_set).hexdigest(),
        )

    def write(self, inspected: InspectedInstance) -> StoredInstance:
        """Keep an instance as it came: synced, in its place, its directories synced.

        Raises StorageFull; nothing is then left behind.
        """
        received, identifiers, digest = inspected.received, inspected.identifiers, inspected.digest
        prefix = part10_prefix(received)
        self._check_room(len(prefix) + len(received.data_set))
        try:
            path, outcome = self._place(identifiers, digest, prefix, received.data_set)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFull(f"no room left under {self.root}: {error.strerror}") from error
            raise
        return StoredInstance(
            study_uid=identifiers.study_uid,
            series_uid=identifiers.series_uid,
            sop_instance_uid=identifiers.sop_instance_uid,
            sop_class_uid=identifiers.sop_class_uid,
            transfer_syntax_uid=received.transfer_syntax_uid,
            path=path.relative_to(self.root),
            size=path.stat().st_size,
            digest=digest,
            outcome=outcome,
            calling_ae_title=received.calling_ae_title,
            called_ae_title=received.called_ae_title,
            peer_address=received.peer_address,
            header=inspected.header,
        )

    @contextmanager
    def exclusive(self, sop_instance_uid: str) -> Iterator[None]:
        """Keep other threads and processes from writing, indexing and discarding this instance at the same time.

        Without it, a file that one finds IDENTICAL may be one that another has just replaced and is about to discard.
        """
        stripe = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:2]
        descriptor = os.open(self._locks / stripe, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

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
            _sync_directory(absolute.parent)

    def _check_room(self, size: int) -> None:
        status = os.statvfs(self.root)
        free = status.f_bavail * status.f_frsize
        if free - size < self._minimum_free_bytes:
            raise StorageFull(
                f"{free} bytes are free under {self.root}, fewer than the {self._minimum_free_bytes} to keep free"
            )

    def _place(
        self, identifiers: InstanceIdentifiers, digest: str, prefix: bytes, data_set: bytes
    ) -> tuple[Path, WriteOutcome]:
        """Bring the bytes to their name without ever replacing a file."""
        directory = self.root / identifiers.study_uid / identifiers.series_uid
        self._make_durable(directory)
        plain = directory / f"{identifiers.sop_instance_uid}.dcm"
        beside = directory / f"{identifiers.sop_instance_uid}.{digest}.dcm"
        for existing in (plain, beside):
            if _holds(existing, data_set):
                # Its writer may have died before it synced the directory.
                _sync_directory(directory)
                return existing, WriteOutcome.IDENTICAL
        with self._incoming_file(prefix, data_set) as written:
            # A link fails where a rename would replace, also when another process is the faster.
            for target, outcome in ((plain, WriteOutcome.NEW), (beside, WriteOutcome.CHANGED)):
                try:
                    os.link(written, target)
                except FileExistsError:
                    if not _holds(target, data_set):
                        continue
                    outcome = WriteOutcome.IDENTICAL
                _sync_directory(directory)
                return target, outcome
        raise FileExistsError(errno.EEXIST, "is there, and is not what its name says", str(beside))

    @contextmanager
    def _incoming_file(self, prefix: bytes, data_set: bytes) -> Iterator[Path]:
        """A synced file under another name; that name is gone afterwards."""
        path = self._incoming / f"{uuid.uuid4().hex}.part"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Held until the file is closed, by the kernel and so also through a kill: see remove_leftovers.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part in (prefix, data_set):
                remaining = memoryview(part)
                while remaining:
                    remaining = remaining[os.write(descriptor, remaining) :]
            os.fsync(descriptor)
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _make_durable(self, directory: Path) -> None:
        """Make the study's and the series' directory and sync the entries that lead there."""
        with self._durable_lock:
            if directory in self._durable and directory.is_dir():
                return
            for made in (directory.parent, directory):
                made.mkdir(mode=0o700, exist_ok=True)
                _sync_directory(made.parent)
            if len(self._durable) > 10_000:
                self._durable.clear()
            self._durable.add(directory)


def _agreed_identifiers(header: Dataset, received: ReceivedInstance) -> InstanceIdentifiers:
    """The data set's identifiers, if they agree with the command's; raises IdentifierMismatch naming which does not."""
    identifiers = checked_identifiers(header)
    for name, in_data_set, in_command in (
        ("SOP Instance UID", identifiers.sop_instance_uid, received.sop_instance_uid),
        ("SOP Class UID", identifiers.sop_class_uid, received.sop_class_uid),
    ):
        if in_data_set != in_command:
            raise IdentifierMismatch(f"{name} is {in_data_set} in the data set, {in_command[:64]} in the command")
    return identifiers


def _holds(path: Path, data_set: bytes) -> bool:
    """Whether the file is there with exactly this data set, whatever its file meta says."""
    try:
        with path.open("rb") as file:
            offset = data_set_offset(file)
            if os.fstat(file.fileno()).st_size - offset != len(data_set):
                return False
            file.seek(offset)
            expected = memoryview(data_set)
            return all(
                file.read(_CHUNK) == expected[start : start + _CHUNK] for start in range(0, len(data_set), _CHUNK)
            )
    except (FileNotFoundError, UnparseableInstance):
        return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
