"""The parent's end of the predicting child: starts it, speaks to it, looks at what it takes, ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from workflows.roles.predicting import Message, Predict, Start
from workflows.settings import Settings

__all__ = ["Child", "ChildEnded"]

_PROGRAM = """
import signal
from workflows.roles.liveness import die_with_parent
die_with_parent(signal.SIGKILL)
from workflows.roles.predicting import main
main({descriptor})
"""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ChildEnded(Exception):
    """The child is gone; the message says how it ended."""


class Child:
    """One running child. Must be started by a thread that lives as long: the kernel ends the child with it."""

    def __init__(self, settings: Settings, owner: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(descriptor=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=dict(environment),
            )
            self._pipe: Connection[Any, Any] = Connection(ours.detach())
        self.pid = self._process.pid
        self._send(Start(settings, owner))

    def predict(self, job_key: str) -> None:
        """Have it answer a job. Raises ChildEnded."""
        self._send(Predict(job_key))

    def _send(self, message: Start | Predict) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise ChildEnded(self._how_it_ended()) from error

    def receive(self, timeout_s: float) -> Message | None:
        """What it says next; None if that takes longer. Raises ChildEnded."""
        try:
            if not self._pipe.poll(timeout_s):
                return None
            message: Message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ChildEnded(self._how_it_ended()) from error
        return message

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def stands_still(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP, a debugger)."""
        with contextlib.suppress(OSError, IndexError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
        return False

    @property
    def memory_bytes(self) -> int:
        """Memory that it holds now (resident set), in bytes; 0 where that is not known."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        return 0

    def kill(self) -> str:
        """End it, whatever it does; return how it ended."""
        self._process.kill()
        told = self._how_it_ended()
        self._pipe.close()
        return told

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(2.0)
        except subprocess.TimeoutExpired:  # it closed the pipe and goes on
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return name if name != "SIGKILL" else "SIGKILL, perhaps because the machine had no memory left"
