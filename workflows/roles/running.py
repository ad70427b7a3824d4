"""One `up` for each data folder: it holds a lock, and writes down the roles that it has started.

A supervisor that is killed may leave roles behind. The next one finds them there, by process id and start time, never
by name, and ends them before it starts its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from workflows.errors import SettingsError

__all__ = ["end_orphans", "note_roles", "sole_supervisor"]

log = structlog.get_logger()

_ORPHANS_END_S = 5.0


@contextmanager
def sole_supervisor(run_folder: Path) -> Iterator[None]:
    """Be the only `up` on a data folder as long as the block; end first what an earlier one has left behind.

    Raises SettingsError where another one runs.
    """
    run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run_folder / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = path.read_text().strip() or "unknown"
            raise SettingsError(
                f"`medseg-node up` (pid {pid}) runs already on {run_folder.parent}: stop it first, or name another "
                "[node] data_dir"
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        end_orphans(run_folder)
        yield
    finally:
        os.close(descriptor)


def note_roles(run_folder: Path, pids: Mapping[str, int]) -> None:
    """Write down which roles run; where that cannot be written, orphans are left to the kernel and to systemd."""
    known = {name: [pid, started] for name, pid in pids.items() if (started := _started(pid))}
    draft = run_folder / ".roles.json"
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"boot": _boot(), "roles": known}))
        draft.replace(run_folder / "roles.json")


def end_orphans(run_folder: Path) -> None:
    """End the roles that an earlier supervisor has started and that still run, with all that they have started."""
    left = _left_behind(run_folder)
    for pid in left:
        log.warning("orphan_ended", role=left[pid][0], pid=pid)
        _signal_group(pid, signal.SIGTERM)
        _signal_group(pid, signal.SIGCONT)  # one that stands still does not see the other signal
    end = time.monotonic() + _ORPHANS_END_S
    while (there := [pid for pid, (_, started) in left.items() if _started(pid) == started]) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in there:
        _signal_group(pid, signal.SIGKILL)
    while any(_started(pid) == left[pid][1] for pid in there) and time.monotonic() < end + _ORPHANS_END_S:
        time.sleep(0.05)


def _left_behind(run_folder: Path) -> dict[int, tuple[str, str]]:
    """Living roles of an earlier supervisor: pid -> name and start time."""
    try:
        noted = json.loads((run_folder / "roles.json").read_text())
        if noted["boot"] != _boot():
            return {}
        roles = {int(pid): (str(name), str(started)) for name, (pid, started) in noted["roles"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {pid: role for pid, role in roles.items() if pid > 1 and _started(pid) == role[1]}


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Each role leads a process group of its own."""
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _started(pid: int) -> str:
    """When a process started, in ticks since the machine did (proc(5), field 22); "" for one that is gone or dead."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
