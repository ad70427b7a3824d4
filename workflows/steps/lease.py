"""A lease that is kept while work goes on, from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from workflows.errors import DatabaseUnavailable

__all__ = ["kept"]

log = structlog.get_logger()


@contextmanager
def kept(extend: Callable[[], bool], every_s: float, **about: str) -> Iterator[threading.Event]:
    """Call `extend` every `every_s` seconds until the block ends, or until it returns False: the lease was lost.

    The block gets an event that is set once that has happened.

    A database that is away is no loss: it may be back before the lease ends. `about` is logged with a missed heartbeat.
    """
    stop, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not stop.wait(every_s):
            try:
                if not extend():
                    lost.set()
                    return
            except DatabaseUnavailable as error:
                log.warning("heartbeat_missed", reason=str(error), **about)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        stop.set()
        thread.join()
