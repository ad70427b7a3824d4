""".ci/debian-packages: installs what is missing, starts nothing, and never stops a test run by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run(checkout: Path, folder: Path, user: int, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script with stand-ins for Debian's programs; what it would do stands in `folder`/done."""
    commands = folder / "bin"
    commands.mkdir()
    for name in ("bash", "grep", "env", "chmod", "tee", "rm", "sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (commands / name).symlink_to(found)
    for name, body in {"id": f"echo {user}", **programs}.items():
        script = commands / name.replace("_", "-")
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    environment = {"PATH": str(commands), "POLICY_RC_D": str(folder / "policy-rc.d"), "DONE": str(folder / "done")}
    command = [str(checkout / ".ci" / "debian-packages"), "orthanc", "dcmtk"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


ONLY_DCMTK = 'case "$*" in *dcmtk*) printf installed;; *) exit 1;; esac'


def test_only_what_is_missing_is_installed_and_its_service_is_kept_from_starting(
    checkout: Path, tmp_path: Path
) -> None:
    apt = 'echo "$*" >>"$DONE"; sh "$POLICY_RC_D"; echo "policy $?" >>"$DONE"'
    done = run(checkout, tmp_path, 0, dpkg_query=ONLY_DCMTK, apt_get=apt)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "done").read_text().splitlines()
    assert "install -y --no-install-recommends orthanc" in lines[2] and "dcmtk" not in lines[2]
    assert lines[3] == "policy 101"
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_policy_that_was_there_stays(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    run(checkout, tmp_path, 0, dpkg_query=ONLY_DCMTK, apt_get="true")
    assert (tmp_path / "policy-rc.d").exists()


def test_nothing_is_done_where_all_is_there(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout, tmp_path, 0, dpkg_query="printf installed", apt_get='echo called >>"$DONE"')
    assert done.returncode == 0 and not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("user", "programs", "said"),
    [
        (1000, {}, "no Debian"),
        (1000, {"dpkg_query": ONLY_DCMTK}, "as root, apt-get install orthanc"),
        (0, {"dpkg_query": ONLY_DCMTK, "apt_get": "exit 100"}, "could not install orthanc"),
    ],
)
def test_where_it_cannot_install_it_says_so_and_goes_on(
    checkout: Path, tmp_path: Path, user: int, programs: dict[str, str], said: str
) -> None:
    done = run(checkout, tmp_path, user, **programs)
    assert done.returncode == 0 and said in done.stderr


def test_the_scripts_may_be_run(checkout: Path) -> None:
    assert all(os.access(checkout / ".ci" / name, os.X_OK) for name in ("run", "debian-packages"))
