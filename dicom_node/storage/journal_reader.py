"""JournalReader: what the journal holds and no row knows yet, over all processes, also those that have died."""

from __future__ import annotations

import fcntl
import heapq
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from dicom_node.errors import JournalInUse
from dicom_node.storage.control import CONTROL, DAMAGED, UNFINISHED, Control, segment_files, segment_name
from dicom_node.storage.journal_entry import JournalEntry, OpenSegment
from dicom_node.storage.wake import open_wake, wait_for_wake

__all__ = ["JournalReader"]

_LOCK = "reader.lock"
_UNFINISHED_S = 60.0
"""Age at which a file that never got its name may be a dead process's."""


class JournalReader:
    """Reads the journal under `folder`; one at a time, or JournalInUse. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise JournalInUse(f"another process indexes what waits under {folder}: stop it first") from error
        self._wake = open_wake(folder)
        self._processes: dict[str, _Process] = {}
        self._looked = False

    def close(self) -> None:
        """Let another reader have the folder; what was not released waits for it."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        os.close(self._wake)
        os.close(self._lock)

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may have come since `waiting` was last asked; False: nothing has, for so long."""
        return not self._looked or wait_for_wake(self._wake, timeout_s)

    def waiting(self, limit: int) -> list[JournalEntry]:
        """Up to `limit` instances that are acknowledged and not released, the oldest first.

        The same ones come again until they are released. The segments of dead processes are read to their end, and
        each record is checked: what is torn was never acknowledged and is passed over. Raises OSError.
        """
        self._looked = True
        self._look_for_processes()
        for process in list(self._processes.values()):
            process.read(limit)
            self._forget_if_done(process)
        of_each = (segment.waiting for process in self._processes.values() for segment in process.segments.values())
        return list(islice(heapq.merge(*of_each, key=lambda entry: entry.instance.received_at), limit))

    def release(self, entries: Iterable[JournalEntry]) -> None:
        """Forget instances whose rows are committed, or that are kept elsewhere. After a crash they may come again."""
        by_segment: dict[OpenSegment, list[JournalEntry]] = {}
        for entry in entries:
            by_segment.setdefault(entry.segment, []).append(entry)
        for segment, released in by_segment.items():
            segment.release(released)
        for process in list(self._processes.values()):
            self._forget_if_done(process)

    def _look_for_processes(self) -> None:
        """Open what is new in the folder. Segments whose control file a power cut took are a dead process's."""
        numbers: dict[str, set[int]] = {}
        unfinished: list[Path] = []
        for name in os.listdir(self.folder):
            if name.endswith(CONTROL):
                numbers.setdefault(name.removesuffix(CONTROL), set())
            elif name.endswith(UNFINISHED):
                unfinished.append(self.folder / name)
        for (process, number), _size in segment_files(self.folder):
            numbers.setdefault(process, set()).add(number)
        for process, of_process in numbers.items():
            if process not in self._processes:
                try:
                    control = Control.open(self.folder / (process + CONTROL), create=bool(of_process))
                except FileNotFoundError:  # it has just gone, and left nothing
                    continue
                self._processes[process] = _Process(self.folder, control)
            self._processes[process].find(of_process)
        for path in unfinished:
            self._remove_unfinished(path)

    def _remove_unfinished(self, path: Path) -> None:
        """Remove a file that never got its name, unless its process may still be about to give it."""
        process, _, number = path.name.removesuffix(UNFINISHED).partition("-")
        with suppress(FileNotFoundError):
            known = self._processes.get(process)
            old = time.time() - path.stat().st_mtime > _UNFINISHED_S
            if old and not (number and known is not None and known.control.is_alive()):
                path.unlink()

    def _forget_if_done(self, process: _Process) -> None:
        if process.is_done():
            process.close()
            process.control.path.unlink(missing_ok=True)
            del self._processes[process.control.process]


class _Process:
    """A process that writes or has written in the folder, and its segments that may hold something."""

    def __init__(self, folder: Path, control: Control) -> None:
        self.folder, self.control = folder, control
        self.segments: dict[int, OpenSegment] = {}
        self.alive = True

    def find(self, numbers: set[int]) -> None:
        """Open new segments and close those whose files are gone."""
        for number in self.segments.keys() - numbers:
            self.segments.pop(number).close()
        for number in numbers - self.segments.keys():
            path = self.folder / segment_name(self.control.process, number)
            with suppress(FileNotFoundError):
                self.segments[number] = OpenSegment(path, number, self.control)

    def read(self, limit: int) -> None:
        # Asked before the slots are: what a process wrote just before it died is then read to its end.
        self.alive = self.control.is_alive()
        slots = {acknowledged.number: (slot, acknowledged) for slot, acknowledged, _ in self.control.slots()}
        for number, segment in list(self.segments.items()):
            segment.read(limit, *slots.get(number, (None, None)), alive=self.alive)
            self._remove_if_read(number, segment)

    def is_done(self) -> bool:
        """Whether the process is dead and nothing of it waits."""
        if not self.alive:
            for number, segment in list(self.segments.items()):
                self._remove_if_read(number, segment)
        return not self.alive and not self.segments

    def _remove_if_read(self, number: int, segment: OpenSegment) -> None:
        if not self.alive and segment.ended and not segment.waiting:
            if segment.damaged:  # for whoever looks into it
                segment.path.rename(segment.path.with_suffix(DAMAGED))
            else:
                segment.path.unlink(missing_ok=True)
            segment.close()
            del self.segments[number]

    def close(self) -> None:
        for segment in self.segments.values():
            segment.close()
        self.segments.clear()
        self.control.close()
