"""What others' tools say about a result, and the identity that a job's results are saved with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.results.finding import ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity, own_texts, result_identity
from dicom_node.results.profiles import PROFILES
from dicom_node.results.segmentation import build_segmentation

_IODS = (
    "Segmentation",
    "SR",
    "KeyObject",
    "SCImage",
    "SCMultiframe",
    "MultiframeTrueColor",
    "Softcopy",
    "EncapsulatedPDF",
)
"""As dciodvfy calls what it knows; it says nothing wrong of a class that it does not know."""


def installed(tool: str) -> str:
    if shutil.which(tool) is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"no {tool}: install dicom3tools and dcmtk")
        pytest.skip(f"no {tool}: install dicom3tools and dcmtk")
    return tool


def errors_of_dciodvfy(path: Path) -> list[str]:
    done = subprocess.run([installed("dciodvfy"), path], capture_output=True, check=False)
    verdict = done.stderr.decode(errors="replace")
    assert any(iod in verdict for iod in _IODS), verdict
    return [line for line in verdict.splitlines() if line.startswith("Error")]


def dsrdump(path: Path) -> str:
    # The full path: pynetdicom's environment may have commands that are named like DCMTK's.
    done = subprocess.run([installed("/usr/bin/dsrdump"), path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="replace")


def identity_of(parts: Sequence[ReadPart]) -> ResultIdentity:
    return result_identity(parts[0].volume.identity, own_texts([part.answers for part in parts]))


def segmentation_in(part: ReadPart, context: ResultContext) -> Dataset | None:
    """The SEG that a part gets in the profile of `context`."""
    projection = part.volume.geometry is None
    return (
        None
        if projection and not PROFILES[context.profile].projections_segmented
        else build_segmentation(part, context)
    )


def tid1500reader(path: Path, folder: Path) -> dict[str, Any]:
    """What dcmqi reads of a report."""
    program = Path(sys.executable).parent / "tid1500reader"
    call = [sys.executable, program, "--inputDICOM", path, "--outputMetadata", folder / "read.json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "rror" not in done.stdout + done.stderr, done.stdout + done.stderr
    return json.loads((folder / "read.json").read_text())
