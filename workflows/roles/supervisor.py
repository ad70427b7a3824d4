"""Runs every role as a process of its own, replaces one that is dead or silent, and drains them on SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import structlog

from workflows.roles.liveness import LIVENESS_FD, SILENT_S, die_with_parent, notify_systemd
from workflows.roles.running import note_roles

__all__ = ["Supervisor"]

log = structlog.get_logger()

_STEADY_S = 60.0
_NOTIFY_S = 1.0


class _Role:
    """One running role, and when it last proved that it lives."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._beats, theirs = os.pipe()
        os.set_blocking(self._beats, False)
        try:
            self.process = subprocess.Popen(
                command,
                start_new_session=True,
                pass_fds=[theirs],
                env={**environment, LIVENESS_FD: str(theirs)},
                preexec_fn=_end_with_us,  # there is one thread here: nothing that it could get stuck on
            )
        finally:
            os.close(theirs)
        self.started = self.last_beat = time.monotonic()
        self.has_beaten = False

    def silent_s(self) -> float:
        """How long it has been silent; what it told meanwhile is read first."""
        with contextlib.suppress(BlockingIOError):
            if os.read(self._beats, 65536):
                self.last_beat, self.has_beaten = time.monotonic(), True
        return time.monotonic() - self.last_beat

    def kill(self) -> None:
        """End it, with all that it has started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        os.close(self._beats)


def _end_with_us() -> None:
    die_with_parent(signal.SIGTERM)


class Supervisor:
    """Keeps `roles` (name -> the whole command) running until it is told to stop.

    A role that dies is started again. So is one that falls silent for `silent_s` seconds after it has beaten (see
    `liveness`), or does not begin to beat within `start_s`. The pause before that doubles up to `longest_pause_s` while
    a role keeps dying. `run_folder`: where the running roles are written down.
    """

    def __init__(
        self,
        roles: Mapping[str, Sequence[str]],
        run_folder: Path,
        *,
        drain_s: float = 60.0,
        longest_pause_s: float = 14.0,
        silent_s: float = SILENT_S,
        start_s: float = 120.0,
    ) -> None:
        self._roles, self._run_folder = roles, run_folder
        self._drain_s, self._longest_pause_s = drain_s, longest_pause_s
        self._silent_s, self._start_s = silent_s, start_s
        self._stop = threading.Event()
        self._running: dict[str, _Role] = {}
        self._pause = dict.fromkeys(roles, 0.5)
        # What waits for us is ours: roles have supervisors, and no systemd.
        self._environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}

    def run(self) -> None:
        """Start the roles and watch them; returns after SIGTERM or SIGINT, once all have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for name in self._roles:
            self._start(name)
        notify_systemd("READY=1")
        due: dict[str, float] = {}
        notified = 0.0
        while not self._stop.wait(0.2):
            now = time.monotonic()
            if now - notified >= _NOTIFY_S:
                notify_systemd("WATCHDOG=1")
                notified = now
            for role in list(self._running.values()):
                if self._is_gone(role):
                    due[role.name] = now + self._after_death(role)
            for name in [name for name, when in due.items() if when <= now]:
                del due[name]
                self._start(name)
        self._drain()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self, name: str) -> None:
        role = self._running[name] = _Role(name, self._roles[name], self._environment)
        log.info("role_started", role=name, pid=role.process.pid)
        self._note()

    def _note(self) -> None:
        note_roles(self._run_folder, {name: role.process.pid for name, role in self._running.items()})

    def _is_gone(self, role: _Role) -> bool:
        """Whether a role has died; one that is silent is made to."""
        silent_s = role.silent_s()
        if role.process.poll() is None and silent_s > (self._silent_s if role.has_beaten else self._start_s):
            log.error("role_silent", role=role.name, silent_s=round(silent_s))
            role.kill()
        return role.process.poll() is not None

    def _after_death(self, role: _Role) -> float:
        """Clear up after a role; how long to wait before it is started again."""
        role.kill()  # what it has started and left behind
        role.close()
        del self._running[role.name]
        steady = time.monotonic() - role.started > _STEADY_S
        pause = self._pause[role.name] = 1.0 if steady else min(self._longest_pause_s, self._pause[role.name] * 2)
        log.error("role_died", role=role.name, exit_code=role.process.returncode, restart_in_s=pause)
        self._note()
        return pause

    def _drain(self) -> None:
        """Let every role finish what it holds; what is not done in time loses nothing, its lease runs out."""
        log.info("draining", roles=list(self._running))
        notify_systemd("STOPPING=1")
        for role in self._running.values():
            role.process.terminate()
        end = time.monotonic() + self._drain_s
        for name, role in self._running.items():
            while role.process.poll() is None and time.monotonic() < end:
                notify_systemd("WATCHDOG=1")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    role.process.wait(_NOTIFY_S)
            if role.process.poll() is None:
                log.warning("role_killed", role=name)
            role.kill()
        self._running.clear()
        self._note()
