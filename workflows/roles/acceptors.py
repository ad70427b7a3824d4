"""Acceptor processes, started and watched: each serves associations that the process with the port hands to it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import structlog

from dicom_node.network.upper_layer.handover import ANSWERED_S, AcceptorLink, control_sockets
from workflows.steps.intake import IntakeSettings

__all__ = ["AcceptorSettings", "Acceptors"]

log = structlog.get_logger()

_LONGEST_PAUSE_S = 14.0
_LOOK_S = 0.1
_STARTS_WITHIN_S = 120.0
_SILENT_S = 10.0
"""One that has not reported for so long stands still, and is ended."""
_GOOD_AFTER_S = 10.0
"""Who dies later than that is replaced at once, who dies earlier after a pause that doubles."""


@dataclass(frozen=True)
class AcceptorSettings:
    """What an acceptor process is told at its start. `all_settings`: the node's, pickled, for what comes seldom."""

    intake: IntakeSettings
    log_format: str
    all_settings: bytes


@dataclass
class _Acceptor:
    process: subprocess.Popen[bytes]
    link: AcceptorLink
    started_at: float


class Acceptors:
    """Keeps `number` acceptor processes running from `start` to `stop`.

    One that dies takes its own associations with it, none of which was told that an instance is safe that is not, and
    is replaced at once; one that keeps dying after a pause of up to 14 s. So is one that does not report for `silent_s`
    seconds, or is not ready within `start_s`.
    """

    def __init__(
        self,
        settings: AcceptorSettings,
        number: int,
        *,
        silent_s: float = _SILENT_S,
        start_s: float = _STARTS_WITHIN_S,
    ) -> None:
        self._silent_s, self._start_s = silent_s, start_s
        self._settings = settings
        self._number = number
        self._running: list[_Acceptor] = []
        self._due: list[float] = []
        self._pause_s = 0.0
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._replace_who_dies, name="acceptors", daemon=True)

    @property
    def links(self) -> Sequence[AcceptorLink]:
        """The ways to those that run now."""
        return [acceptor.link for acceptor in self._running]

    def start(self, stop: threading.Event) -> None:
        """Start them, and return once one of them can serve, time enough for that has gone, or `stop` is set."""
        for _ in range(self._number):
            self._running.append(self._started())
        self._watch.start()
        until = monotonic() + _STARTS_WITHIN_S
        while monotonic() < until and not any(link.ready for link in self.links):
            if stop.wait(_LOOK_S / 5):
                return

    def stop(self, grace_s: float) -> None:
        """Let associations end for `grace_s` seconds, then end the processes."""
        self._stopping.set()
        self._watch.join()
        for acceptor in self._running:
            acceptor.link.stop(grace_s)
        until = monotonic() + grace_s + ANSWERED_S
        for acceptor in self._running:
            try:
                acceptor.process.wait(max(0.1, until - monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("acceptor_killed", pid=acceptor.process.pid)
                acceptor.process.kill()
                acceptor.process.wait()
            acceptor.link.close()
        self._running.clear()

    def _replace_who_dies(self) -> None:
        looked_at = listening_since = monotonic()
        while not self._stopping.wait(_LOOK_S):
            now = monotonic()
            if now - looked_at > self._silent_s / 2:  # we stood still ourselves, and heard nobody meanwhile
                listening_since = now
            looked_at = now
            self._end_who_is_silent(now, listening_since)
            for acceptor in [one for one in self._running if one.process.poll() is not None]:
                lived_s = now - acceptor.started_at
                self._pause_s = 0.0 if lived_s > _GOOD_AFTER_S else min(_LONGEST_PAUSE_S, max(1.0, self._pause_s * 2))
                log.error(
                    "acceptor_died",
                    pid=acceptor.process.pid,
                    exit_code=acceptor.process.returncode,
                    restart_in_s=self._pause_s,
                )
                self._running = [one for one in self._running if one is not acceptor]
                acceptor.link.close()
                self._due.append(now + self._pause_s)
            for due in [due for due in self._due if due <= now]:
                self._due.remove(due)
                self._running = [*self._running, self._started()]

    def _end_who_is_silent(self, now: float, listening_since: float) -> None:
        for acceptor in self._running:
            silent_s = now - max(acceptor.link.heard_at, listening_since)
            if (
                silent_s > (self._silent_s if acceptor.link.ready else self._start_s)
                and acceptor.process.poll() is None
            ):
                log.error("acceptor_silent", pid=acceptor.process.pid, silent_s=round(silent_s))
                acceptor.process.kill()
                acceptor.process.wait()

    def _started(self) -> _Acceptor:
        ours, theirs = control_sockets()
        with theirs:
            # The settings hold passwords: neither arguments nor the environment are for them.
            process = subprocess.Popen(
                [sys.executable, "-m", "workflows.roles.acceptor", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
            )
        assert process.stdin is not None
        try:
            with process.stdin as settings:
                settings.write(pickle.dumps(self._settings))
        except BrokenPipeError:
            pass  # it has died already, and is replaced
        log.info("acceptor_started", pid=process.pid)
        return _Acceptor(process, AcceptorLink(ours), monotonic())
