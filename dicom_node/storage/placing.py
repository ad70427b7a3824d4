"""Placing: a batch of instances becomes files, with as few waits for the disk as the batch allows.

Each is written under another name; all are synced; each is linked to its place, which never replaces a
file; then each folder is synced once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_node.errors import StorageFull, UnparseableInstance
from dicom_node.headers.instance import InstanceHeader, InstanceIdentifiers
from dicom_node.storage.files import NO_ROOM, sync_directory, sync_file_system, write_all
from dicom_node.storage.instance import InspectedInstance, ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.part10 import data_set_offset, part10_prefix
from dicom_node.storage.sink import StoreRequest

__all__ = ["InspectedSource", "Placing", "Refusal", "Source"]

_BLOCK = 1024 * 1024
_FEW = 2

Refusal = StorageFull | OSError
"""Why an instance could not be placed."""


class Described(Protocol):
    """What is known of an instance that is to be placed: an AcknowledgedInstance, or one like it."""

    @property
    def request(self) -> StoreRequest | ReceivedInstance: ...
    @property
    def identifiers(self) -> InstanceIdentifiers: ...
    @property
    def header(self) -> InstanceHeader: ...
    @property
    def digest(self) -> str: ...


class Source(Protocol):
    """An instance that is to be placed, with a way to its data set: a JournalEntry, or one like it."""

    @property
    def instance(self) -> Described: ...
    @property
    def size(self) -> int: ...
    def copy_to(self, descriptor: int, start: int = 0) -> None: ...
    def blocks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class InspectedSource:
    """An instance that is in memory."""

    inspected: InspectedInstance

    @property
    def instance(self) -> InspectedSource:
        return self

    @property
    def request(self) -> ReceivedInstance:
        return self.inspected.received

    @property
    def identifiers(self) -> InstanceIdentifiers:
        return self.inspected.identifiers

    @property
    def header(self) -> InstanceHeader:
        return self.inspected.header

    @property
    def digest(self) -> str:
        return self.inspected.digest

    @property
    def size(self) -> int:
        return len(self.request.data_set)

    def copy_to(self, descriptor: int, start: int = 0) -> None:
        write_all(descriptor, [self.request.data_set], start)

    def blocks(self) -> Iterator[bytes]:
        data_set = self.request.data_set
        for start in range(0, len(data_set), _BLOCK):
            yield data_set[start : start + _BLOCK]


@dataclass
class _File:
    """One instance of the batch, on its way to its place."""

    source: Source
    incoming: Path | None = None
    descriptor: int = -1
    places: tuple[Path, Path] | None = None
    target: Path | None = None
    outcome: WriteOutcome = WriteOutcome.IDENTICAL
    error: Refusal | None = None


class Placing:
    """Places one batch under `root`; `make_durable` makes a series' folder and syncs the names that lead there."""

    def __init__(self, root: Path, incoming: Path, make_durable: Callable[[Path], None]) -> None:
        self._root, self._incoming, self._make_durable = root, incoming, make_durable
        self._directories: dict[tuple[str, str], Path] = {}

    def place(self, sources: Sequence[Source]) -> list[StoredInstance | Refusal]:
        """What each came to: stored, or the error that kept it from that."""
        files = [_File(source) for source in sources]
        try:
            for file in files:
                self._attempt(self._write, file)
            self._sync_all([file for file in files if file.descriptor >= 0])
            for file in files:
                self._attempt(self._link, file)
            self._sync_directories(files)
            return [self._outcome(file) for file in files]
        finally:
            for file in files:
                self._clear_away(file)

    def _attempt(self, step: Callable[[_File], None], file: _File) -> None:
        """A step for one file, unless it has failed before or lies in its place."""
        if file.error is not None or file.target is not None:
            return
        try:
            step(file)
        except OSError as error:
            file.error = self._told(error)
        except EOFError as error:
            file.error = OSError(errno.EIO, str(error))

    def _told(self, error: OSError) -> Refusal:
        if error.errno not in NO_ROOM:
            return error
        full = StorageFull(f"no room left under {self._root}: {error.strerror}")
        full.__cause__ = error
        return full

    def _write(self, file: _File) -> None:
        """Write the file under another name, unless this very data set lies in its place already."""
        for place in self._places(file):
            if _holds(place, file.source):
                file.target = place  # its writer may have died before it synced the directory
                return
        prefix = part10_prefix(file.source.instance.request)
        file.incoming = self._incoming / f"{uuid.uuid4().hex}.part"
        file.descriptor = os.open(file.incoming, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Held until the file is closed, by the kernel and so also through a kill: see remove_leftovers.
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_all(file.descriptor, [prefix], 0)
        file.source.copy_to(file.descriptor, len(prefix))

    def _sync_all(self, files: Sequence[_File]) -> None:
        """Sync the files: by one sync of their file system, which waits for the disk once; a few each by itself."""
        if len(files) > _FEW:
            try:
                sync_file_system(self._incoming)
            except OSError as error:
                for file in files:
                    file.error = self._told(error)
        else:
            for file in files:
                self._attempt(self._sync, file)

    def _sync(self, file: _File) -> None:
        os.fsync(file.descriptor)

    def _link(self, file: _File) -> None:
        assert file.incoming is not None
        # A link fails where a rename would replace, also when another process is the faster.
        for place, outcome in zip(self._places(file), (WriteOutcome.NEW, WriteOutcome.CHANGED), strict=True):
            try:
                os.link(file.incoming, place)
            except FileExistsError:
                if not _holds(place, file.source):
                    continue
                outcome = WriteOutcome.IDENTICAL
            file.target, file.outcome = place, outcome
            return
        raise FileExistsError(errno.EEXIST, "is there, and is not what its name says", str(self._places(file)[1]))

    def _places(self, file: _File) -> tuple[Path, Path]:
        """Where the first data set of this SOP Instance UID lies, and where this one lies beside another."""
        if file.places is None:
            instance = file.source.instance
            uid, directory = instance.identifiers.sop_instance_uid, self._directory(instance.identifiers)
            file.places = directory / f"{uid}.dcm", directory / f"{uid}.{instance.digest}.dcm"
        return file.places

    def _directory(self, identifiers: InstanceIdentifiers) -> Path:
        """A series' folder, made and its name synced once for the batch."""
        key = identifiers.study_uid, identifiers.series_uid
        if key not in self._directories:
            directory = self._root / identifiers.study_uid / identifiers.series_uid
            self._make_durable(directory)
            self._directories[key] = directory
        return self._directories[key]

    def _sync_directories(self, files: Sequence[_File]) -> None:
        for directory in {file.target.parent for file in files if file.target is not None}:
            try:
                sync_directory(directory)
            except OSError as error:
                for file in files:
                    if file.target is not None and file.target.parent == directory:
                        file.error = self._told(error)

    def _outcome(self, file: _File) -> StoredInstance | Refusal:
        if file.error is not None:
            return file.error
        assert file.target is not None
        instance = file.source.instance
        return StoredInstance(
            study_uid=instance.identifiers.study_uid,
            series_uid=instance.identifiers.series_uid,
            sop_instance_uid=instance.identifiers.sop_instance_uid,
            sop_class_uid=instance.identifiers.sop_class_uid,
            transfer_syntax_uid=instance.request.transfer_syntax_uid,
            path=file.target.relative_to(self._root),
            size=file.target.stat().st_size,
            digest=instance.digest,
            outcome=file.outcome,
            calling_ae_title=instance.request.calling_ae_title,
            called_ae_title=instance.request.called_ae_title,
            peer_address=instance.request.peer_address,
            header=instance.header,
        )

    def _clear_away(self, file: _File) -> None:
        if file.incoming is not None:
            with suppress(OSError):
                file.incoming.unlink(missing_ok=True)
        if file.descriptor >= 0:
            os.close(file.descriptor)


def _holds(path: Path, source: Source) -> bool:
    """Whether the file is there with exactly this data set, whatever its file meta says."""
    try:
        with path.open("rb") as file:
            offset = data_set_offset(file)
            if os.fstat(file.fileno()).st_size - offset != source.size:
                return False
            file.seek(offset)
            return all(file.read(len(block)) == block for block in source.blocks())
    except (FileNotFoundError, UnparseableInstance):
        return False
