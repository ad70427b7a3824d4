"""`medseg-node commission` and `doctor` against Debian's Orthanc: by DIMSE and by DICOMweb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest

from tests.services import Orthanc, running_orthanc

pytestmark = pytest.mark.service("orthanc")


@pytest.fixture(scope="module")
def archive() -> Orthanc:
    """An Orthanc that knows the node: it answers queries to nobody else."""
    with running_orthanc(modalities={"medseg": ["MEDSEG", "127.0.0.1", 11112]}) as service:
        yield service


def medseg_node(archive: Orthanc, folder: Path, *words: str, **entry: str) -> subprocess.CompletedProcess[str]:
    entries = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "orthanc_url": archive.url, **entry}
    config = folder / "node.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
    config.write_text("\n".join(["[node]", "port = 0", "[[archives]]", f"port = {archive.dicom_port}", *lines]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    command = [sys.executable, "-m", "workflows.commands.cli", *words, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


@pytest.mark.parametrize("profile", ["ohif", "plain-pacs"])
@pytest.mark.parametrize("way", ["c-store", "stow-rs"])
def test_every_mark_comes_back_and_the_study_is_gone(archive: Orthanc, tmp_path: Path, way: str, profile: str) -> None:
    web = {} if way == "c-store" else {"delivery": way, "dicomweb_url": f"{archive.url}/dicom-web"}
    done = medseg_node(
        archive, tmp_path, "commission", "--archive", "pacs", "--out", str(tmp_path / "out"), "--json",
        profile=profile, **web,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] and said["removed"] and said["not_shown"] == said["strays"] == 0
    assert [series["name"] for series in said["series"]] == ["axial", "oblique", "tilted gantry", "projection"]
    kinds = {"ohif": {"SEG", "SR"}, "plain-pacs": {"SC"}}[profile]
    for series in said["series"]:
        whats = {one["what"] for one in series["objects"]}
        # An image without geometry may have contours in its report instead of a SEG.
        assert "images" in whats and kinds - ({"SEG"} if series["name"] == "projection" else set()) <= whats
        assert len(series["marks"]) == 8
        assert all(off < 1e-3 for mark in series["marks"] for off in mark["off"].values())
    with pypdfium2.PdfDocument(said["report"]) as document:
        told = {"ohif": "All marks came back", "plain-pacs": "Images and pictures came back"}[profile]
        assert len(document) == (1 if profile == "ohif" else 2)  # captures have a page of their own
        assert said["verdict"] == told and told in document[0].get_textpage().get_text_range()
    assert archive.post("/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": said["study_uid"]}}) == []


def test_kept_it_stays_with_its_images_and_results_in_one_study(archive: Orthanc, tmp_path: Path) -> None:
    done = medseg_node(
        archive, tmp_path, "commission", "--archive", "pacs", "--out", str(tmp_path / "out"), "--keep", "--yes",
        profile="slicer",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all marks came back: archive pacs, profile slicer" in done.stdout
    (study,) = archive.post("/tools/find", {"Level": "Study", "Query": {"PatientID": "MEDSEG-COMMISSIONING"}})
    statistics = archive.get(f"/studies/{study}/statistics")
    assert statistics["CountInstances"] >= 63 + 7


def test_an_archive_that_does_not_know_the_node_says_what_to_do(tmp_path: Path) -> None:
    with running_orthanc() as stranger:
        done = medseg_node(
            stranger, tmp_path, "commission", "--archive", "pacs", "--out", str(tmp_path / "out"), "--yes"
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "C-FIND" in done.stderr and "The study was removed" in done.stderr
        assert stranger.get("/studies") == []


def test_doctor_looks_at_every_service_of_the_archive(archive: Orthanc, tmp_path: Path) -> None:
    said = json.loads(medseg_node(archive, tmp_path, "doctor", "--json", profile="ohif", also="pdf").stdout)
    checks = {one["name"]: (one["outcome"], one["detail"]) for one in said["checks"] if "pacs" in one["name"]}
    assert checks.pop("archive pacs")[0] == "ok"
    assert checks == {
        "archive pacs classes": ("ok", "4 SOP classes of profile ohif are taken"),
        "archive pacs query": ("ok", "C-FIND is answered"),
        "archive pacs Orthanc": ("ok", "Orthanc 1.10.1 answers"),
    }
