"""Liveness: how a role proves that it still works, and how others look at that. Only the standard library: it is cheap.

Each role beats about once a second from its main loop. A beat goes to the supervisor that started it, to systemd where
that waits for one, and into the time of a file, `DATA_DIR/run/ROLE@HOST.alive`, which a container's health check reads:

    python -m workflows.roles.liveness DATA_DIR ROLE [--end]

`--end` kills a silent role, since an engine restarts a container that has ended, not one that is unhealthy.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

__all__ = ["BEAT_S", "LIVENESS_FD", "SILENT_S", "Liveness", "die_with_parent", "is_alive", "notify_systemd"]

BEAT_S = 1.0
SILENT_S = 10.0
"""A role that has not beaten for so long is replaced."""
LIVENESS_FD = "MEDSEG_LIVENESS_FD"
"""Environment variable: the descriptor that a supervised role writes its beats to."""


class Liveness:
    """The beats of one role. Whatever cannot be told, such as on a full disk, is left out: beating never fails."""

    def __init__(self, role: str, data_dir: Path) -> None:
        self._pipe = _supervisors_pipe()
        self._file = _alive_file(role, data_dir)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write_text(f"{os.getpid()}\n")

    def beat(self) -> None:
        """Tell that the main loop has come by."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # a full pipe: the supervisor does not read, and is told soon enough
                os.write(self._pipe, b".")
        with contextlib.suppress(OSError):
            os.utime(self._file)
        notify_systemd("WATCHDOG=1")

    def until(self, stop: threading.Event) -> None:
        """Beat until `stop`."""
        self.beat()
        while not stop.wait(BEAT_S):
            self.beat()


def _supervisors_pipe() -> int | None:
    given = os.environ.pop(LIVENESS_FD, "")
    if not given.isdigit():
        return None
    descriptor = int(given)
    try:
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
    except OSError:
        return None
    return descriptor


def _alive_file(role: str, data_dir: Path) -> Path:
    return data_dir / "run" / f"{role}@{socket.gethostname()}.alive"


def is_alive(role: str, data_dir: Path, silent_s: float = SILENT_S) -> bool:
    """Whether a role of this host has beaten lately. A clock that jumps is right again with the next beat."""
    try:
        return abs(time.time() - _alive_file(role, data_dir).stat().st_mtime) < silent_s
    except OSError:
        return False


def notify_systemd(state: str) -> None:
    """Tell systemd, where it started us with NOTIFY_SOCKET; see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal once the process that started us is gone (prctl(2)); nothing elsewhere."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _end(role: str, data_dir: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(_alive_file(role, data_dir).read_text())
        if pid > 1:
            os.kill(pid, signal.SIGKILL)


def _main(arguments: list[str]) -> int:
    folder, role, *options = arguments
    if is_alive(role, Path(folder)):
        return 0
    print(f"{role} has not beaten for {SILENT_S:g} s", file=sys.stderr)
    if "--end" in options:
        _end(role, Path(folder))
    return 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
