"""Evidence: the source of a quiet study is asked, what is missing is fetched, and the study says what it rests on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import BasicTextSRStorage, CTImageStorage

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.network.archive import FoundInstance, FoundSeries, FoundStudy
from dicom_node.network.availability import InstanceAvailability
from dicom_node.results.equipment import MANUFACTURER
from dicom_node.storage.whole import WholeInstances
from workflows.commands.reporting import explain_study, status_of_all
from workflows.commands.telling import explained
from workflows.steps.complete import complete_quiet_studies, note_availability
from workflows.steps.evidence import ArchiveSource, Asking, Evidence, take_file

if TYPE_CHECKING:
    from .conftest import Steps

Phantom = Callable[..., Path]
STUDY = "1.2.3"
CT = str(CTImageStorage)


@dataclass
class Holds:
    """A source that has `files` and names them; what is fetched comes in as from CT1. `error`: instead of an answer."""

    steps: Steps
    files: dict[str, Path] = field(default_factory=dict)
    gives: set[str] | None = None
    error: Exception | None = None
    asked: int = 0
    name: str = "ORTHANC"

    def instances(self, study_uid: str) -> list[FoundInstance]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [FoundInstance(study_uid, uid.rpartition(".")[0], uid, CT) for uid in self.files]

    def fetch(self, missing: Sequence[FoundInstance]) -> None:
        for one in missing:
            if self.gives is None or one.sop_instance_uid in self.gives:
                take_file(self.files[one.sop_instance_uid], "CT1", WholeInstances(self.steps.take))


class Now(Evidence):
    """Asks at once, in the caller's thread."""

    def __init__(self, asking: Asking) -> None:
        super().__init__({"CT1": asking})
        self._asking = asking

    def take_up(self, quiet: object) -> bool:
        self._asking.ask(quiet)  # type: ignore[arg-type]
        return True


@dataclass
class World:
    steps: Steps
    source: Holds
    evidence: Evidence

    def look(self, seconds: float = 0) -> str:
        """Let time pass and look; the study's state."""
        self.steps.tick(seconds)
        complete_quiet_studies(self.steps.repository, self.steps.waker, self.evidence)
        return self.steps.state(STUDY)[0]

    @property
    def told(self) -> str:
        study = self.steps.repository.study(STUDY)
        assert study is not None
        return study.evidence


@pytest.fixture
def world(steps: Steps, phantom: Phantom) -> World:
    source = Holds(steps, {f"{STUDY}.1.{number}": phantom(1, number) for number in range(1, 5)})
    asking = Asking(source, steps.repository, lambda uid, _: steps.waker.plan(uid), lambda: steps.now.timestamp())
    return World(steps, source, Now(asking))


def test_a_source_that_names_what_is_here_proves_a_study_complete(world: World) -> None:
    world.steps.receive(*world.source.files.values())
    assert world.look(59) == "RECEIVING" and not world.source.asked
    assert world.look(1) == "COMPLETE"
    assert world.told == "proved: ORTHANC names 4 instances, all here"
    assert world.steps.waker.plans == [STUDY]
    known = explain_study(world.steps.repository, world.steps.folder, STUDY)
    assert known is not None and "complete, proved: ORTHANC names 4 instances, all here" in list(explained(known))
    (status,) = status_of_all(world.steps.repository, world.steps.folder)
    assert status["evidence"] == world.told


def test_what_is_missing_is_fetched_and_the_study_waits_for_it(world: World) -> None:
    first, *_ = world.source.files.values()
    world.steps.receive(first)
    assert world.look(60) == "RECEIVING"
    assert world.steps.state(STUDY)[1] == "waits for 3 of 4 instances that ORTHANC names: fetched"
    assert len(world.steps.repository.instances(STUDY)) == 4
    assert world.look(2) == "COMPLETE"
    assert world.told == "proved: ORTHANC names 4 instances, all here"


def test_what_never_comes_ends_the_wait_and_is_told(world: World) -> None:
    world.source.gives = set()
    world.steps.receive(*list(world.source.files.values())[:3])
    assert world.look(60) == "RECEIVING"
    for wait in (2, 30, 90):
        assert world.steps.waker.plans == []
        state = world.look(wait)
    assert state == "COMPLETE"
    told = "1 of 4 instances that ORTHANC names did not come"
    assert world.told.startswith(f"assumed: {told}; nothing new from CT1 for ")
    study = world.steps.repository.study(STUDY)
    assert study is not None and study.attention == told


def test_a_source_that_does_not_answer_delays_a_study_for_a_while_and_no_longer(world: World) -> None:
    world.source.error = PeerUnreachable("no connection")
    world.steps.receive(*world.source.files.values())
    assert [world.look(wait) for wait in (60, 10, 30)] == ["RECEIVING", "RECEIVING", "COMPLETE"]
    assert world.told == "assumed: ORTHANC could not be asked: no connection; nothing new from CT1 for 100 s"


def test_one_silence_answers_for_all_studies_that_wait(world: World, phantom: Phantom) -> None:
    world.source.error = PeerUnreachable("no answer")
    other = phantom(1, 1, StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1", SeriesInstanceUID="1.2.9.7")
    world.steps.receive(*world.source.files.values(), other)
    world.look(60)
    assert world.source.asked == 1
    assert "no answer" in world.steps.state("1.2.9")[1]


def test_a_refusal_is_not_taken_for_silence(world: World) -> None:
    world.source.error = PeerRejected("offers no C-FIND")
    world.steps.receive(*world.source.files.values())
    for wait in (60, 10, 30):
        state = world.look(wait)
    assert (state, world.source.asked) == ("COMPLETE", 3)


def test_an_archive_that_knows_nothing_proves_nothing(world: World) -> None:
    world.steps.receive(*world.source.files.values())
    world.source.files = {}
    assert world.look(60) == "COMPLETE"
    assert world.told == "assumed: ORTHANC names no instance of this study; nothing new from CT1 for 60 s"


def test_what_was_lost_from_the_store_is_fetched_before_anything_fails(world: World) -> None:
    world.steps.receive(*world.source.files.values())
    lost = world.steps.repository.instances(STUDY)[0]
    world.steps.folder.absolute(lost.path).unlink()
    world.steps.reconcile()
    assert world.look(60) == "RECEIVING"
    assert world.look(2) == "COMPLETE"
    assert world.steps.repository.lost_instances(STUDY) == []


def test_a_source_that_is_asked_keeps_nobody_else_waiting(world: World, phantom: Phantom) -> None:
    answers = threading.Event()

    class Silent(Holds):
        def instances(self, study_uid: str) -> list[FoundInstance]:
            answers.wait(30)
            return super().instances(study_uid)

    done = threading.Event()
    silent = Silent(world.steps, world.source.files)
    evidence = Evidence({"CT1": Asking(silent, world.steps.repository, lambda *_: done.set())})
    other = phantom(1, 1, StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1", SeriesInstanceUID="1.2.9.7")
    world.steps.receive(*world.source.files.values())
    take_file(other, "CT2", WholeInstances(world.steps.take))
    world.steps.tick(60)
    for _ in range(3):
        completed = complete_quiet_studies(world.steps.repository, world.steps.waker, evidence)
        assert "1.2.9" in completed or world.steps.state("1.2.9")[0] == "COMPLETE"
    assert world.steps.state(STUDY)[0] == "RECEIVING"
    answers.set()
    assert done.wait(30)
    assert world.steps.state(STUDY)[0] == "COMPLETE"
    assert silent.asked == 1, "it was not asked again while it was asked"


class Scripted:
    """An archive with a series of images, one of a node's own reports, one of another's, and a class nobody takes."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.retrieved: list[str] = []

    def studies(self, **_: str) -> list[FoundStudy]:
        return []

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]:
        return [
            FoundSeries(study_uid, "1.1", "CT", ""),
            FoundSeries(study_uid, "1.2", "SR", "", manufacturer=MANUFACTURER),
            FoundSeries(study_uid, "1.3", "SR", "", manufacturer="Another"),
        ]

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        classes = {"1.1": [CT, "1.2.840.10008.9.9"], "1.2": [COMPREHENSIVE_3D], "1.3": [str(BasicTextSRStorage)]}
        return [
            FoundInstance(study_uid, series_uid, f"{series_uid}.{number}", sop_class)
            for number, sop_class in enumerate(classes[series_uid])
        ]

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        self.retrieved += sop_instance_uids
        folder.mkdir(parents=True, exist_ok=True)
        for uid in sop_instance_uids:
            (folder / f"{uid}.dcm").write_bytes(b"")
        return []


COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.34"


def test_what_this_node_never_keeps_is_not_missed() -> None:
    archive = Scripted()
    source = ArchiveSource("PACS", lambda: archive, lambda path: None)
    assert [one.sop_instance_uid for one in source.instances("1")] == ["1.1.0", "1.3.0"]


def test_what_is_missing_is_moved_and_copied_only_where_that_is_refused() -> None:
    archive, moved, taken = Scripted(), [], []
    missing = [FoundInstance("1", series, f"{series}.0", CT) for series in ("1.1", "1.3")]

    def move(study_uid: str, series_uid: str, uids: Sequence[str]) -> None:
        if series_uid == "1.3":
            raise PeerRejected("does not know MEDSEG")
        moved.extend(uids)

    ArchiveSource("PACS", lambda: archive, lambda path: taken.append(path.name), move).fetch(missing)
    assert (moved, archive.retrieved, taken) == (["1.1.0"], ["1.3.0"], ["1.3.0.dcm"])


def test_an_announcement_before_the_images_completes_their_study_soon(world: World) -> None:
    uids = tuple(world.source.files)
    note_availability(InstanceAvailability(STUDY, uids, "PACS"), world.steps.repository)
    assert world.steps.repository.study(STUDY) is None
    world.steps.receive(*world.source.files.values())
    assert world.look(2) == "COMPLETE"
    assert world.told == "announced by PACS: 4 instances, all here" and not world.source.asked
