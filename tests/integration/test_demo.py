"""The demo, as `make demo` runs it: a whole node, real studies, results back, and the marker where it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MEDSEG_NODE__NODE__DATA_DIR": str(folder), "COLUMNS": "200", **settings}
    command = [sys.executable, "-m", "workflows.commands.cli", "demo", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, check=False)


@pytest.mark.timeout(300)
def test_the_demo_shows_what_a_person_wants_to_see_and_ends_well(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    with_ct = "the demo's CT is not in" not in shown  # it comes by `make test`, where the network allows
    first = "demo-abdominal-ct 1" if with_ct else "demo-abdominal-mr 1"
    for expected in (
        f"protocol  {first}",
        "protocol  demo-head-ct 1",
        "question  Where is the liver?",
        "terms     RESEARCH USE ONLY",
        "protocol  commissioning 1",
        "all came back",
    ):
        assert expected in shown
    assert shown.count("the marker came back where it is") == 2
    assert shown.index(first) < shown.index("demo-head-ct 1"), "the right answer comes first"
    assert f"... sending {21 if with_ct else 2} instances by C-STORE" in shown and "questions answered" in shown
    paths = re.findall(r"^(SEG|SR|overlay) +(/.*)$", shown, flags=re.MULTILINE)
    assert {kind for kind, _ in paths} == {"SEG", "SR", "overlay"}
    assert all(Path(path).is_file() for _, path in paths)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--archive", "PACS"), "is not AE@host:port"),
        (("--study", "nowhere"), "does not exist"),
        (("--study", "."), "holds no DICOM files"),
    ],
)
def test_a_wrong_call_is_refused_with_its_reason(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    words = tuple(str(tmp_path) if word == "." else word for word in words)
    done = demo(tmp_path / "data", *words)
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr
