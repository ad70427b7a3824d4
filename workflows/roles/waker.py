"""Wakes by sending a message. Nobody waits for a broker: a thread sends, one message for each queue at a time."""

from __future__ import annotations

import threading

import structlog
from celery import Celery

__all__ = ["CeleryWaker"]

log = structlog.get_logger()


class CeleryWaker:
    """Wakes by sending a message with an id. A broker that is away is no error: workers look by themselves.

    Whoever takes a message looks for all that is due, so of those that wait to be sent one for each queue is enough.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._options = dict(app.conf.get("medseg_publish_options", {}))
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[str, tuple[str, ...]]] = {}  # by queue: task and ids
        self._sending = False
        self._away = False
        self._thread: threading.Thread | None = None

    def plan(self, study_uid: str) -> None:
        self._wake("plan", study_uid)

    def predict(self, job_key: str) -> None:
        self._wake("predict", job_key)

    def publish(self, job_key: str, archive: str) -> None:
        self._wake("publish", job_key, archive)

    def confirm(self, job_key: str, archive: str) -> None:
        self._wake("confirm", job_key, archive)

    def retract(self, study_uid: str, archive: str) -> None:
        self._wake("retract", study_uid, archive)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until nothing waits to be sent; False: it still does."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._sending), timeout_s)

    def _wake(self, task: str, *identifiers: str) -> None:
        with self._changed:
            self._waiting[self._app.conf.task_routes[task]["queue"]] = (task, identifiers)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="waker", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                _queue, (task, identifiers) = self._waiting.popitem()
                self._sending = True
            self._send(task, identifiers)
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _send(self, task: str, identifiers: tuple[str, ...]) -> None:
        try:
            self._app.send_task(task, args=list(identifiers), **self._options)
        except Exception as error:  # a wake-up more or less: none of its errors may end this thread
            if not self._away:
                log.warning("broker_away", task=task, identifier=identifiers[0], reason=f"{type(error).__name__}")
            self._away = True
        else:
            if self._away:
                log.info("broker_back")
            self._away = False
