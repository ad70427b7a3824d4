"""Refresher: keeps the worklist's rows while the pages are up, and tells every open page of a process what changed.

Each process of the pages looks at the database by itself, so none needs to know of another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, RowRefused
from workflows.steps.worklist import Look, refresh

__all__ = ["Changes", "Listener", "Refresher", "changes_of"]

log = structlog.get_logger()

_EVERY_S = 0.5
_AWAY_S = 2.0
_MOST_NAMED = 500
_MOST_KEPT = 100
_KEPT_S = 1.0
Kept = TypeVar("Kept")
EVERYTHING = ""
"""In place of a Study Instance UID: a row is gone, or too many changed to name them."""


@dataclass(eq=False)
class Listener:
    """One open page: what changed since it was told last. Studies, and of each what."""

    loop: asyncio.AbstractEventLoop
    wakes: asyncio.Event = field(default_factory=asyncio.Event)
    changed: set[tuple[str, str]] = field(default_factory=set)
    closed: bool = False
    account: str = ""

    def take(self) -> set[tuple[str, str]]:
        """What changed, once."""
        self.wakes.clear()
        taken, self.changed = self.changed, set()
        return taken


class Changes:
    """Who listens in this process. Any thread may tell; a page that does not read keeps a bounded set, no queue."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._running = False
        self._version = 0
        self._kept: dict[Hashable, tuple[int, float, Any]] = {}
        self._making = threading.Lock()

    def kept(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What `make` makes, kept until anything changes, for a second at most; without a Refresher nothing is kept.

        Fifty pages that ask at once for the same wait for one answer.
        """
        if not self._running:
            return make()
        with self._making:
            version, found = self._version, self._kept.get(key)
            if found is None or found[0] != version or time.monotonic() - found[1] > _KEPT_S:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                found = self._kept[key] = version, time.monotonic(), make()
        kept: Kept = found[2]
        return kept

    def run(self) -> None:
        """A Refresher says from now on what changes."""
        self._running, self._closed = True, False

    @contextmanager
    def listening(self, account: str = "") -> Iterator[Listener]:
        """A listener for a block; inside an event loop. `account`: whose page it is."""
        listener = Listener(asyncio.get_running_loop(), closed=self._closed, account=account)
        with self._lock:
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def listeners_of(self, account: str) -> int:
        """How many pages of an account listen."""
        with self._lock:
            return sum(listener.account == account for listener in self._listeners)

    def tell(self, study_uids: Iterable[str], what: str = "row") -> None:
        """These studies changed. `what`: "row", or what a study's page is to know."""
        told = {(uid, what) for uid in study_uids}
        if told:
            self._version += 1
            self._each(lambda listener: self._add(listener, told))

    def close(self) -> None:
        """Let every stream end, so that the process can."""
        self._closed, self._running = True, False
        self._each(self._end)

    def _each(self, act: object) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener.loop.call_soon_threadsafe(act, listener)  # type: ignore[arg-type]
            except RuntimeError:  # its loop is closed, and with it the page
                with self._lock:
                    self._listeners.discard(listener)

    @staticmethod
    def _add(listener: Listener, told: set[tuple[str, str]]) -> None:
        listener.changed |= told
        if len(listener.changed) > _MOST_NAMED:
            listener.changed = {(EVERYTHING, "row")}
        listener.wakes.set()

    @staticmethod
    def _end(listener: Listener) -> None:
        listener.closed = True
        listener.wakes.set()


_CHANGES: WeakKeyDictionary[Node, Changes] = WeakKeyDictionary()
_LOCK = threading.Lock()


def changes_of(node: Node) -> Changes:
    """Who listens to changes of a node's studies in this process."""
    with _LOCK:
        return _CHANGES.setdefault(node, Changes())


class Refresher:
    """Looks twice a second at what changed, makes the rows and tells who listens."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._look = Look()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`: in a thread of its own. A database that is away is asked again."""
        changes = changes_of(self._node)
        changes.run()
        try:
            while not stop.is_set():
                stop.wait(_EVERY_S if self.once() else _AWAY_S)
        finally:
            changes.close()

    def once(self) -> bool:
        """Look once; False: the database did not answer."""
        try:
            changed = refresh(self._node.repository, self._node.folder, self._look)
        except (DatabaseUnavailable, RowRefused) as error:
            log.warning("worklist_not_refreshed", reason=str(error))
            return False
        except Exception:
            # A study that cannot be shown must not close the list of all others; the next look tries again.
            log.exception("worklist_not_refreshed")
            return False
        changes_of(self._node).tell(changed)
        return True
