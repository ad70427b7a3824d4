"""What others' tools say about a result, and the identity that a job's results are saved with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from dicom_node.results.finding import ReadPart
from dicom_node.results.identity import ResultIdentity, own_texts, result_identity


def installed(tool: str) -> str:
    if shutil.which(tool) is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"no {tool}: install dicom3tools and dcmtk")
        pytest.skip(f"no {tool}: install dicom3tools and dcmtk")
    return tool


def errors_of_dciodvfy(path: Path) -> list[str]:
    done = subprocess.run([installed("dciodvfy"), path], capture_output=True, check=False)
    verdict = done.stderr.decode(errors="replace")
    assert "Segmentation" in verdict or "SR" in verdict
    return [line for line in verdict.splitlines() if line.startswith("Error")]


def dsrdump(path: Path) -> str:
    # The full path: pynetdicom's environment may have commands that are named like DCMTK's.
    done = subprocess.run([installed("/usr/bin/dsrdump"), path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="replace")


def identity_of(parts: Sequence[ReadPart]) -> ResultIdentity:
    return result_identity(parts[0].volume.identity, own_texts([part.answers for part in parts]))
