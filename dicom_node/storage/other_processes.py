"""What the other processes of a journal's folder have waiting: all of them share its room."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

from dicom_node.storage.control import CONTROL, Control, segment_files

__all__ = ["OtherProcesses"]

_COUNTED_FOR_S = 0.02


class OtherProcesses:
    """What waits in the segments of the other processes of a folder, counted a few times a second."""

    def __init__(self, folder: Path, own_process: str) -> None:
        self._folder, self._own = folder, own_process
        self._controls: dict[str, Control] = {}
        self._bytes, self._counted_at = 0, -math.inf

    def waiting_bytes(self) -> int:
        now = time.monotonic()
        if now - self._counted_at > _COUNTED_FOR_S:
            self._bytes, self._counted_at = self._count(), now
        return self._bytes

    def close(self) -> None:
        for control in self._controls.values():
            control.close()
        self._controls.clear()

    def _count(self) -> int:
        segments: dict[str, dict[int, int]] = {}
        for name, size in segment_files(self._folder):
            process, number = name
            if process != self._own:
                segments.setdefault(process, {})[number] = size
        for process in self._controls.keys() - segments.keys():
            self._controls.pop(process).close()
        return sum(sum(sizes.values()) - self._released(process, sizes) for process, sizes in segments.items())

    def _released(self, process: str, sizes: dict[int, int]) -> int:
        """Bytes of the segments of a process in which nothing waits."""
        if process not in self._controls:
            with suppress(OSError):
                self._controls[process] = Control.open(self._folder / (process + CONTROL))
        control = self._controls.get(process)
        if control is None:
            return 0
        return sum(
            sizes.get(acknowledged.number, 0)
            for _slot, acknowledged, released in control.slots()
            if acknowledged.records == released.records
        )
