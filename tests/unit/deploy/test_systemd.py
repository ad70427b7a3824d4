"""The systemd unit parses, and agrees with the supervisor about draining and with the page that installs it."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
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
    assert (setting(unit, "Restart"), setting(unit, "RestartPreventExitStatus")) == ("on-failure", "2")
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
