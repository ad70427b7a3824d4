"""A real archive is asked what a study holds, and gives what has not come; by C-FIND and C-MOVE, and over DICOMweb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.network.association import Peer
from dicom_node.network.status import Delivery
from dicom_node.network.storage_scu import send
from tests.services import Orthanc, await_true, free_port, running_orthanc
from workflows.bootstrap import Node
from workflows.settings import NodeSettings, PeerSettings, Settings
from workflows.state.waker import RecordingWaker
from workflows.steps.complete import complete_quiet_studies
from workflows.steps.evidence import Evidence

pytestmark = [pytest.mark.service("orthanc"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the node listens: the archive has to know before either is there."""
    return free_port()


@pytest.fixture(scope="module")
def orthanc(port: int) -> Iterator[Orthanc]:
    with running_orthanc(modalities={"medseg": ["MEDSEG", "127.0.0.1", port]}) as service:
        yield service


@dataclass
class Running:
    """A node with its open port, and what wakes its planning."""

    node: Node
    waker: RecordingWaker
    evidence: Evidence

    def look(self) -> str:
        complete_quiet_studies(self.node.repository, self.waker, self.evidence)
        return "" if not self.waker.plans else self.told(self.waker.plans[0])

    def told(self, study_uid: str) -> str:
        study = self.node.repository.study(study_uid)
        assert study is not None
        return study.evidence


@pytest.fixture(params=["c-find", "qido"])
def running(request: pytest.FixtureRequest, orthanc: Orthanc, port: int, tmp_path: Path) -> Iterator[Running]:
    peer = PeerSettings(
        ae_title=orthanc.ae_title, host=orthanc.host, port=orthanc.dicom_port, evidence=request.param,
        dicomweb_url=f"{orthanc.url}/dicom-web",
    )  # fmt: skip
    settings = Settings(node=NodeSettings(data_dir=tmp_path / "data", port=port, quiet_period_s=0.5), peers=(peer,))
    node, waker = Node(settings), RecordingWaker()
    with node.storage_scp():
        yield Running(node, waker, node.evidence(waker))


@pytest.fixture
def study(tmp_path: Path) -> Callable[[int], list[Path]]:
    """`study(count)`: a new study of so many slices in two series."""

    def make(count: int) -> list[Path]:
        study_uid = generate_uid()
        series = [generate_uid(), generate_uid()]
        return [_slice(tmp_path / f"{number}.dcm", study_uid, series[number % 2], number) for number in range(count)]

    return make


def _slice(path: Path, study_uid: str, series_uid: str, number: int) -> Path:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = study_uid, series_uid, "CT"
    header.PatientID, header.PatientName, header.InstanceNumber = "E1", "Box^Anna", number
    header.Rows, header.Columns, header.SamplesPerPixel, header.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelData = np.full((8, 8), number, np.uint16).tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)
    return path


def test_what_the_archive_has_and_the_node_has_not_is_fetched(
    running: Running, orthanc: Orthanc, port: int, study: Callable[[int], list[Path]]
) -> None:
    files = study(7)
    for path in files:
        orthanc.post("/instances", path.read_bytes())
    sent = list(send(files[:2], Peer("MEDSEG", "127.0.0.1", port), orthanc.ae_title))
    assert [one.delivery for one in sent] == [Delivery.DELIVERED] * 2
    told = await_true(running.look, "the study is complete")
    assert told == f"proved: {orthanc.ae_title} names 7 instances, all here"
    (study_uid,) = running.waker.plans
    held = running.node.repository.instances(study_uid)
    assert len(held) == 7 and {one.calling_ae_title for one in held} == {orthanc.ae_title}


def test_an_archive_that_went_away_is_told(
    running: Running, port: int, study: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.steps.evidence._FIRST_WAIT_S", 0.1)
    (path,) = study(1)
    gone = PeerSettings(ae_title="GONE", host="127.0.0.1", port=free_port(), evidence="c-find")
    node = Node(running.node.settings.model_copy(update={"peers": (gone,)}))
    running.evidence = node.evidence(running.waker)
    assert [one.delivery for one in send([path], Peer("MEDSEG", "127.0.0.1", port), "GONE")] == [Delivery.DELIVERED]
    told = await_true(running.look, "the study is complete")
    assert told.startswith("assumed: GONE could not be asked: ")
