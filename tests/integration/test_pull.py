"""`medseg-node pull`: a real archive is asked for what was never routed, by C-FIND and C-MOVE, C-GET, and DICOMweb."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from dicom_node.results.equipment import MANUFACTURER
from tests.integration.conftest import COMMAND
from tests.services import Orthanc, free_port, running_orthanc
from workflows.bootstrap import Node
from workflows.settings import load_settings
from workflows.steps.pull import PullState, PullWish

pytestmark = [pytest.mark.service("orthanc"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc(port: int) -> Iterator[Orthanc]:
    with running_orthanc(modalities={"medseg": ["MEDSEG", "127.0.0.1", port]}) as service:
        yield service
        service.service.kill()


@pytest.fixture
def config(request: pytest.FixtureRequest, orthanc: Orthanc, port: int, tmp_path: Path) -> Path:
    """A node's settings; the archive is asked by C-FIND, or by the parameter "qido" over DICOMweb."""
    path = tmp_path / "node.toml"
    web = f'dicomweb_url = "{orthanc.url}/dicom-web"' if getattr(request, "param", "") == "qido" else ""
    path.write_text(
        f"""[node]
port = {port}
data_dir = "data"
log_format = "json"
minimum_free_mb = 0
[[archives]]
name = "pacs"
ae_title = "{orthanc.ae_title}"
host = "127.0.0.1"
port = {orthanc.dicom_port}
{web}
[results]
archive = "pacs"
[[archives]]
name = "away"
ae_title = "AWAY"
host = "127.0.0.1"
port = {free_port()}
"""
    )
    return path


def put_in(orthanc: Orthanc, folder: Path, count: int, *, day: str, **attributes: str) -> str:
    """A study of so many CT instances and one of the node's own results; its Study Instance UID."""
    study, series = generate_uid(), generate_uid()
    for number in range(count + 1):
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyDate = day
        for name, value in attributes.items():
            setattr(dataset, name, value)
        if number == count:
            dataset.SeriesInstanceUID, dataset.Manufacturer, dataset.Modality = generate_uid(), MANUFACTURER, "SEG"
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
        dataset.save_as(folder / "one.dcm")
        orthanc.post("/instances", (folder / "one.dcm").read_bytes())
    return str(study)


def pull(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command; a question is answered with no."""
    command = [*COMMAND, "pull", "--config", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, input="n\n")


@pytest.mark.parametrize("config", ["c-find", "qido"], indirect=True)
def test_what_was_never_routed_is_found_fetched_once_and_audited(
    orthanc: Orthanc, config: Path, tmp_path: Path
) -> None:
    patient = generate_uid()[-20:]
    same = {"PatientID": patient, "StudyDescription": "CT Abdomen"}
    study = put_in(orthanc, tmp_path, 3, day="20261105", **same)
    put_in(orthanc, tmp_path, 1, day="20261020", **same)
    put_in(orthanc, tmp_path, 1, day="20261106", PatientID=patient, StudyDescription="Knee")
    node = Node(load_settings(config))
    node.repository.close()
    words = ("--archive", "pacs", "--patient", patient, "--since", "2026-11-01", "--description", "abdom")
    refused = pull(config, *words)  # asked, and answered with no
    assert refused.returncode == 1 and node.repository.study(study) is None
    lines = refused.stdout.splitlines()
    assert lines[0].startswith(f"{study}  20261105  CT") and lines[0].endswith("3 of 3 instances are missing")
    assert lines[1] == "1 of 1 studies lack 3 instances"

    with node.storage_scp():
        done = pull(config, *words, "--modality", "CT", "--yes", "--json")
    (told,) = json.loads(done.stdout)
    assert done.returncode == 0 and (told["state"], told["here"], told["missing"]) == ("fetched", 3, 0), done.stdout
    instances = node.repository.instances(study)
    assert len(instances) == 3 and {one.calling_ae_title for one in instances} == {orthanc.ae_title}
    (entry,) = node.repository.audit_entries("pull")
    assert entry.study_uid == study and entry.counts == {"instances": 3, "missing": 0}
    (again,) = node.puller(node.settings.archives[0], "anna").find(PullWish(study_uid=study), 1)
    assert again.study.state is PullState.COMPLETE


def test_without_a_running_node_what_is_fetched_waits_for_it(orthanc: Orthanc, config: Path, tmp_path: Path) -> None:
    study = put_in(orthanc, tmp_path, 2, day="20261105")
    done = pull(config, "--archive", "pacs", "--study", study, "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 instances taken and not indexed yet" in done.stdout
    node = Node(load_settings(config))
    with node.storage_scp():
        pass
    assert len(node.repository.instances(study)) == 2


def test_an_archive_that_is_away_and_a_study_that_it_does_not_have_are_exit_code_1(config: Path) -> None:
    away = pull(config, "--archive", "away", "--since", "2d", "--yes")
    assert away.returncode == 1 and "AWAY" in away.stderr
    unknown = pull(config, "--archive", "pacs", "--study", "1.2.3.4", "--yes")
    assert unknown.returncode == 1 and "names no study" in unknown.stdout
