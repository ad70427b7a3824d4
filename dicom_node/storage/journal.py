"""Journal: where instances are written as they come in, one sync before the answer.

    intake/PROCESS-NUMBER.segment   pre-zeroed; see records.py
    intake/PROCESS.control          what is acknowledged and released; see control.py
    intake/wake                     a pipe that wakes the reader
    intake/reader.lock              held by the one reader

A new file costs two or three syncs of the disk, of its data, its name and its folders. A record in a segment costs one,
of data alone, and the kernel joins those that several threads and processes wait for. Instances leave the journal soon
after: `JournalReader` finds them, `InstanceStore.place` makes them files, and once their rows are committed they are
released. A segment whose records are all released is used again. The segments of a process that has died are read to
their end and removed by the reader; no other process writes in them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from dicom_node.errors import InstanceTooLarge, StorageFull
from dicom_node.headers.instance import InstanceHeader, InstanceIdentifiers
from dicom_node.storage.control import Control, Progress, segment_name
from dicom_node.storage.files import NO_ROOM
from dicom_node.storage.inspection import inspect_beginning, inspect_data_set
from dicom_node.storage.other_processes import OtherProcesses
from dicom_node.storage.records import FIRST_RECORD, PAGE, encode_details
from dicom_node.storage.segment import Segment
from dicom_node.storage.sink import StoreRequest
from dicom_node.storage.wake import open_wake, wake

__all__ = ["Journal", "JournalWriter"]

_GROWTH = 16 * 1024 * 1024
_SMALLEST = 1024 * 1024
_TOO_SMALL = 64 * 1024
"""A segment with less room than this is full."""
_LOOK_S = 0.02

_log = structlog.get_logger()


class Journal:
    """An InstanceSink for one process and any number of its threads.

    `room_bytes`: what may wait in the folder, acknowledged and not released, over all processes, counted in whole
    segments; one large instance may go beyond it. `instance_bytes`: the largest data set that is taken.
    `minimum_free_bytes`: room that is left to the rest of the node. Where there is no room a sender waits up to
    `patience_s` before it is refused with StorageFull. `ready_bytes`: segments that are zeroed beforehand, in the
    background, at most an eighth of the room.
    """

    def __init__(
        self,
        folder: Path,
        *,
        room_bytes: int,
        instance_bytes: int,
        minimum_free_bytes: int = 0,
        segment_bytes: int = 16 * 1024 * 1024,
        patience_s: float = 2.0,
        ready_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.folder = folder
        self.instance_bytes = instance_bytes
        self._room_bytes, self._minimum_free_bytes = room_bytes, minimum_free_bytes
        self._segment_bytes = min(segment_bytes, max(_SMALLEST, room_bytes // 64 // PAGE * PAGE))
        self._patience_s = patience_s
        self._control = Control.create(folder)
        self._wake = open_wake(folder)
        self._lock = Lock()
        self._free: list[Segment] = []
        self._full: list[Segment] = []
        self._lent: set[Segment] = set()
        self._numbers = self._being_made = 0
        self._usual_bytes = 0
        self._others = OtherProcesses(folder, self._control.process)
        self._closing = Event()
        self._ready = min(ready_bytes, room_bytes // 8) // self._segment_bytes
        self._readying = Thread(target=self._make_ready, name="journal", daemon=True)
        self._readying.start()

    def open(self, request: StoreRequest) -> JournalWriter:
        """Begin an instance. Raises StorageFull, OSError."""
        with _told_when_full(self.folder):
            self._require_free_room()
            return JournalWriter(self, request, self.borrow())

    def close(self) -> None:
        """Give up the folder; what is not released is left to the reader, as after a kill. Nobody may be writing."""
        self._closing.set()
        self._readying.join()
        with self._lock:
            for segment in (*self._free, *self._full):
                if segment.is_released:
                    segment.remove()
                else:
                    segment.close()
            self._free.clear()
            self._full.clear()
            if not any(self._control.slots()):
                self._control.path.unlink(missing_ok=True)
            self._control.close()
            self._others.close()
            os.close(self._wake)

    # --- What writers need --------------------------------------------------------------------------------------------

    def borrow(self, *, empty: bool = False) -> Segment:
        """A segment for one record at a time, to be given back. Raises StorageFull, OSError.

        `empty`: one in which nothing waits.
        """
        until = time.monotonic() + self._patience_s
        while (segment := self._borrowed(empty)) is None:
            if time.monotonic() >= until:
                raise StorageFull(
                    f"{self._room_bytes} bytes of instances wait under {self.folder} to be indexed: the indexer is "
                    "behind, or stands still; its log says why"
                )
            time.sleep(_LOOK_S)
        segment.begin()
        return segment

    def give_back(self, segment: Segment, committed_bytes: int = 0) -> None:
        """Return what was borrowed."""
        with self._lock:
            self._lent.discard(segment)
            if committed_bytes:
                self._usual_bytes = min(committed_bytes, self._segment_bytes // 4)
            (self._full if segment.spent or segment.room < _TOO_SMALL else self._free).append(segment)

    def woken(self) -> None:
        wake(self._wake)

    def grow(self, segment: Segment, more: int) -> None:
        """Make room in a segment for an instance that none holds. Raises StorageFull, OSError."""
        self._require_free_room()
        with self._lock:
            room = self._room_left() + segment.capacity > 0
        if not room:
            raise StorageFull(
                f"no room for a large instance under {self.folder}: {self._room_bytes} bytes wait already"
            )
        segment.grow(max(more, _GROWTH))

    # --- The pool -----------------------------------------------------------------------------------------------------

    def _borrowed(self, empty: bool) -> Segment | None:
        """A segment of the pool, or a new one; None: there is no room for one now."""
        with self._lock:
            self._tidy()
            segment = self._from_pool(empty)
            if segment is not None:
                self._lent.add(segment)
                return segment
            if self._room_left() < self._segment_bytes:
                return None
        return self._created()

    def _created(self) -> Segment | None:
        """A new segment, lent; None: there are as many as there can be."""
        with self._lock:
            self._numbers += 1
            number, slot = self._numbers, self._control.take_slot(Progress(self._numbers, 1, 0, FIRST_RECORD, 0))
            if slot is None:
                return None
            self._being_made += 1
        # Outside the lock: zeroing takes a while, and the others may go on.
        path, segment = self.folder / segment_name(self._control.process, number), None
        try:
            segment = Segment.create(path, self._segment_bytes, self._control, slot, number)
        finally:
            with self._lock:
                self._being_made -= 1
                if segment is None:
                    self._control.free_slot(slot)
                else:
                    self._lent.add(segment)
        return segment

    def _make_ready(self) -> None:
        """Zero the segments that most studies need before anybody waits for them."""
        for _ in range(self._ready):
            if self._closing.is_set():
                return
            try:
                self._require_free_room()
                segment = self._created()
            except (StorageFull, OSError) as error:
                _log.warning("journal_not_ready", reason=str(error))
                return
            if segment is None:
                return
            self._put_away(segment)

    def _put_away(self, segment: Segment) -> None:
        """Behind those that were used: the one used last is still in the memory of the kernel."""
        with self._lock:
            self._lent.discard(segment)
            self._free.insert(0, segment)

    def _from_pool(self, empty: bool) -> Segment | None:
        while self._free:
            segment = self._free[-1]
            if segment.is_released and not segment.is_empty:
                segment.use_again()
            if segment.is_empty:
                return self._free.pop() if self._room_left() >= self._segment_bytes else None
            self._free.pop()
            if not empty and segment.room >= self._usual_bytes + _TOO_SMALL:
                return segment
            self._full.append(segment)
        return None

    def _tidy(self) -> None:
        """Take the full segments that are released back into the pool; the spent ones are removed."""
        waiting = []
        for segment in self._full:
            if not segment.is_released:
                waiting.append(segment)
            elif segment.spent:
                segment.remove()
            else:
                segment.use_again()
                self._free.insert(0, segment)
        self._full = waiting

    def _room_left(self) -> int:
        """Bytes that may still be taken, counting each segment in which something waits or is being written."""
        pool = (*self._full, *self._free)
        own = self._being_made * self._segment_bytes
        own += sum(segment.capacity for segment in pool if not segment.is_released)
        own += sum(segment.capacity for segment in self._lent)
        return self._room_bytes - own - self._others.waiting_bytes()

    def _require_free_room(self) -> None:
        status = os.statvfs(self.folder)
        free = status.f_bavail * status.f_frsize
        if free >= self._minimum_free_bytes + self._room_bytes:
            return  # enough whatever waits, which costs a look at each segment
        waiting = self._waiting_bytes()
        if free < self._minimum_free_bytes + waiting:
            raise StorageFull(
                f"{free} bytes are free under {self.folder}, fewer than the {self._minimum_free_bytes} to keep free "
                f"and the {waiting} that become files of the store"
            )

    def _waiting_bytes(self) -> int:
        """Bytes of what is acknowledged and not released: it takes as much again as files of the store."""
        with self._lock:
            slots = list(self._control.slots())
            others = self._others.waiting_bytes()
        return others + sum(acknowledged.data_bytes - released.data_bytes for _, acknowledged, released in slots)


class JournalWriter:
    """One instance on its way into the journal; see `InstanceWriter`."""

    def __init__(self, journal: Journal, request: StoreRequest, segment: Segment) -> None:
        self._journal, self._request = journal, request
        self._segment: Segment | None = segment
        self._digest = hashlib.sha256()

    def write(self, fragment: bytes | memoryview) -> None:
        """Take the next bytes. Raises InstanceTooLarge, StorageFull, OSError; then only `abandon` is left."""
        segment, view = self._borrowed, memoryview(fragment)
        if segment.size + len(view) > self._journal.instance_bytes:
            raise InstanceTooLarge(
                f"the data set has more than the {self._journal.instance_bytes} bytes that are taken: "
                "[limits] instance_mb"
            )
        self._digest.update(view)
        with _told_when_full(self._journal.folder):
            if not segment.fits(len(view)):
                segment = self._with_room(len(view))
            segment.append(view)

    def commit(self) -> None:
        """Return once the instance survives a power cut and the reader knows of it.

        Raises UnparseableInstance, IdentifierMismatch, StorageFull, OSError; then only `abandon` is left.
        """
        segment = self._borrowed
        with _told_when_full(self._journal.folder):
            identifiers, header = self._inspected(segment)
            details = encode_details(self._request, identifiers, header)
            if not segment.fits(len(details)):
                segment = self._with_room(len(details))
            try:
                size = segment.commit(details, self._digest.digest())
            except OSError:
                segment.retire()
                raise
        self._segment = None
        self._journal.give_back(segment, size)
        self._journal.woken()

    def abandon(self) -> None:
        """Forget the instance; may be called at any time, also twice."""
        if self._segment is not None:
            self._journal.give_back(self._segment)
            self._segment = None

    def _inspected(self, segment: Segment) -> tuple[InstanceIdentifiers, InstanceHeader]:
        found = inspect_beginning(segment.head, segment.size, self._request)
        if found is not None:
            return found
        contents = segment.contents()
        try:
            return inspect_data_set(contents, self._request)
        finally:
            if not isinstance(contents, bytes):
                contents.close()

    @property
    def _borrowed(self) -> Segment:
        if self._segment is None:
            raise ValueError("this instance was committed or abandoned already")
        return self._segment

    def _with_room(self, more: int) -> Segment:
        """A segment with all that came so far and room for more: an empty one, or a longer one."""
        segment = self._borrowed
        if not segment.is_empty:
            fresh = self._journal.borrow(empty=True)
            try:
                fresh.take_over(segment)
            except BaseException:
                self._journal.give_back(fresh)
                raise
            self._segment = fresh
            self._journal.give_back(segment)
            segment = fresh
        if not segment.fits(more):
            self._journal.grow(segment, more)
        return segment


@contextmanager
def _told_when_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull(f"no room left under {folder}: {error.strerror}") from error
        raise
