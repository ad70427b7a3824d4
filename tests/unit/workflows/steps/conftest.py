"""A node's steps without its processes: real files, a real archive on loopback, a recording waker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.commissioning.marker import Marker, burn_in_marker
from dicom_node.errors import IdentifierMismatch, StorageFull, UnparseableInstance
from dicom_node.network.archive import ArchiveAddress
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer
from dicom_node.results.codes import LABELS
from dicom_node.results.profiles import Profile
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.part10 import data_set_offset
from dicom_node.storage.placing import InspectedSource
from dicom_node.storage.whole import WholeInstances
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from inference.open import open_predictor
from tests.answers import unseen
from tests.rules import of_modality
from workflows.data_folder import DataFolder
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import Destination, Instance, Job
from workflows.state.repository import Repository
from workflows.state.views import ObjectView, Selection
from workflows.state.waker import RecordingWaker
from workflows.steps.complete import complete_quiet_studies, wake_due
from workflows.steps.plan import Planner, plan_study
from workflows.steps.predict import Inference, predict_job
from workflows.steps.publish import publish_job
from workflows.steps.receive import Receiver, index_entries
from workflows.steps.route import Route, Sender
from workflows.steps.sweep import reconcile


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
    """A real storage SCP. `full`: SOP classes that it has no room for now; `refused`: those that it never takes.

    `comment`: it refuses everything with it.
    """

    peer: Peer
    objects: list[Dataset] = field(default_factory=list)
    full: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    comment: str = ""

    def kinds(self) -> list[str]:
        return [str(one.Modality) for one in self.objects]


NODE = "0" * 32


class Steps:
    """One node, each step called by hand."""

    def __init__(self, folder: Path, peer: Peer, url: str | None = None) -> None:
        engine = open_engine(url or f"sqlite:///{folder / 'state.db'}")
        upgrade_schema(engine)
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.repository = Repository(engine, clock=lambda: self.now)
        self.folder = DataFolder(folder)
        self.store = InstanceStore(self.folder.instances, minimum_free_bytes=0)
        self.receiver = Receiver(self.store, self.folder, self.repository, lambda _title: 60.0)
        self.waker = RecordingWaker()
        self.predictor: Predictor = open_predictor("commissioning")
        destinations = (Destination("pacs", Profile.AIR),)
        self.planner = Planner((), self.predictor.description, destinations, "0.1", NODE, commissioning=True)
        self.inference = Inference(lambda _model: self.predictor, "worker", "MEDSEG")
        self.sender = Sender("io", {"pacs": self.way_to(peer)})

    @staticmethod
    def way_to(peer: Peer, **how: Any) -> Route:
        """The way to an archive, by C-STORE unless `how` says otherwise."""
        return Route(ArchiveAddress(peer), "MEDSEG", **how)

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def receive(self, *paths: Path) -> None:
        for path in paths:
            self.take(received_from(path))

    def take(self, received: ReceivedInstance) -> None:
        """One instance that was acknowledged, as the journal would have it."""
        index_entries([InspectedSource(self.store.inspect(received))], self.receiver)

    def reconcile(self) -> tuple[int, int]:
        return reconcile(self.receiver)

    def complete(self) -> list[str]:
        return complete_quiet_studies(self.repository, self.waker)

    def to_plan(self) -> str:
        """Wait the quiet period out and plan; returns the study."""
        self.tick(60)
        (study_uid,) = self.complete()
        self.plan(study_uid)
        return study_uid

    def plan(self, study_uid: str) -> None:
        plan_study(study_uid, self.repository, self.folder, self.planner, self.waker)

    def predict(self, key: str) -> None:
        predict_job(key, self.repository, self.folder, self.inference, self.waker)

    def publish(self, key: str, archive: str = "pacs", **changes: Any) -> None:
        publish_job(key, archive, self.repository, self.folder, replace(self.sender, **changes))

    def wake(self) -> None:
        wake_due(self.repository, self.waker)

    def through(self, *paths: Path) -> str:
        """A study's whole way; returns the study."""
        self.receive(*paths)
        study_uid = self.to_plan()
        for key in self.keys(study_uid):
            self.predict(key)
            self.publish(key)
        return study_uid

    def state(self, study_uid: str) -> tuple[str, str]:
        study = self.repository.study(study_uid)
        assert study is not None
        return study.state.value, study.reason

    def jobs(self, study_uid: str) -> list[Job]:
        (view,) = self.repository.study_views(Selection(study_uid=study_uid))
        return [one.job for one in view.jobs]

    def keys(self, study_uid: str) -> list[str]:
        return [job.job_key for job in self.jobs(study_uid)]

    def to_retract(self) -> list[ObjectView]:
        """What is to be retracted of any study."""
        return [one for view in self.repository.study_views() for one in view.to_retract]

    def saved(self, key: str) -> list[Path]:
        """The files of a job's objects, in the order in which they are sent."""
        return [self.folder.absolute(result.path) for result in self.repository.objects(key)]

    def held(self) -> list[Instance]:
        """Every instance whose file is there, as far as is known."""
        return [instance for _, instances in self.repository.held_studies() for instance in instances]

    def stored(self) -> set[Path]:
        """Every file of the store, relative to the data folder."""
        return {self.folder.relative(path) for path in self.folder.instances.glob("[0-9]*/*/*.dcm")}


@pytest.fixture
def archive() -> Iterator[Archive]:
    found = Archive(Peer("PACS", "127.0.0.1", 0))

    def keep(instance: ReceivedInstance) -> None:
        if found.comment:
            raise IdentifierMismatch(found.comment)
        if instance.sop_class_uid in found.full:
            raise StorageFull("no room left")
        if instance.sop_class_uid in found.refused:
            raise UnparseableInstance("no such class here")
        found.objects.append(dcmread(BytesIO(instance.data_set), force=True))

    with StorageSCP(StorageSCPSettings(ae_title="PACS", port=0), WholeInstances(keep)) as scp:
        found.peer = Peer("PACS", "127.0.0.1", scp.port)
        yield found


@pytest.fixture
def steps(tmp_path: Path, archive: Archive) -> Steps:
    (tmp_path / "node").mkdir()
    return Steps(tmp_path / "node", archive.peer)


@pytest.fixture
def steps_in(tmp_path: Path, archive: Archive) -> Callable[[str], Steps]:
    """`steps_in(url)`: another node like the first, on another database."""

    def make(url: str) -> Steps:
        folder = tmp_path / f"node{len(list(tmp_path.glob('node*')))}"
        folder.mkdir()
        return Steps(folder, archive.peer, url)

    return make


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


PHANTOM_STUDY = "1.2.3"


@pytest.fixture
def phantom(tmp_path: Path) -> Callable[..., Path]:
    """`phantom(series, number, Keyword=value)`: a small CT slice of PHANTOM_STUDY with a bright box, as a file."""

    def make(series: int, number: int, **changes: Any) -> Path:
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"{PHANTOM_STUDY}.{series}.{number}"
        header.StudyInstanceUID, header.SeriesInstanceUID = PHANTOM_STUDY, f"{PHANTOM_STUDY}.{series}"
        header.FrameOfReferenceUID, header.Modality, header.SeriesNumber = "1.2.4", "CT", series
        header.PatientID, header.PatientName, header.PatientBirthDate = "P1", "Box^Anna", "19700101"
        header.PatientSex, header.AccessionNumber, header.StudyID = "O", "A1", "S1"
        header.StudyDate, header.StudyTime, header.InstanceNumber = "20260101", "120000", number
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3 * number]
        header.PixelSpacing, header.SliceThickness = [0.8, 0.7], 3
        header.Rows, header.Columns, header.SamplesPerPixel, header.PhotometricInterpretation = 24, 32, 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
        pixels = np.zeros((24, 32), dtype=np.uint16)
        pixels[4:10, 20:29] = 4095
        header.PixelData = pixels.tobytes()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword, value in changes.items():
            setattr(header, keyword, value)
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        path = tmp_path / f"phantom{len(list(tmp_path.glob('phantom*')))}.dcm"
        header.save_as(path, enforce_file_format=True)
        return path

    return make


class Marking(Predictor):
    """Marks what it was told to mark: phrases with a confidence and a box in `slices rows columns`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.marked: dict[str, tuple[float, tuple[slice, slice, slice]]] = {}
        self.text = "answered"
        self.asked = 0

    @property
    def description(self) -> PredictorDescription:
        return self._predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        self.asked += 1
        targets = []
        for phrase, (confidence, box) in self.marked.items():
            mask = np.zeros(stack.values.shape[:3], dtype=bool)
            mask[box] = True
            targets.append(SeenTarget(phrase, confidence, mask))
        return tuple(
            Answer(question, self.text, tuple(targets), (), unseen(question, targets)) for question in questions
        )


SMALL, LARGE = np.s_[1:3, 4:8, 4:8], np.s_[1:3, 4:8, 4:12]


def protocol(*labels: str, version: str = "1", text: str = "What is seen?") -> ReadingProtocol:
    question = ProtocolQuestion("organs", text, tuple(LABELS[label] for label in labels))
    return ReadingProtocol("abdomen", version, "Abdomen", (question,), series=of_modality("CT", "DX"))


@pytest.fixture
def marking(steps: Steps) -> Marking:
    """The node asks for liver and spleen, and its model marks the liver."""
    model = Marking(steps.predictor)
    steps.predictor = model
    steps.planner = replace(steps.planner, commissioning=False, protocols=(protocol("liver", "spleen"),))
    model.marked = {"liver": (0.9, SMALL)}
    return model


@pytest.fixture
def study(phantom: Callable[..., Path]) -> Callable[..., list[Path]]:
    """`study(number, day, ...)`: the four slices of a series of a study of that day."""

    def make(number: int, day: str, *, series: int = 1, slices: int = 4, **changes: Any) -> list[Path]:
        root = f"1.2.3.{number}"
        changes = {
            "StudyInstanceUID": root,
            "SeriesInstanceUID": f"{root}.{series}",
            "StudyDate": day,
            "SeriesDescription": "portal venous",
            **changes,
        }
        return [phantom(series, index, SOPInstanceUID=f"{root}.{series}.{index}", **changes) for index in range(slices)]

    return make
