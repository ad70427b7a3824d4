"""Simulator: stored studies are replayed as the node would plan them, and both answers are explained."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from workflows.protocols.loader import load_directory
from workflows.protocols.simulator import main, read_studies, replay, verdict_table


def test_a_folder_of_studies_is_replayed_with_reasons(checkout: Path, shared_data: Path, tmp_path: Path) -> None:
    series = shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom"
    shutil.copytree(series, tmp_path / "study")
    (tmp_path / "notes.txt").write_text("not DICOM")
    verdicts = replay(read_studies(tmp_path), load_directory(checkout / "deploy" / "protocols"))
    asked, *others = verdicts
    assert (asked.protocol, asked.asked, asked.series_description) == ("abdominal-ct 1", True, "CT Body 3.0")
    assert "series description 'CT Body 3.0'" in asked.as_json()["reason"]
    reasons = {verdict.protocol: verdict.reason for verdict in others if not verdict.asked}
    assert reasons["chest-radiograph"] == "modality CT is not CR or DX"

    written = StringIO()
    Console(file=written, width=250).print(verdict_table(verdicts))
    assert "CT Body 3.0" in written.getvalue() and "yes" in written.getvalue()


def test_every_series_of_the_shared_studies_gets_a_verdict_from_every_protocol(
    checkout: Path, shared_data: Path
) -> None:
    protocols = load_directory(checkout / "deploy" / "protocols")
    studies = list(read_studies(shared_data / "dicom"))
    verdicts = replay(studies, protocols)
    assert len(verdicts) == len(protocols) * sum(len(study.series) for study in studies)
    assert all(verdict.reason for verdict in verdicts)
    asked = {(verdict.series_description, verdict.protocol) for verdict in verdicts if verdict.asked}
    assert ("CT Body 3.0", "abdominal-ct 1") in asked
    assert ("Chest PA PA", "chest-radiograph 1") in asked
    assert not {name for name, _ in asked} & {"Scout", "Routine Brain", "HELICAL CHEST", "Liver Segmentation"}


def test_the_command_prints_json_and_names_mistakes(
    checkout: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom"
    assert main([str(checkout / "deploy" / "protocols"), str(series), "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out)
    assert [verdict["protocol"] for verdict in verdicts if verdict["asked"]] == ["abdominal-ct 1"]
    (tmp_path / "bad.yaml").write_text("name: x\n")
    assert main([str(tmp_path), str(series)]) == 2
    assert "bad.yaml:1: a protocol lacks 'version'" in capsys.readouterr().err
