"""Segment: a file of the journal as its process writes it, one record after the other, and never in two at once."""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.storage.control import Control, Progress
from dicom_node.storage.files import copy_range, sync_directory, write_all
from dicom_node.storage.records import FIRST_RECORD, PAGE, RecordHead, aligned, segment_page

__all__ = ["Segment"]

_ZEROS = bytes(1024 * 1024)
_HEAD_BYTES = 32 * 1024


class Segment:
    """A pre-zeroed file of `capacity` bytes: writing in it changes no metadata, so that a sync is the data's alone.

    Not for two threads at once. `spent`: it was made longer for one large instance, or a
    sync of it failed; it takes no other record, and is removed when all in it is released.
    """

    def __init__(self, path: Path, descriptor: int, identity: bytes, control: Control, slot: int, number: int) -> None:
        self.path, self._descriptor, self._identity = path, descriptor, identity
        self._control, self.slot = control, slot
        self.capacity = os.fstat(descriptor).st_size
        self.acknowledged = Progress(number, 1, 0, FIRST_RECORD, 0)
        self.spent = False
        self._at = self._data_start
        self.head = b""
        """How the data set begins, kept in memory: the header of most images lies within."""
        self._tail = bytearray()
        """What has come since the last whole page: partial pages would have to be read before they are written."""

    @classmethod
    def create(cls, path: Path, capacity: int, control: Control, slot: int, number: int) -> Segment:
        """A new one, zeroed, synced, and named in its synced folder. Raises OSError; nothing is then left behind."""
        unfinished = path.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, capacity)
            for start in range(0, capacity, len(_ZEROS)):
                write_all(descriptor, [_ZEROS[: capacity - start]], start)
            identity = os.urandom(16)
            write_all(descriptor, [segment_page(identity)], 0)
            os.fsync(descriptor)
            unfinished.rename(path)
            sync_directory(path.parent)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return cls(path, descriptor, identity, control, slot, number)

    @property
    def room(self) -> int:
        """Bytes that the next record may take, its own page included."""
        return self.capacity - self.acknowledged.end

    @property
    def is_released(self) -> bool:
        """Whether nothing in it is waiting any more."""
        return self._control.released(self.slot, self.acknowledged).records == self.acknowledged.records

    @property
    def is_empty(self) -> bool:
        return self.acknowledged.records == 0

    @property
    def size(self) -> int:
        """Bytes of the data set that were taken so far."""
        return self._at - self._data_start + len(self._tail)

    @property
    def _data_start(self) -> int:
        return self.acknowledged.end + PAGE

    def use_again(self) -> None:
        """Begin a new epoch; everything in it must be released."""
        number, epoch = self.acknowledged[:2]
        self.acknowledged = Progress(number, epoch + 1, 0, FIRST_RECORD, 0)
        self._control.acknowledge(self.slot, self.acknowledged)
        self.begin()

    def begin(self) -> None:
        """Begin the next record, where an abandoned one may have begun before."""
        self._at = self._data_start
        self.head = b""
        self._tail.clear()

    def fits(self, more: int) -> bool:
        """Whether so many bytes of data set and details still fit."""
        return aligned(self._at + len(self._tail) + more) <= self.capacity

    def append(self, fragment: memoryview) -> None:
        """Write the next bytes of the data set, which must fit. Raises OSError."""
        if len(self.head) < _HEAD_BYTES:
            self.head += fragment[: _HEAD_BYTES - len(self.head)]
        whole = (len(self._tail) + len(fragment)) // PAGE * PAGE
        if whole == 0:
            self._tail += fragment
            return
        cut = whole - len(self._tail)
        write_all(self._descriptor, [self._tail, fragment[:cut]], self._at)
        self._at += whole
        self._tail = bytearray(fragment[cut:])

    def take_over(self, other: Segment) -> None:
        """Begin with what the record that `other` has begun holds so far; grows where needed. Raises OSError."""
        self.begin()
        if not self.fits(other.size):
            self.grow(other.size)
        start, end = other._data_start, other._at
        copy_range(other._descriptor, start, end - start, self._descriptor, self._at)
        self._at += end - start
        self.head, self._tail = other.head, bytearray(other._tail)

    def grow(self, more: int) -> None:
        """Make the file longer, so that a record fits that no segment holds. Raises OSError."""
        os.posix_fallocate(self._descriptor, self.capacity, more)
        self.capacity += more
        self.spent = True

    def contents(self) -> bytes | mmap.mmap:
        """The data set, mapped, to be closed by the caller. Raises OSError."""
        if not self.size:
            return b""
        write_all(self._descriptor, [self._tail], self._at)
        return mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ, offset=self._data_start)

    def commit(self, details: bytes, digest: bytes) -> int:
        """End the record, which must fit, and sync it; returns the size of its data set in bytes.

        Raises OSError; the record is then none, and no other may be written behind it: see `retire`.
        """
        number, epoch, count, start, data_bytes, _spent = self.acknowledged
        head = RecordHead(start, self._identity, epoch, count, self.size, datetime.now(UTC), len(details), digest)
        behind = aligned(head.details_start + len(details)) - self._at
        write_all(self._descriptor, [(bytes(self._tail) + details).ljust(behind, b"\0")], self._at)
        write_all(self._descriptor, [head.page(details)], start)
        fault_point(FaultPoint.WRITTEN)
        os.fdatasync(self._descriptor)
        fault_point(FaultPoint.SYNCED)
        if not os.fstat(self._descriptor).st_nlink:  # somebody has removed the file: no reader will find it
            raise FileNotFoundError(errno.ENOENT, "the journal's segment was removed", str(self.path))
        self.acknowledged = Progress(number, epoch, count + 1, head.end, data_bytes + head.size, int(self.spent))
        self._control.acknowledge(self.slot, self.acknowledged)
        self.begin()
        return head.size

    def retire(self) -> None:
        """Take no more records: after a failed sync nobody knows what the disk holds behind the last whole one."""
        with suppress(OSError):
            write_all(self._descriptor, [bytes(PAGE)], self.acknowledged.end)
        self.capacity = self.acknowledged.end
        self.spent = True
        self.acknowledged = self.acknowledged._replace(spent=1)
        self._control.acknowledge(self.slot, self.acknowledged)

    def close(self) -> None:
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the file and give its slot back; nothing in it may be waiting."""
        self.path.unlink(missing_ok=True)
        self._control.free_slot(self.slot)
        self.close()
