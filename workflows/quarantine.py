"""Quarantine: instances that were acknowledged and cannot be indexed, each a file with a note of why beside it.

    DATA_DIR/quarantine/DIGEST.dcm     the instance as it came
    DATA_DIR/quarantine/DIGEST.json    which one it is, who sent it, and the reason; no value of its header but UIDs
    DATA_DIR/quarantine/DIGEST.leaving an instance that is just being released

The folder is all there is, so an instance can be set aside though the database refuses it or is away. The same bytes
have the same name: to set them aside twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

__all__ = ["Quarantine", "QuarantinedInstance", "copy_of", "digest_of"]

_ID = 12
_FILE, _LEAVING = ".dcm", ".leaving"
_BLOCK = 1024 * 1024
_LOST_NOTE = "it was set aside, and the note that said why is gone"


@dataclass(frozen=True)
class QuarantinedInstance:
    """An instance that was set aside. `digest`: sha256 (hex) of its bytes, which names its file.

    UIDs are "" where they cannot be read. `reason`: what stood in the way; it repeats no value of the header.
    """

    digest: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    sop_class_uid: str
    calling_ae_title: str
    received_at: str
    reason: str
    bytes: int

    @property
    def identifier(self) -> str:
        """What commands call it."""
        return self.digest[:_ID]


class Quarantine:
    """Instances set aside under `folder`, which is made when the first one is. Several processes may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, instance: QuarantinedInstance, write: Callable[[BinaryIO], object]) -> None:
        """Set an instance aside; both files are on the disk when this returns. `write`: puts it into a file.

        Raises OSError; what it wrote by then does no harm.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self.folder.parent)
        self._write(self._file(instance.digest), write)
        self._write_note(instance)
        _sync(self.folder)

    def __len__(self) -> int:
        return sum(1 for _ in self._digests())

    def instances(self) -> list[QuarantinedInstance]:
        """All of them, the one received first at the top."""
        known = [instance for digest in self._digests() if (instance := self._read(digest)) is not None]
        return sorted(known, key=lambda instance: (instance.received_at, instance.digest))

    def find(self, identifier: str) -> QuarantinedInstance | None:
        """The instance with this ID, or with a digest that begins so; None: there is none, or several."""
        if len(identifier) < 4:
            return None
        digests = [digest for digest in self._digests() if digest.startswith(identifier)]
        return self._read(digests[0]) if len(digests) == 1 else None

    def path(self, instance: QuarantinedInstance) -> Path:
        """Its file."""
        file, leaving = self._file(instance.digest), self._leaving(instance.digest)
        return leaving if leaving.exists() and not file.exists() else file

    def discard(self, instance: QuarantinedInstance) -> None:
        """Remove an instance for good."""
        for path in (self._file(instance.digest), self._leaving(instance.digest), self._note(instance.digest)):
            path.unlink(missing_ok=True)
        _sync(self.folder)

    @contextmanager
    def leaving(self, instance: QuarantinedInstance) -> Iterator[Path]:
        """Its file, for a block that keeps it elsewhere. If that fails, or this process dies, it stays here.

        Under another name, so that the block may have it set aside again.
        """
        file, leaving = self._file(instance.digest), self._leaving(instance.digest)
        with suppress(FileNotFoundError):
            file.rename(leaving)
        self._note(instance.digest).unlink(missing_ok=True)
        try:
            yield leaving
        except BaseException:
            with suppress(FileNotFoundError):  # another releases it too, and was quicker
                leaving.rename(file)  # never a copy: the disk may be full
            with suppress(OSError):
                self._write_note(instance)
            raise
        leaving.unlink(missing_ok=True)

    def _read(self, digest: str) -> QuarantinedInstance | None:
        file, leaving, note = self._file(digest), self._leaving(digest), self._note(digest)
        try:
            there = (file if file.exists() else leaving).stat()
        except FileNotFoundError:
            return None
        size, written = there.st_size, there.st_mtime
        with suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(note.read_text(encoding="utf-8"))
            texts = {name: str(known[name]) for name in _TEXTS}
            return QuarantinedInstance(**texts, bytes=size)
        at = datetime.fromtimestamp(written).astimezone().isoformat()
        return QuarantinedInstance(digest, "", "", "", "", "", at, _LOST_NOTE, size)

    def _digests(self) -> Iterator[str]:
        if self.folder.is_dir():
            files = (file for file in self.folder.iterdir() if file.suffix in (_FILE, _LEAVING))
            yield from sorted({file.stem for file in files if not file.name.startswith(".")})

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}{_FILE}"

    def _leaving(self, digest: str) -> Path:
        return self.folder / f"{digest}{_LEAVING}"

    def _note(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"

    def _write_note(self, instance: QuarantinedInstance) -> None:
        note = json.dumps({"id": instance.identifier, **asdict(instance)}, indent=2) + "\n"
        self._write(self._note(instance.digest), lambda file: file.write(note.encode()))

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        part = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)


_TEXTS = (
    "digest",
    "sop_instance_uid",
    "study_uid",
    "series_uid",
    "sop_class_uid",
    "calling_ae_title",
    "received_at",
    "reason",
)


def digest_of(path: Path) -> str:
    """sha256 (hex) of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_of(path: Path) -> Callable[[BinaryIO], object]:
    """Puts a file's bytes into another: for `Quarantine.keep`."""

    def write(into: BinaryIO) -> None:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                into.write(block)

    return write


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
