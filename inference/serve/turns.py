"""One request at a time, a few that wait, and no more: what waits holds a whole stack in memory."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Full", "Turns"]


class Full(Exception):
    """As many requests as may are waiting already."""


class Turns:
    """`async with turns:` takes a place, or raises `Full` at once; `turns.mine` is held by one of them at a time."""

    def __init__(self, waiting: int) -> None:
        self.mine = asyncio.Lock()
        self._most, self._taken = waiting + 1, 0

    @property
    def busy(self) -> bool:
        """Whether somebody is being answered."""
        return self._taken > 0

    async def __aenter__(self) -> None:
        if self._taken >= self._most:
            raise Full
        self._taken += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken -= 1
