"""How far a command has come, on stderr: stdout is for what was asked for."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Counter"]

_LINE_EVERY = 30.0  # seconds


class Counter:
    """A bar with a count and the time that is left; where stderr is no terminal, a line now and then instead.

    A context manager that is called with how many are done, of how many, and what else is to be told. `first`: how
    many were done before. With `silent` it shows nothing.
    """

    def __init__(self, name: str, *, first: int = 0, silent: bool = False) -> None:
        self._name, self._first, self._silent = name, first, silent
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._lines = not console.is_terminal
        self._progress = Progress(*columns, console=console, disable=silent or self._lines)
        self._bar = self._progress.add_task(name, total=None, completed=first)
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Counter:
        self._progress.start()
        return self

    def __call__(self, done: int, total: int, told: str = "") -> None:
        """Say that `done` of `total` are done."""
        text = f"{self._name}: {told}" if told else self._name
        self._progress.update(self._bar, completed=done, total=total, description=text)
        now = time.monotonic()
        if self._silent or not self._lines or (now - self._last_line < _LINE_EVERY and done < total):
            return
        self._last_line = now
        left = (now - self._started) / max(1, done - self._first) * (total - done)
        sys.stderr.write(f"{text}, {done} of {total}" + (f", {_duration(left)} left\n" if done < total else "\n"))
        sys.stderr.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _duration(seconds: float) -> str:
    """Return a duration as people say it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
