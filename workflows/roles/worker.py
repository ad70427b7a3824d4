"""The worker role: a doorbell that takes wake-ups, and lanes that do what the database says is due."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from celery import Celery

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.roles.answering import Answering
from workflows.roles.delivering import io_lanes
from workflows.roles.doorbell import Doorbell
from workflows.roles.lanes import Lane, run_lanes
from workflows.roles.liveness import BEAT_S, Liveness
from workflows.roles.queues import QUEUES_OF_ROLE, configure
from workflows.roles.waker import CeleryWaker
from workflows.steps.route import name_archives

__all__ = ["CeleryWaker", "make_app", "run_worker"]

log = structlog.get_logger()


def make_app(node: Node) -> Celery:
    """The application that sends this node's wake-ups and takes them."""
    return configure(Celery("medseg-node"), node.broker_url, kept_s=node.settings.node.rewake_s)


def run_worker(node: Node, role: str, stop: threading.Event) -> None:
    """Run the worker `role` until `stop`, then let it finish what it has in hand.

    Raises SettingsError for a data folder that is not this node's.
    """
    alive = Liveness(role, node.settings.node.data_dir)
    if not _await_database(node, stop, alive):
        return
    app = make_app(node)
    waker = CeleryWaker(app)
    answering = Answering(node, waker) if role == "inference" else None
    if answering is None:
        _send_what_waited(node, alive)
    lanes = io_lanes(node, waker) if answering is None else [_answering_lane(node, answering)]

    def ring(queue: str) -> None:
        for lane in lanes:
            if queue in ("", lane.queue):
                lane.ring()

    name = f"{role}-{node.owner.replace(':', '-')}@%h"
    doorbell = Doorbell(app, QUEUES_OF_ROLE[role], name, ring)
    doorbell.start()
    if answering is not None:
        threading.Thread(target=_drain_with, args=(answering, stop), name="drain", daemon=True).start()
    try:
        run_lanes(lanes, stop, alive)
    finally:
        doorbell.stop()
        waker.flush(2.0)
        if answering is not None:
            answering.close()


def _send_what_waited(node: Node, alive: Liveness) -> None:
    """What waited for an archive is due. Where that cannot be done now, the lanes do it as each is tried again."""
    try:
        name_archives(node.repository, node.sender(), alive.beat)
    except Exception as error:
        log.exception("not_named", reason=defect(error))


def _answering_lane(node: Node, answering: Answering) -> Lane[Any]:
    take = lambda: node.repository.next_job()  # noqa: E731
    return Lane("answer", "inference", take, answering.answer, idle=answering.keep_a_child, longest_pause_s=14.0)


def _drain_with(answering: Answering, stop: threading.Event) -> None:
    stop.wait()
    answering.drain()


def _await_database(node: Node, stop: threading.Event, alive: Liveness) -> bool:
    """Wait until the database answers, and look whose data folder this is; False: told to stop before that."""
    told = False
    while not stop.is_set():
        alive.beat()
        try:
            _ = node.repository
        except DatabaseUnavailable as error:
            if not told:
                log.error("database_unavailable", reason=str(error))
            told = True
            stop.wait(BEAT_S)
        else:
            return True
    return False
