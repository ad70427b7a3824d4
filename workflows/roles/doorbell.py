"""The doorbell: a Celery worker, in a thread of its own, that takes wake-ups and rings the lanes of their queue.

A message says "look", and nothing else is made of it: what is to be done stands in the database. So a message is
acknowledged as soon as it is there, none can wedge a worker, and a broker that is away, frozen or broken costs the
lanes only the time until they look by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.message import Message

__all__ = ["Doorbell", "WakeUpConsumer"]

log = structlog.get_logger()

_AGAIN_S = 2.0
TASKS = ("plan", "predict", "publish", "confirm", "retract")


class WakeUpConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which rings instead of running a task."""

    def create_task_handler(self, promise: object = None) -> Callable[[Message], None]:
        ring: Callable[[str], None] = self.app.conf["medseg_ring"]

        def on_message(message: Message) -> None:
            queue = (message.delivery_info or {}).get("routing_key")
            if _is_ours(message):
                message.ack()
            else:
                log.warning("message_not_understood", queue=str(queue), size=len(message.body or b""))
                message.reject()
            ring(queue if isinstance(queue, str) else "")

        return on_message


def _is_ours(message: Message) -> bool:
    headers = message.headers
    return isinstance(headers, dict) and isinstance(headers.get("task"), str) and headers["task"] in TASKS


class Doorbell:
    """Takes wake-ups from `queues` and calls `ring` with the queue's name, until it is stopped."""

    def __init__(self, app: Celery, queues: tuple[str, ...], name: str, ring: Callable[[str], None]) -> None:
        app.conf["medseg_ring"] = ring
        self._app, self._queues, self._name = app, queues, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 2.0) -> None:
        """Take no more. A broker that does not answer keeps nobody: what is left of it ends with the process."""
        self._stop.set()
        state.should_stop = 0  # Celery's own way; its signal handlers set the same
        self._thread.join(patience_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            state.should_stop = None
            try:
                self._worker().start()
            except Exception as error:
                log.error("doorbell_failed", reason=type(error).__name__)
            if not self._stop.wait(_AGAIN_S):
                log.warning("doorbell_again", queues=list(self._queues))

    def _worker(self) -> Any:
        """A worker of its own each time: Celery's cannot be started twice. A ring takes no pool."""
        return self._app.Worker(
            pool_cls="solo",
            concurrency=1,
            queues=",".join(self._queues),
            hostname=self._name,
            loglevel="WARNING",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
