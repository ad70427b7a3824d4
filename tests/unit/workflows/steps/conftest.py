"""A node's steps without its processes: real files, a real archive on loopback, a recording waker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.commissioning.marker import Marker, burn_in_marker
from dicom_node.errors import StorageFull
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer
from dicom_node.results.finding import Profile
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.part10 import data_set_offset
from inference.open import open_predictor
from workflows.settings import Settings
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.state.waker import RecordingWaker
from workflows.steps.complete import complete_quiet_studies, wake_due
from workflows.steps.plan import Planner, plan_study
from workflows.steps.predict import Inference, predict_job
from workflows.steps.publish import Destination, publish_job
from workflows.steps.receive import receive_instance


def received_from(path: Path) -> ReceivedInstance:
    """A file as a peer would send it."""
    header = dcmread(path, stop_before_pixels=True)
    with path.open("rb") as file:
        file.seek(data_set_offset(file))
        data_set = file.read()
    return ReceivedInstance(
        data_set=data_set,
        sop_class_uid=header.SOPClassUID,
        sop_instance_uid=header.SOPInstanceUID,
        transfer_syntax_uid=header.file_meta.TransferSyntaxUID,
        calling_ae_title="CT1",
    )


@dataclass
class Archive:
    """A real storage SCP; `refuse` names SOP classes that it has no room for."""

    peer: Peer
    objects: list[Dataset] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)

    def kinds(self) -> list[str]:
        return [str(one.Modality) for one in self.objects]


class Steps:
    """One node, each step called by hand."""

    def __init__(self, folder: Path, peer: Peer) -> None:
        engine = open_engine(f"sqlite:///{folder / 'state.db'}")
        upgrade_schema(engine)
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.repository = Repository(engine, clock=lambda: self.now)
        self.store = InstanceStore(folder / "instances", minimum_free_bytes=0)
        self.waker = RecordingWaker()
        self.settings = Settings()
        self.predictor = open_predictor("commissioning")
        self.planner = Planner((), self.predictor.description, Profile.AIR, "0.1", commissioning=True)
        self.inference = Inference(self.predictor, "worker", folder / "results", "MEDSEG", "pacs")
        self.destination = Destination(peer, "MEDSEG", "io")

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def receive(self, *paths: Path) -> None:
        for path in paths:
            receive_instance(received_from(path), self.store, self.repository)

    def complete(self) -> list[str]:
        return complete_quiet_studies(self.repository, self.settings, self.waker)

    def to_plan(self) -> str:
        """Wait the quiet period out and plan; returns the study."""
        self.tick(60)
        (study_uid,) = self.complete()
        self.plan(study_uid)
        return study_uid

    def plan(self, study_uid: str) -> None:
        plan_study(study_uid, self.repository, self.store, self.planner, self.waker)

    def predict(self, key: str) -> None:
        predict_job(key, self.repository, self.store, self.inference, self.waker)

    def publish(self, key: str, **changes: Any) -> None:
        publish_job(key, self.repository, replace(self.destination, **changes))

    def wake(self) -> None:
        wake_due(self.repository, self.waker)

    def through(self, *paths: Path) -> str:
        """A study's whole way; returns the study."""
        self.receive(*paths)
        study_uid = self.to_plan()
        for job in self.repository.jobs(study_uid):
            self.predict(job.job_key)
            self.publish(job.job_key)
        return study_uid

    def state(self, study_uid: str) -> tuple[str, str]:
        study = self.repository.study(study_uid)
        assert study is not None
        return study.state.value, study.reason

    def keys(self, study_uid: str) -> list[str]:
        return [job.job_key for job in self.repository.jobs(study_uid)]


@pytest.fixture
def archive() -> Iterator[Archive]:
    received: list[Dataset] = []
    refuse: set[str] = set()

    def keep(instance: ReceivedInstance) -> None:
        if instance.sop_class_uid in refuse:
            raise StorageFull("no room left")
        dataset = dcmread(BytesIO(instance.data_set), force=True)
        received.append(dataset)

    with StorageSCP(StorageSCPSettings(ae_title="PACS", port=0), keep) as scp:
        yield Archive(Peer("PACS", "127.0.0.1", scp.port), received, refuse)


@pytest.fixture
def steps(tmp_path: Path, archive: Archive) -> Steps:
    (tmp_path / "node").mkdir()
    return Steps(tmp_path / "node", archive.peer)


def _cut(path: Path, folder: Path) -> Path:
    """The image's upper left 160 by 120 pixels: its position stays, and the tests stay fast."""
    dataset = dcmread(path)
    pixels = dataset.pixel_array[:160, :120]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(folder / path.name, enforce_file_format=True)
    return folder / path.name


@pytest.fixture(scope="session")
def marked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Marker]:
    """A real CT with a burnt-in marker, its files from feet to head, and where the marker lies."""
    originals = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())[:6]
    folder = tmp_path_factory.mktemp("cut")
    files, markers = burn_in_marker([_cut(path, folder) for path in originals], tmp_path_factory.mktemp("marked"))
    (marker,) = markers.values()
    return files, marker


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """`edited(path, Keyword=value)`: a copy with other attributes."""

    def edit(path: Path, **changes: Any) -> Path:
        dataset = dcmread(path)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        copy = tmp_path / f"edited{len(list(tmp_path.glob('edited*')))}.dcm"
        dataset.save_as(copy, enforce_file_format=True)
        return copy

    return edit
