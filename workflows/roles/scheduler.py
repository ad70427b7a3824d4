"""The scheduler role: completes quiet studies and wakes whatever is due."""

from __future__ import annotations

import threading

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.roles.worker import CeleryWaker, make_app
from workflows.steps.complete import complete_quiet_studies, wake_due

__all__ = ["run_scheduler"]

log = structlog.get_logger()


def run_scheduler(node: Node, stop: threading.Event) -> None:
    """Look at what is due, again and again, until `stop`. An error ends one look, never the role."""
    waker, repository = CeleryWaker(make_app(node)), node.repository
    while not stop.wait(node.settings.node.scheduler_interval_s):
        try:
            complete_quiet_studies(repository, waker)
            wake_due(repository, waker)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
        except Exception as error:
            log.exception("scheduler_failed", reason=defect(error))
