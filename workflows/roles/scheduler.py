"""The scheduler role: completes quiet studies and wakes whatever is due; housekeeping runs beside it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from dicom_node.storage.backlog import backlog
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.roles.housekeeping import start_housekeeping
from workflows.roles.liveness import BEAT_S, Liveness
from workflows.roles.waker import CeleryWaker
from workflows.roles.worker import make_app
from workflows.state.waker import Waker
from workflows.steps.complete import ClockWatch, complete_quiet_studies, seconds_until_due, wake_due

__all__ = ["run_scheduler"]

log = structlog.get_logger()

_AGAIN_S = 5.0
_STUCK_S = 120.0


class Seldom:
    """Wakes through another waker, each kind of work at most once in `every_s`: workers look by themselves too."""

    def __init__(self, waker: Waker, every_s: float = _AGAIN_S) -> None:
        self._waker, self._every_s = waker, every_s
        self._last: dict[str, float] = {}

    def plan(self, study_uid: str) -> None:
        if self._due("plan"):
            self._waker.plan(study_uid)

    def predict(self, job_key: str) -> None:
        if self._due("predict"):
            self._waker.predict(job_key)

    def publish(self, job_key: str, archive: str) -> None:
        if self._due("delivery"):
            self._waker.publish(job_key, archive)

    def confirm(self, job_key: str, archive: str) -> None:
        if self._due("delivery"):
            self._waker.confirm(job_key, archive)

    def retract(self, study_uid: str, archive: str) -> None:
        if self._due("delivery"):
            self._waker.retract(study_uid, archive)

    def _due(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(kind, -self._every_s) < self._every_s:
            return False
        self._last[kind] = now
        return True


def run_scheduler(node: Node, stop: threading.Event) -> None:
    """Look at what is due, again and again, until `stop`. An error ends one look, never the role.

    The looks have a thread of their own; one that hangs for long ends the beats, and somebody replaces the role.
    """
    with suppress(DatabaseUnavailable):  # which each look tells; another node's folder ends the role here
        node.repository  # noqa: B018
    start_housekeeping(node, stop)
    alive, scheduler = Liveness("scheduler", node.settings.node.data_dir), _Scheduler(node, stop)
    thread = threading.Thread(target=scheduler.run, name="scheduler", daemon=True)
    thread.start()
    alive.beat()
    while not stop.wait(BEAT_S):
        if thread.is_alive() and time.monotonic() - scheduler.looked_at < _STUCK_S:
            alive.beat()
    thread.join(BEAT_S)


class _Scheduler:
    def __init__(self, node: Node, stop: threading.Event) -> None:
        self._node, self._stop = node, stop
        self._waker = CeleryWaker(make_app(node))
        self._seldom = Seldom(self._waker)
        self._evidence = node.evidence(self._waker)
        self._watch: ClockWatch | None = None
        self._away = False
        self.looked_at = time.monotonic()

    def run(self) -> None:
        settings = self._node.settings.node
        longest_s = min(settings.scheduler_interval_s, self._node.shortest_quiet_period_s)
        wake_at, pause_s = time.monotonic(), 0.0
        while not self._stop.wait(pause_s):
            self.looked_at = time.monotonic()
            due = self.looked_at >= wake_at
            pause_s = self._look(due, longest_s)
            if due:
                wake_at = time.monotonic() + settings.scheduler_interval_s
        self._waker.flush(1.0)

    def _look(self, due: bool, longest_s: float) -> float:
        """Look once; return the seconds until the next look."""
        looked_at = datetime.now(UTC)
        try:
            repository = self._node.repository
            if self._watch is None:
                lease_s = 2 * self._node.settings.node.lease_s
                self._watch = ClockWatch(repository, self._node.owner, lease_s=lease_s)
            self._watch.look(self._node.quiet_period_s)
            complete_quiet_studies(repository, self._waker, self._evidence, self._oldest_waiting)
            if due:
                wake_due(repository, self._seldom)
            self._away = False
            return seconds_until_due(repository, looked_at, longest_s)
        except DatabaseUnavailable as error:
            if not self._away:
                log.error("database_unavailable", reason=str(error))
            self._away = True
        except Exception as error:
            log.exception("scheduler_failed", reason=defect(error))
        return BEAT_S

    def _oldest_waiting(self) -> datetime | None:
        """When the oldest instance came that is acknowledged and has no row yet."""
        return backlog(self._node.folder.intake).oldest
