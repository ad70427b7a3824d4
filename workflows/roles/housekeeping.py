"""Housekeeping: what is done beside all else, in a thread of the scheduler, so that nothing waits for it.

It looks after what is lost or damaged, finishes purges, removes images whose time is over, and counts the room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.steps.integrity import recover_due
from workflows.steps.purge import finish_purges
from workflows.steps.retain import retain

__all__ = ["run_housekeeping", "start_housekeeping"]

log = structlog.get_logger()

_EVERY_S = 2.0
_RETAIN_EVERY_S = 300.0


def start_housekeeping(node: Node, stop: threading.Event) -> threading.Thread:
    """Run it in threads of its own until `stop`; returns the one that counts the room."""
    threading.Thread(target=_recover, args=(node, stop), name="recovery", daemon=True).start()
    thread = threading.Thread(target=run_housekeeping, args=(node, stop), name="housekeeping", daemon=True)
    thread.start()
    return thread


def run_housekeeping(node: Node, stop: threading.Event) -> None:
    """Do each work when it is due, until `stop`. An error ends one try of one work, never the rest."""
    watch = node.room_watch()
    works: Mapping[str, tuple[float, Callable[[], object]]] = {
        "room": (0.0, watch.look),
        "purges": (0.0, lambda: finish_purges(node.repository, node.store, node.folder)),
        "retention": (
            _RETAIN_EVERY_S,
            lambda: retain(node.repository, node.store, node.folder, node.keeping_rules),
        ),
    }
    due = dict.fromkeys(works, 0.0)
    while True:
        for name, (every_s, work) in works.items():
            if time.monotonic() >= due[name] and not stop.is_set():
                due[name] = time.monotonic() + every_s
                _attempt(name, work)
        if stop.wait(_EVERY_S):
            return


def _recover(node: Node, stop: threading.Event) -> None:
    """Have what is missing asked for, until `stop`: an archive that is silent for minutes delays nothing else."""
    while not stop.is_set():
        _attempt("recovery", lambda: recover_due(node.recovery()))
        stop.wait(_EVERY_S)


def _attempt(name: str, work: Callable[[], object]) -> None:
    try:
        work()
    except DatabaseUnavailable as error:
        log.error("database_unavailable", reason=str(error))
    except Exception as error:
        log.exception("housekeeping_failed", work=name, reason=defect(error))
