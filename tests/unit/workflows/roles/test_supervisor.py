"""Supervisor: a role that dies or falls silent is replaced, and SIGTERM drains all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import await_true
from workflows.errors import SettingsError
from workflows.roles.running import end_orphans, note_roles, sole_supervisor

# Each role notes its pid; `clean` ends on SIGTERM, `stubborn` does not.
PROGRAM = """
import sys
import workflows.roles.supervisor as supervisor
from pathlib import Path
from workflows.roles.running import sole_supervisor

folder = Path(sys.argv[1])
ROLE = '''
import os, signal, sys, time
from pathlib import Path
from workflows.roles.liveness import Liveness
folder, name = Path(sys.argv[1]), sys.argv[2]
def drained(*_):
    (folder / f"{name}.drained").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if name == "stubborn" else drained)
with (folder / name).open("a") as pids:
    pids.write(f"{os.getpid()}\\\\n")
alive = Liveness(name, folder)
while True:
    alive.beat()
    time.sleep(0.05)
'''
start = supervisor.subprocess.Popen

class Popen(start):
    def __init__(self, command, **options):
        super().__init__([sys.executable, "-c", ROLE, str(folder), command[-1]], **options)

supervisor.subprocess.Popen = Popen
with sole_supervisor(folder / "run"):
    roles = {name: [name] for name in sys.argv[2:]}
    supervisor.Supervisor(roles, folder / "run", drain_s=1, silent_s=1).run()
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


@pytest.mark.slow
def test_a_role_that_stands_still_is_replaced(running: Running) -> None:
    (clean,), (stubborn,) = running.pids("clean"), running.pids("stubborn")
    await_true(lambda: list((running.folder / "run").glob("clean@*.alive")), "a beat")
    os.kill(clean, signal.SIGSTOP)
    assert running.pids("clean", 2)[0] == clean
    assert not Path(f"/proc/{clean}").exists()
    assert running.pids("stubborn") == [stubborn]


@pytest.mark.slow
def test_the_next_supervisor_ends_what_a_dead_one_left_and_refuses_beside_a_living_one(running: Running) -> None:
    (_clean,), (stubborn,) = running.pids("clean"), running.pids("stubborn")
    with pytest.raises(SettingsError, match=f"pid {running.process.pid}"), sole_supervisor(running.folder / "run"):
        pass
    running.process.kill()
    running.process.wait()
    assert Path(f"/proc/{stubborn}").exists(), "it does not heed the signal that it gets then"
    with sole_supervisor(running.folder / "run"):
        assert not Path(f"/proc/{stubborn}").exists() or " Z " in Path(f"/proc/{stubborn}/stat").read_text()


def test_a_process_that_only_has_the_number_of_a_role_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        note_roles(tmp_path, {"scp": other.pid})
        noted = json.loads((tmp_path / "roles.json").read_text())
        noted["roles"]["scp"][1] = "1"
        (tmp_path / "roles.json").write_text(json.dumps(noted))
        end_orphans(tmp_path)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("written", [b"", b"[]", b"{", b'{"boot": 1, "roles": {"scp": 3}}'])
def test_a_list_of_roles_that_cannot_be_read_stops_nobody(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "roles.json").write_bytes(written)
    end_orphans(tmp_path)
