"""How much waits in the journal; for any process, at any time, without reading what waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.storage.control import CONTROL, Control, Progress, segment_files, segment_name
from dicom_node.storage.records import FIRST_RECORD, RecordHead, read_head, read_segment_identity

__all__ = ["Backlog", "backlog"]


@dataclass(frozen=True)
class Backlog:
    """Instances that are acknowledged and have no row yet. `data_bytes`: of their data sets. `oldest`: when it came.

    Exact for processes that live. Of one that died it may be short of what its segments hold, but is never zero where
    they hold something, until a reader has read them to their end.
    """

    count: int = 0
    data_bytes: int = 0
    oldest: datetime | None = None


def backlog(folder: Path) -> Backlog:
    """What waits under `folder`; nothing where the folder is not there. Raises OSError."""
    processes: dict[str, list[int]] = {}
    with suppress(FileNotFoundError):
        for (process, number), _size in segment_files(folder):
            processes.setdefault(process, []).append(number)
    parts = [part for process, numbers in processes.items() for part in _of_process(folder, process, numbers)]
    times = [part.oldest for part in parts if part.oldest is not None]
    return Backlog(
        sum(part.count for part in parts), sum(part.data_bytes for part in parts), min(times) if times else None
    )


def _of_process(folder: Path, process: str, numbers: list[int]) -> Iterator[Backlog]:
    alive, slots = False, {}
    with suppress(FileNotFoundError), closing(Control.open(folder / (process + CONTROL))) as control:
        alive = control.is_alive()
        slots = {acknowledged.number: (acknowledged, released) for _slot, acknowledged, released in control.slots()}
    for number in numbers:
        acknowledged, released = slots.get(number, (Progress(number, 0, 0, FIRST_RECORD, 0),) * 2)
        count = acknowledged.records - released.records
        if count <= 0 and alive:
            continue
        with suppress(FileNotFoundError):
            first = _first_waiting(folder / segment_name(process, number), released)
            if first is not None:
                yield Backlog(max(count, 1), max(acknowledged.data_bytes - released.data_bytes, 0), first.received_at)


def _first_waiting(path: Path, released: Progress) -> RecordHead | None:
    """The first record that is not released, whether it is whole or not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        identity, size = read_segment_identity(descriptor), os.fstat(descriptor).st_size
        if identity is None:
            return None
        next_one = read_head(descriptor, released.end if released.records else FIRST_RECORD, identity, size)
        if next_one is not None and next_one[0].epoch == released.epoch and next_one[0].number == released.records:
            return next_one[0]
        first = read_head(descriptor, FIRST_RECORD, identity, size)
        return first[0] if first is not None and first[0].epoch > released.epoch else None
    finally:
        os.close(descriptor)
