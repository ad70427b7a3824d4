"""Control: how far a process has written each of its segments, and how far they are released; shared memory in a file.

    intake/PROCESS.control     locked (flock) by its process as long as it lives; 64 bytes, then a slot a segment
    slot                       64 bytes of the process: what is acknowledged; 64 of the reader: what of it is released

The file is never synced. Between processes of one machine it is exact. After a power cut it may be older than the
segments, never newer: records that it does not know are found by reading on, and what it does not know to be released
comes again, which changes nothing. Each half of a slot has a checksum, since another process may read it while it is
being written.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["CONTROL", "DAMAGED", "SEGMENT", "UNFINISHED", "Control", "Progress", "segment_files", "segment_name"]

CONTROL, SEGMENT, UNFINISHED, DAMAGED = ".control", ".segment", ".unfinished", ".damaged"
_SLOTS = 1024
_HEAD = struct.Struct("<8sQ")
_MAGIC = b"MSNCTRL1"
_SLOT_BYTES, _HALF = 128, 64
_FIRST_SLOT = 64
_SIZE = _FIRST_SLOT + _SLOTS * _SLOT_BYTES
_PROGRESS = struct.Struct("<QQQQQQ")
_CHECKSUM = struct.Struct("<L")
_LOOKS, _PAUSE_S = 100, 0.001


class Progress(NamedTuple):
    """How far a segment is written, or released. `number`: the segment's, from 1; 0: the slot is free.

    `records` of this epoch with data sets of `data_bytes` in all, the next record at `end`. `spent`: 1 if the
    segment takes no other record, so that its room can go once all is released.
    """

    number: int
    epoch: int
    records: int
    end: int
    data_bytes: int
    spent: int = 0


_NOTHING = Progress(0, 0, 0, 0, 0)


def segment_name(process: str, number: int) -> str:
    return f"{process}-{number}{SEGMENT}"


def segment_files(folder: Path) -> Iterator[tuple[tuple[str, int], int]]:
    """The segments in a folder: (process, number), and the file's size in bytes."""
    with os.scandir(folder) as entries:
        for entry in entries:
            process, separator, number = entry.name.removesuffix(SEGMENT).rpartition("-")
            if entry.name.endswith(SEGMENT) and separator and number.isdigit():
                with suppress(FileNotFoundError):
                    yield (process, int(number)), entry.stat().st_size


class Control:
    """One process's control file. `process`: its random name, which the names of its segments begin with."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.process = path, path.name.removesuffix(CONTROL)
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def create(cls, folder: Path) -> Control:
        """A new one, locked for this process. Raises OSError."""
        process = uuid.uuid4().hex[:16]
        path, unfinished = folder / (process + CONTROL), folder / (process + UNFINISHED)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Locked before it has the name by which others know it: nobody sees it without its process.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, _SIZE)
            control = cls(path, descriptor)
            _HEAD.pack_into(control._memory, 0, _MAGIC, 0)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return control

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Control:
        """Another process's, which may have died; one that a power cut left empty knows nothing. Raises OSError.

        `create`: make it anew where a power cut took it altogether.
        """
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                os.posix_fallocate(descriptor, 0, _SIZE)
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Give it up; the lock goes with it."""
        self._memory.close()
        os.close(self._descriptor)

    def is_alive(self) -> bool:
        """Whether the process that made it lives; asked by others."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def slots(self) -> Iterator[tuple[int, Progress, Progress]]:
        """Each slot in use, what is acknowledged in its segment, and what of that is released."""
        magic, used = _HEAD.unpack_from(self._memory)
        for slot in range(min(used, _SLOTS) if magic == _MAGIC else 0):
            acknowledged = self.acknowledged(slot)
            if acknowledged.number:
                yield slot, acknowledged, self.released(slot, acknowledged)

    def acknowledged(self, slot: int) -> Progress:
        return self._read(_FIRST_SLOT + slot * _SLOT_BYTES)

    def released(self, slot: int, acknowledged: Progress) -> Progress:
        """What of this is released. Nothing, if the slot's last word is about another segment or epoch."""
        released = self._read(_FIRST_SLOT + slot * _SLOT_BYTES + _HALF)
        return released if released[:2] == acknowledged[:2] else Progress(*acknowledged[:2], 0, 0, 0)

    def acknowledge(self, slot: int, progress: Progress) -> None:
        self._write(_FIRST_SLOT + slot * _SLOT_BYTES, progress)

    def release(self, slot: int, progress: Progress) -> None:
        self._write(_FIRST_SLOT + slot * _SLOT_BYTES + _HALF, progress)

    def take_slot(self, progress: Progress) -> int | None:
        """A free slot for a new segment; None: there is none."""
        _magic, used = _HEAD.unpack_from(self._memory)
        slot = next((number for number in range(used) if not self.acknowledged(number).number), used)
        if slot == _SLOTS:
            return None
        self.acknowledge(slot, progress)
        _HEAD.pack_into(self._memory, 0, _MAGIC, max(used, slot + 1))
        return slot

    def free_slot(self, slot: int) -> None:
        self.acknowledge(slot, _NOTHING)

    def _write(self, at: int, progress: Progress) -> None:
        encoded = _PROGRESS.pack(*progress)
        self._memory[at : at + _PROGRESS.size + _CHECKSUM.size] = encoded + _CHECKSUM.pack(zlib.crc32(encoded))

    def _read(self, at: int) -> Progress:
        """A half of a slot; what a dead process or a power cut left half written says nothing."""
        for _ in range(_LOOKS):
            half = self._memory[at : at + _PROGRESS.size + _CHECKSUM.size]
            encoded = half[: _PROGRESS.size]
            if zlib.crc32(encoded) == _CHECKSUM.unpack_from(half, _PROGRESS.size)[0]:
                return Progress(*_PROGRESS.unpack(encoded))
            if not any(half):
                break
            time.sleep(_PAUSE_S)
        return _NOTHING
