"""The progress bar of the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["counted", "progress_bar"]


def progress_bar(*, silent: bool = False) -> Progress:
    """Return a bar with a count and the time that is left, on stderr: stdout is for what was asked for."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=silent)


@contextmanager
def counted(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; what it yields is told how many are done, and of how many."""
    with progress_bar() as progress:
        bar = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
