"""The SCP role: the port is open first; then files and rows are made to agree, while instances come in."""

from __future__ import annotations

import threading

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.steps.receive import reconcile

__all__ = ["run_scp"]

log = structlog.get_logger()


def run_scp(node: Node, stop: threading.Event) -> None:
    """Receive instances until `stop`."""
    with node.storage_scp():
        threading.Thread(target=_sweep, args=(node, stop), name="sweep", daemon=True).start()
        stop.wait()


def _sweep(node: Node, stop: threading.Event) -> None:
    """Sweep once; again while the database is away."""
    while not stop.is_set():
        try:
            found, lost = reconcile(node.receiver)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
            stop.wait(node.settings.node.rewake_s)
        except Exception as error:
            log.exception("sweep_failed", reason=defect(error))
            return
        else:
            log.info("swept", indexed=found, lost=lost)
            return
