"""Room: how much of the budget for received instances is used; beyond it, intake refuses (0xA700).

One process counts (`RoomWatch`) and leaves a file for the others; who takes instances in looks at that (`Room`).

    DATA_DIR/run/full           the budget is used up; the file says it in a sentence
    DATA_DIR/run/nearly-full    so much of it is used that the node warns
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node.errors import StorageFull
from dicom_node.storage.sink import InstanceSink, InstanceWriter, StoreRequest
from workflows.data_folder import DataFolder

__all__ = ["Room", "RoomWatch", "SinkWithRoom", "told_of_room"]

log = structlog.get_logger()

_FULL, _NEARLY_FULL = "full", "nearly-full"
_GB = 1_000_000_000
_SHARE_OF_TIME = 50
"""To count takes at most one part in so many of the time, however many instances there are."""


class Room:
    """Whether there is room for another instance; cheap enough to be asked for each. `limited`: there is a budget."""

    def __init__(self, folder: DataFolder, *, limited: bool, look_every_s: float = 1.0) -> None:
        self._marker = folder.run / _FULL
        self._limited, self._look_every_s = limited, look_every_s
        self._looked_at = float("-inf")
        self._full = ""

    def __call__(self) -> None:
        """Raise StorageFull where the budget is used up, as far as was known a second ago."""
        if not self._limited:
            return
        now = time.monotonic()
        if now - self._looked_at >= self._look_every_s:
            self._full, self._looked_at = _read(self._marker), now
        if self._full:
            raise StorageFull(self._full)


@dataclass(frozen=True)
class SinkWithRoom:
    """Takes instances into `sink` while there is `room`."""

    sink: InstanceSink
    room: Room

    def open(self, request: StoreRequest) -> InstanceWriter:
        """As the sink does; raises StorageFull where the budget is used up."""
        self.room()
        return self.sink.open(request)


@dataclass(frozen=True)
class _Used:
    bytes: int
    budget: int
    warn_at: float

    @property
    def marker(self) -> str:
        """The file that says how it stands, "" while there is room."""
        if self.bytes >= self.budget:
            return _FULL
        return _NEARLY_FULL if self.bytes >= self.budget * self.warn_at else ""

    def told(self) -> str:
        digits = 1 if self.budget >= _GB else 3
        used = (
            f"{self.bytes / _GB:.{digits}f} of {self.budget / _GB:g} GB ([retention] budget_gb) are used by instances"
        )
        if self.bytes >= self.budget:
            return f"{used}: no more are taken; shorten the times of [retention], or `medseg-node purge` old studies"
        return f"{used}: at {self.budget / _GB:g} GB no more are taken"


class RoomWatch:
    """Counts what is used and says so to the other processes, and in the log at each crossing. One a node.

    `used`: bytes that instances take. `budget_gb`: 0 for none; a marker of an earlier setting goes then.
    """

    def __init__(self, folder: DataFolder, used: Callable[[], int], *, budget_gb: float, warn_at: float) -> None:
        self._folder, self._used = folder, used
        self._budget, self._warn_at = int(budget_gb * _GB), warn_at
        self._next = float("-inf")
        self._said: str | None = None

    def look(self) -> None:
        """Count, unless that was done a moment ago."""
        if time.monotonic() < self._next:
            return
        began = time.monotonic()
        used = _Used(self._used() if self._budget else 0, self._budget, self._warn_at)
        took = time.monotonic() - began
        self._next = began + max(5.0, _SHARE_OF_TIME * took)
        self._say(used)

    def _say(self, used: _Used) -> None:
        marker = used.marker if self._budget else ""
        for name in (_FULL, _NEARLY_FULL):
            if name != marker:
                (self._folder.run / name).unlink(missing_ok=True)
        if marker:
            self._folder.run.mkdir(mode=0o700, exist_ok=True)
            written = self._folder.run / f".{marker}"
            written.write_text(used.told() + "\n", encoding="utf-8")
            written.replace(self._folder.run / marker)
        if marker != self._said:
            if marker:
                log.warning("room_is_short" if marker == _NEARLY_FULL else "no_room_left", reason=used.told())
            elif self._said:
                log.info("room_again")
            self._said = marker


def told_of_room(folder: DataFolder) -> tuple[str, bool]:
    """What is to be said of the budget, "" while there is room; and whether instances are refused for it."""
    if full := _read(folder.run / _FULL):
        return full, True
    return _read(folder.run / _NEARLY_FULL), False


def _read(marker: Path) -> str:
    try:
        return marker.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
