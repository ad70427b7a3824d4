"""The systemd unit parses, and agrees with the supervisor about draining and with the page that installs it."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.roles.supervisor import Supervisor


@pytest.fixture
def unit(checkout: Path) -> str:
    return (checkout / "deploy" / "systemd" / "medseg-node.service").read_text(encoding="utf-8")


def setting(unit: str, name: str) -> str:
    """The one value of a directive."""
    (value,) = re.findall(rf"^{name}=(.*)$", unit, flags=re.MULTILINE)
    return str(value)


@pytest.mark.service("systemd")
def test_systemd_takes_the_unit(checkout: Path, tmp_path: Path, unit: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze: install systemd")
    # systemd wants the program to be there; the checkout stands for the place where a hospital installs it.
    program = setting(unit, "ExecStart").split()[0]
    copy = tmp_path / "medseg-node.service"
    copy.write_text(unit.replace(program, str(shutil.which("true"))), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60)
    about_us = [line for line in (done.stdout + done.stderr).splitlines() if "medseg" in line]
    assert (done.returncode, about_us) == (0, []), done.stderr


def test_the_unit_restarts_what_may_pass_and_waits_until_the_roles_are_drained(unit: str) -> None:
    assert (setting(unit, "Restart"), setting(unit, "RestartPreventExitStatus")) == ("always", "2")
    assert int(setting(unit, "WatchdogSec")) + int(setting(unit, "RestartSec")) < 15, (
        "a dead supervisor is back by then"
    )
    assert (setting(unit, "Type"), setting(unit, "KillMode")) == ("notify", "mixed"), "who is left behind is killed"
    drain_s = inspect.signature(Supervisor.__init__).parameters["drain_s"].default
    assert int(setting(unit, "TimeoutStopSec")) > drain_s
    assert f"for up to {drain_s:.0f} s" in unit


def test_the_unit_keeps_its_data_where_the_service_may_write(unit: str) -> None:
    folder = f"/var/lib/{setting(unit, 'StateDirectory')}"
    assert f"Environment=MEDSEG_NODE__NODE__DATA_DIR={folder}\n" in unit
    assert setting(unit, "WorkingDirectory") == folder


def test_the_page_for_hospital_it_installs_it_where_it_looks(checkout: Path, unit: str) -> None:
    page = (checkout / "docs" / "hospital-it.md").read_text(encoding="utf-8")
    program, *words = setting(unit, "ExecStart").split()
    assert program.endswith("/.venv/bin/medseg-node") and words[:2] == ["up", "--config"]
    for place in (program.removesuffix("/.venv/bin/medseg-node"), str(Path(words[2]).parent), setting(unit, "User")):
        assert place in page


def test_the_supervisor_tells_systemd_that_it_has_started_and_works(tmp_path: Path) -> None:
    address = f"\0medseg-{os.getpid()}-{tmp_path.name}"
    program = (
        "import sys; from pathlib import Path; from workflows.roles.supervisor import Supervisor; "
        "Supervisor({}, Path(sys.argv[1])).run()"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": "@" + address[1:]}
        supervisor = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment)
        try:
            assert systemd.recv(100) == b"READY=1"
            assert [systemd.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            supervisor.terminate()
            while (told := systemd.recv(100)) == b"WATCHDOG=1":
                pass
            assert told == b"STOPPING=1"
            assert supervisor.wait(60) == 0
        finally:
            supervisor.kill()
            supervisor.wait()
