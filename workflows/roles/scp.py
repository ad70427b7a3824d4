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
        threading.Thread(target=_sweep, args=(node,), name="sweep", daemon=True).start()
        stop.wait()


def _sweep(node: Node) -> None:
    try:
        found, lost = reconcile(node.receiver)
        log.info("swept", indexed=found, lost=lost)
    except DatabaseUnavailable as error:
        log.error("database_unavailable", reason=str(error))
    except Exception as error:
        log.exception("sweep_failed", reason=defect(error))
