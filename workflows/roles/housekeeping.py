"""Housekeeping: what is done beside all else, in a thread of the scheduler, so that nothing waits for it.

It looks after what is lost or damaged, finishes purges, removes images whose time is over, counts the room, looks at
segmentations of others as corrections, sends the audit to its receiver, and wakes sources that wait for us.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.steps.agreement import count_reviews
from workflows.steps.audit import AuditSender
from workflows.steps.integrity import recover_due
from workflows.steps.proposals import look_at_segmentations
from workflows.steps.purge import finish_purges
from workflows.steps.retain import retain
from workflows.steps.sources import wake_sources

__all__ = ["run_housekeeping", "start_housekeeping"]

log = structlog.get_logger()

_EVERY_S = 2.0
_RETAIN_EVERY_S = 300.0
_COUNT_EVERY_S = 60.0
_WAKE_EVERY_S = 30.0


def start_housekeeping(node: Node, stop: threading.Event) -> threading.Thread:
    """Run it in threads of its own until `stop`; returns the one that counts the room."""
    threading.Thread(target=_recover, args=(node, stop), name="recovery", daemon=True).start()
    threading.Thread(target=_segmentations, args=(node, stop), name="segmentations", daemon=True).start()
    if any(peer.evidence != "none" for peer in node.settings.peers):
        threading.Thread(target=_wake_sources, args=(node, stop), name="sources", daemon=True).start()
    if node.settings.audit.syslog.host:
        threading.Thread(target=_send_audit, args=(node, stop), name="audit", daemon=True).start()
    thread = threading.Thread(target=run_housekeeping, args=(node, stop), name="housekeeping", daemon=True)
    thread.start()
    return thread


def run_housekeeping(node: Node, stop: threading.Event) -> None:
    """Do each work when it is due, until `stop`. An error ends one try of one work, never the rest."""
    watch = node.room_watch()
    works: Mapping[str, tuple[float, Callable[[], object]]] = {
        "room": (0.0, watch.look),
        "agreement": (_COUNT_EVERY_S, lambda: count_reviews(node.repository, node.folder)),
        "purges": (0.0, lambda: finish_purges(node.repository, node.store, node.folder)),
        "openings": (_RETAIN_EVERY_S, lambda: node.repository.forget_closed()),
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


def _segmentations(node: Node, stop: threading.Event) -> None:
    """Look at SEGs that came in, until `stop`: a large one takes seconds."""

    def look() -> None:
        look_at_segmentations(node.segmentations)

    while not stop.is_set():
        _attempt("segmentations", look)
        stop.wait(_EVERY_S)


def _wake_sources(node: Node, stop: threading.Event) -> None:
    """Have sources look what waits for us, at the start and twice a minute, until `stop`."""
    while not stop.is_set():
        _attempt("sources", lambda: wake_sources(node.sources_that_can_be_asked()))
        stop.wait(_WAKE_EVERY_S)


def _send_audit(node: Node, stop: threading.Event) -> None:
    """Send the audit to its receiver, until `stop`: one that is away keeps only this thread waiting."""
    sender: AuditSender | None = None
    while not stop.is_set():
        if sender is None:
            sender = _made(node.audit_sender)
        if sender is not None:
            _attempt("audit", sender.send_waiting)
        stop.wait(_EVERY_S)


def _made(make: Callable[[], AuditSender]) -> AuditSender | None:
    """A sender, or None while the database does not answer."""
    made: list[AuditSender] = []
    _attempt("audit", lambda: made.append(make()))
    return made[0] if made else None


def _attempt(name: str, work: Callable[[], object]) -> None:
    try:
        work()
    except DatabaseUnavailable as error:
        log.error("database_unavailable", reason=str(error))
    except Exception as error:
        log.exception("housekeeping_failed", work=name, reason=defect(error))
