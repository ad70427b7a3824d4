"""JournalEntry: an instance that waits in the journal; and the segment that it waits in, as its reader has it open."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.storage.control import Control, Progress
from dicom_node.storage.files import copy_range
from dicom_node.storage.records import (
    FIRST_RECORD,
    PAGE,
    RecordHead,
    blocks_of,
    is_whole,
    read_head,
    read_instance,
    read_segment_identity,
)
from dicom_node.storage.sink import AcknowledgedInstance

__all__ = ["JournalEntry", "OpenSegment"]

_log = structlog.get_logger()


@dataclass(frozen=True)
class JournalEntry:
    """An instance that is acknowledged and has no row. Its data can be read until it is released."""

    instance: AcknowledgedInstance
    head: RecordHead = field(repr=False)
    segment: OpenSegment = field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """Bytes of the data set."""
        return self.head.size

    def copy_to(self, descriptor: int, start: int = 0) -> None:
        """Copy the data set into a file, from `start` on, inside the kernel. Raises OSError, EOFError."""
        copy_range(self.segment.descriptor, self.head.data_start, self.head.size, descriptor, start)

    def read(self, start: int, size: int) -> bytes:
        """At most so many bytes of the data set from `start` on. Raises OSError."""
        within = max(0, min(size, self.head.size - start))
        return os.pread(self.segment.descriptor, within, self.head.data_start + start)

    def blocks(self) -> Iterator[bytes]:
        """The data set in blocks of at most 1 MiB. Raises OSError."""
        return blocks_of(self.segment.descriptor, self.head.data_start, self.head.size)


class OpenSegment:
    """A segment of any process. `waiting`: its records that were read and are not released, in their order.

    `ended`: its process is dead and it was read to its end. `damaged`: a record that was acknowledged is not what it
    was.
    """

    def __init__(self, path: Path, number: int, control: Control) -> None:
        self.path, self._control = path, control
        self.descriptor = os.open(path, os.O_RDWR)
        self._identity = read_segment_identity(self.descriptor)
        self.waiting: deque[JournalEntry] = deque()
        self.ended = self.damaged = False
        self._slot: int | None = None
        self._read_to = Progress(number, 0, 0, FIRST_RECORD, 0)

    def close(self) -> None:
        os.close(self.descriptor)

    def read(self, limit: int, slot: int | None, acknowledged: Progress | None, *, alive: bool) -> None:
        """Have up to `limit` records waiting. `acknowledged`: what the process has said of it, in its `slot`.

        A live process is believed. A dead one may not have come to say it, or a power cut took what it said: then its
        records are read on, up to the first that is not whole. Raises OSError.
        """
        if self._identity is None or (acknowledged is None and alive):
            self.ended = not alive
            return
        known = acknowledged if alive and acknowledged is not None else self._known_of_dead(acknowledged)
        self._slot = slot
        if self._read_to.epoch != known.epoch:
            self._begin(known)
        while len(self.waiting) < limit and not self.ended and (not alive or self._read_to.records < known.records):
            self._read_next(known, alive)
        self._settle(known)

    def release(self, entries: Iterable[JournalEntry]) -> None:
        """Forget entries; those that were released already are no error."""
        released = {id(entry) for entry in entries}
        self.waiting = deque(entry for entry in self.waiting if id(entry) not in released)
        if self._slot is not None:
            self._settle(self._control.acknowledged(self._slot))

    def _known_of_dead(self, acknowledged: Progress | None) -> Progress:
        """What its process said of it, or that it has begun an epoch of which it did not come to say anything."""
        number, epoch = self._read_to.number, 0 if acknowledged is None else acknowledged.epoch
        first = self._head_at(FIRST_RECORD)
        if first is not None and first[0].epoch > epoch:
            return Progress(number, first[0].epoch, 0, FIRST_RECORD, 0)
        return Progress(number, epoch, 0, FIRST_RECORD, 0) if acknowledged is None else acknowledged

    def _begin(self, known: Progress) -> None:
        """Go to the first record of an epoch that is not released."""
        released = None if self._slot is None else self._control.released(self._slot, known)
        self._read_to = (
            released if released is not None and released.records else Progress(*known[:2], 0, FIRST_RECORD, 0)
        )
        self.waiting.clear()

    def _read_next(self, known: Progress, alive: bool) -> None:
        number, epoch, count, end, data_bytes, _spent = self._read_to
        head, instance = self._record_at(end, epoch, count, check=not alive)
        if head is not None and instance is not None:
            self.waiting.append(JournalEntry(instance, head, self))
            self._read_to = Progress(number, epoch, count + 1, head.end, data_bytes + head.size)
        elif count >= known.records or known.epoch != epoch:
            self.ended = True
        else:
            self._pass_over_damage(known)

    def _record_at(
        self, start: int, epoch: int, number: int, *, check: bool
    ) -> tuple[RecordHead | None, AcknowledgedInstance | None]:
        """The record at `start`, if it is this one and whole; (None, None) otherwise."""
        try:
            found = self._head_at(start)
            if found is None or (found[0].epoch, found[0].number) != (epoch, number):
                return None, None
            instance = read_instance(self.descriptor, *found)
            if instance is None or (check and not is_whole(self.descriptor, found[0])):
                return None, None
            return found[0], instance
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None, None

    def _pass_over_damage(self, known: Progress) -> None:
        """Go to the next record that begins; this one was acknowledged, and the disk has not kept it."""
        number, epoch, count, end, data_bytes, _spent = self._read_to
        self.damaged = True
        _log.error("journal_record_damaged", segment=self.path.name, record=count, offset=end)
        self._read_to = known
        for start in range(end + PAGE, known.end, PAGE):
            found = self._head_at(start)
            if found is not None and found[0].epoch == epoch and count < found[0].number < known.records:
                self._read_to = Progress(number, epoch, found[0].number, start, data_bytes)
                return

    def _head_at(self, start: int) -> tuple[RecordHead, bytes] | None:
        if self._identity is None:
            return None
        return read_head(self.descriptor, start, self._identity, os.fstat(self.descriptor).st_size)

    def _settle(self, known: Progress) -> None:
        """Tell the process what is released: all that was read and does not wait."""
        if self._slot is None or known.epoch != self._read_to.epoch:
            return
        released = self._read_to._replace(spent=0)
        if self.waiting:
            first = self.waiting[0].head
            waiting_bytes = sum(entry.size for entry in self.waiting)
            released = released._replace(
                records=first.number, end=first.start, data_bytes=released.data_bytes - waiting_bytes
            )
        if released != self._control.released(self._slot, known):
            self._control.release(self._slot, released)
        if known.spent and released.records == known.records:
            os.ftruncate(self.descriptor, 0)  # its process removes it, but may be idle for long
