"""The pipe by which whoever writes into the journal wakes its reader: nobody asks again and again."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

__all__ = ["open_wake", "wait_for_wake", "wake"]

_NAME = "wake"
_PIPE_BYTES = 65536


def open_wake(folder: Path) -> int:
    """The pipe's descriptor, for both ends: so none is ever told that the other is missing. Raises OSError."""
    with suppress(FileExistsError):
        os.mkfifo(folder / _NAME, 0o600)
    return os.open(folder / _NAME, os.O_RDWR | os.O_NONBLOCK)


def wake(descriptor: int) -> None:
    """Wake the reader, now or when it next looks."""
    with suppress(BlockingIOError):  # full: it will wake anyway
        os.write(descriptor, b".")


def wait_for_wake(descriptor: int, timeout_s: float) -> bool:
    """Wait until somebody has woken this process; False: nobody did, for so many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(max(0, timeout_s) * 1000):
        return False
    with suppress(BlockingIOError):
        while len(os.read(descriptor, _PIPE_BYTES)) == _PIPE_BYTES:
            pass
    return True
