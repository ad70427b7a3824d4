"""FrameChoice: which frames are read of an instance whose frames lie over time or over views, not over space."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MIDDLE_FRAME", "FrameChoice"]


@dataclass(frozen=True)
class FrameChoice:
    """`text`: "middle", "first", "last", "all", or "every N" with N from 2. Raises ValueError for anything else."""

    text: str

    def __post_init__(self) -> None:
        if self.text not in ("middle", "first", "last", "all") and self._step is None:
            raise ValueError(f"{self.text!r} chooses no frames: write middle, first, last, all, or every 10")

    def of(self, count: int) -> list[int]:
        """Indices from 0 into `count` frames, ascending; at least one."""
        if self.text == "first":
            return [0]
        if self.text == "last":
            return [count - 1]
        if self.text == "middle":
            return [(count - 1) // 2]
        return list(range(0, count, self._step or 1))

    @property
    def _step(self) -> int | None:
        every = re.fullmatch(r"every ([1-9][0-9]{0,4})", self.text)
        return int(every[1]) if every and int(every[1]) > 1 else None


MIDDLE_FRAME = FrameChoice("middle")
