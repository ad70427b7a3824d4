"""Supervisor: a role that dies is started again, and SIGTERM drains all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import await_true

# Each role notes its pid; `clean` ends on SIGTERM, `stubborn` does not.
PROGRAM = """
import sys
import workflows.roles.supervisor as supervisor
from pathlib import Path

folder = Path(sys.argv[1])
ROLE = '''
import os, signal, sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), sys.argv[2]
def drained(*_):
    (folder / f"{name}.drained").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if name == "stubborn" else drained)
with (folder / name).open("a") as pids:
    pids.write(f"{os.getpid()}\\\\n")
while True:
    time.sleep(0.05)
'''
start = supervisor.subprocess.Popen

class Popen(start):
    def __init__(self, command, **options):
        super().__init__([sys.executable, "-c", ROLE, str(folder), command[-1]], **options)

supervisor.subprocess.Popen = Popen
supervisor.Supervisor({name: [name] for name in sys.argv[2:]}, drain_s=1).run()
"""


class Running:
    def __init__(self, folder: Path, *roles: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), *roles])

    def pids(self, role: str, count: int = 1) -> list[int]:
        """The pids that the role has had, once there are `count`."""

        def noted() -> list[int]:
            path = self.folder / role
            found = [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []
            return found if len(found) >= count else []

        found: list[int] = await_true(noted, f"start {count} of {role}")
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = Running(tmp_path, "clean", "stubborn")
    yield started
    for role in ("clean", "stubborn"):
        for pid in started.pids(role):
            if Path(f"/proc/{pid}/cmdline").exists() and str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
    if started.process.poll() is None:
        started.process.kill()
    started.process.wait()


@pytest.mark.slow
def test_a_role_that_dies_is_started_again_and_the_others_are_left_alone(running: Running) -> None:
    (clean,), (stubborn,) = running.pids("clean"), running.pids("stubborn")
    os.kill(clean, signal.SIGKILL)
    assert running.pids("clean", 2)[0] == clean
    assert running.pids("stubborn") == [stubborn]


@pytest.mark.slow
def test_sigterm_lets_every_role_finish_and_ends_one_that_does_not(running: Running, tmp_path: Path) -> None:
    (_clean,), (stubborn,) = running.pids("clean"), running.pids("stubborn")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    assert (tmp_path / "clean.drained").exists()
    assert not Path(f"/proc/{stubborn}").exists()
