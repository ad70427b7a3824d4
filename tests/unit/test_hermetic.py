"""The guard of the unit tests: what a test asks for stands in its markers, and `make fast` runs none of that."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest, socket, subprocess, sys

@pytest.fixture(scope="session")
def postgres(): return "a database"

@pytest.fixture(scope="session")
def shared_data(): return "a folder"

@pytest.fixture(params=["sqlite", pytest.param("marked", marks=pytest.mark.service("postgres")), "unmarked"])
def database(request): return request.param == "sqlite" or request.getfixturevalue("postgres")

def test_by_name(postgres): pass
def test_data_by_name(shared_data): pass
def test_dynamic(database): pass
def test_data_dynamic(request): request.getfixturevalue("shared_data")
def test_pure(): pass
@pytest.mark.slow
def test_slow(): pass

@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_socket(host):
    with socket.socket() as one:
        one.settimeout(0.1)
        one.connect_ex((host, 9))

def test_swallowed():
    try: socket.getaddrinfo("example.org", 80)
    except OSError: pass

@pytest.mark.parametrize("program", [sys.executable, "/bin/true"])
def test_program(program):
    subprocess.run([program, "-c", ""], check=True)
"""
CONFIGURATION = "[pytest]\nmarkers =\n    service(name)\n    shared_data\n    slow\n"


@pytest.fixture
def outcomes(tmp_path: Path) -> dict[str, str]:
    """What became of each of TESTS, under the guard and the choice of `make fast`."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path / "conftest.py")
    (tmp_path / "test_inner.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    (chosen,) = (line.partition(":= ")[2] for line in makefile.splitlines() if line.startswith("HERMETIC := "))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-m", chosen, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    # A test that passed and then failed in the guard stands there twice: its name comes last with what counts.
    lines.sort(key=lambda words: words[0] != "PASSED")
    return {words[1].partition("::")[2].replace(sys.executable, "python"): words[0] for words in lines}


def test_what_is_marked_is_left_out_and_what_is_unmarked_fails(outcomes: dict[str, str]) -> None:
    assert outcomes == {
        "test_dynamic[sqlite]": "PASSED",
        "test_program[python]": "PASSED",
        "test_pure": "PASSED",
        "test_socket[127.0.0.1]": "PASSED",
        "test_dynamic[unmarked]": "ERROR",
        "test_data_dynamic": "ERROR",
        "test_socket[192.0.2.1]": "FAILED",
        "test_swallowed": "ERROR",
        "test_program[/bin/true]": "FAILED",
    }
