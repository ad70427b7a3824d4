"""Liveness: a role that beats is seen, one that is silent is ended by the check of its container."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflows.roles.liveness import LIVENESS_FD, SILENT_S, Liveness, is_alive

CHECK = [sys.executable, "-m", "workflows.roles.liveness"]


def alive_file(folder: Path) -> Path:
    (found,) = (folder / "run").glob("io@*.alive")
    return found


def silence(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(alive_file(folder), (then, then))


def test_a_role_that_beats_is_alive_whatever_the_clock_did(tmp_path: Path) -> None:
    assert not is_alive("io", tmp_path)
    role = Liveness("io", tmp_path)
    for jump in (3600.0, -3600.0):
        silence(tmp_path, jump)
        assert not is_alive("io", tmp_path)
        role.beat()
        assert is_alive("io", tmp_path)
    assert not is_alive("scp", tmp_path)


def test_the_supervisor_hears_each_beat_and_a_full_pipe_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = os.pipe()
    try:
        monkeypatch.setenv(LIVENESS_FD, str(theirs))
        role = Liveness("io", tmp_path)
        assert LIVENESS_FD not in os.environ and not os.get_inheritable(theirs), "for this process alone"
        role.beat()
        assert os.read(ours, 10) == b"."
        os.set_blocking(theirs, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(theirs, b"x" * 4096)
        role.beat()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_folder_that_takes_nothing_keeps_no_role_from_beating(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    Liveness("io", tmp_path).beat()


def test_the_check_of_a_container_ends_a_silent_role(tmp_path: Path) -> None:
    Liveness("io", tmp_path).beat()
    check = [*CHECK, str(tmp_path), "io"]
    assert subprocess.run(check, timeout=60, check=False).returncode == 0
    role = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        alive_file(tmp_path).write_text(f"{role.pid}\n")
        silence(tmp_path, SILENT_S + 1)
        assert subprocess.run(check, timeout=60, check=False).returncode == 1 and role.poll() is None
        assert subprocess.run([*check, "--end"], timeout=60, check=False).returncode == 1
        assert role.wait(30) < 0
    finally:
        role.kill()
        role.wait()
