"""Runs every role as a process of its own, restarts one that dies, and drains them on SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType

import structlog

__all__ = ["Supervisor"]

log = structlog.get_logger()


class Supervisor:
    """Keeps `roles` (name -> the whole command) running until it is told to stop.

    A role that dies is started again, after a pause that doubles up to `longest_pause_s` while it keeps dying.
    """

    def __init__(
        self, roles: Mapping[str, Sequence[str]], *, drain_s: float = 60.0, longest_pause_s: float = 30.0
    ) -> None:
        self._roles = roles
        self._drain_s = drain_s
        self._longest_pause_s = longest_pause_s
        self._stop = threading.Event()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Start the roles and watch them; returns after SIGTERM or SIGINT, once all have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        started = {name: self._start(name) for name in self._roles}
        pause = dict.fromkeys(self._roles, 1.0)
        due: dict[str, float] = {}
        while not self._stop.wait(0.2):
            now = time.monotonic()
            for name, process in list(self._running.items()):
                if process.poll() is None:
                    continue
                pause[name] = 1.0 if now - started[name] > 60 else min(self._longest_pause_s, pause[name] * 2)
                log.error("role_died", role=name, exit_code=process.returncode, restart_in_s=pause[name])
                due[name] = now + pause[name]
                del self._running[name]
            for name in [name for name, when in due.items() if when <= now]:
                del due[name]
                started[name] = self._start(name)
        self._drain()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self, name: str) -> float:
        self._running[name] = subprocess.Popen(self._roles[name], start_new_session=True)
        log.info("role_started", role=name, pid=self._running[name].pid)
        return time.monotonic()

    def _drain(self) -> None:
        """Let every role finish what it holds; what is not done in time loses nothing, its lease runs out."""
        log.info("draining", roles=list(self._running))
        for process in self._running.values():
            process.terminate()
        end = time.monotonic() + self._drain_s
        for name, process in self._running.items():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("role_killed", role=name)
                process.kill()
                process.wait()
