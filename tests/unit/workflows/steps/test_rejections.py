"""Rejection notes: what they name is not read any more, before and after it comes, and results of it are marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from inference.interface import Answer, Predictor, Progress, Question, SliceStack
from workflows.commands.reporting import explain_study
from workflows.commands.telling import explained
from workflows.state.states import DeliveryState

if TYPE_CHECKING:
    from .conftest import Archive, Steps

pytestmark = pytest.mark.slow


Phantom = Callable[..., Path]
Note = Callable[..., Path]
STUDY = "1.2.3"


@pytest.fixture
def note(tmp_path: Path) -> Note:
    """`note(*uids, code=..., study=...)`: a note that rejects instances of PHANTOM_STUDY, from any study."""

    def make(*uids: str, code: str = "113001", study: str = STUDY) -> Path:
        number = len(list(tmp_path.glob("note*")))
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = KeyObjectSelectionDocumentStorage, f"{study}.900.{number}"
        header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = study, f"{study}.900", "KO"
        header.PatientID, header.PatientName = "P1", "Box^Anna"
        title = Dataset()
        title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "a title"
        header.ConceptNameCodeSequence = [title]
        evidence = Dataset()
        evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = STUDY, []
        for uid in uids:
            series, instance = Dataset(), Dataset()
            instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
            series.SeriesInstanceUID, series.ReferencedSOPSequence = uid.rpartition(".")[0], [instance]
            evidence.ReferencedSeriesSequence.append(series)
        header.CurrentRequestedProcedureEvidenceSequence = [evidence]
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        path = tmp_path / f"note{number}.dcm"
        header.save_as(path, enforce_file_format=True)
        return path

    return make


def series(phantom: Phantom, number: int = 1, **changes: Any) -> list[Path]:
    return [phantom(number, index, **changes) for index in range(3)]


def uids(number: int = 1) -> list[str]:
    return [f"{STUDY}.{number}.{index}" for index in range(3)]


def inputs(steps: Steps) -> list[list[str]]:
    """The SOP Instance UIDs that each job of the study reads."""
    return [[one.partition(":")[0] for one in job.inputs] for job in steps.jobs(STUDY)]


def to_retract(steps: Steps) -> list[list[str]]:
    return [[one.state.value for one in view.deliveries] for view in steps.to_retract()]


@pytest.mark.parametrize("code", ["113001", "113037", "113038"])
def test_results_of_rejected_images_are_marked_and_the_rest_is_read_again(
    steps: Steps, archive: Archive, phantom: Phantom, note: Note, code: str
) -> None:
    steps.through(*series(phantom), *series(phantom, 2))
    untouched = next(job.job_key for job in steps.jobs(STUDY) if job.series_uid == "1.2.3.2")
    steps.publish(untouched)
    with structlog.testing.capture_logs() as logged:
        steps.receive(note(uids()[2], code=code))
    assert to_retract(steps) == [["DELIVERED"], ["DELIVERED"]]
    (event,) = [one for one in logged if one["event"] == "images_rejected"]
    assert (event["code"], event["named"], event["planned_again"]) == (code, 1, [STUDY])
    assert not any(value in str(logged) for value in ("P1", "Anna"))
    steps.to_plan()
    assert sorted(inputs(steps)) == [uids()[:2], uids(2)] and untouched in steps.keys(STUDY)
    known = explain_study(steps.repository, steps.folder, STUDY)
    assert known is not None
    told = "\n".join(explained(known))
    assert f"rejected by note 1.2.3.900.0 ({code}, " in told and f"not read: {uids()[2]}" in told
    assert f"an image that it is made from was rejected by note 1.2.3.900.0 ({code}" in told
    assert len(steps.held()) == 7, "rows and files stay"


def test_a_note_that_comes_again_changes_nothing(steps: Steps, phantom: Phantom, note: Note) -> None:
    path = note(*uids())
    steps.through(*series(phantom), *series(phantom, 2))
    steps.receive(path)
    steps.to_plan()
    before = steps.repository.study(STUDY)
    steps.receive(path)
    steps.reconcile()
    steps.receive(note(*uids()))
    assert steps.repository.study(STUDY) == before, "nor does another note on the same images"


def test_when_nothing_is_left_the_reason_names_the_note(steps: Steps, phantom: Phantom, note: Note) -> None:
    steps.through(*series(phantom))
    steps.receive(note(*uids(), code="113037"))
    steps.to_plan()
    state, reason = steps.state(STUDY)
    assert state == "UNMATCHED"
    assert reason == (
        "nothing is left to read: 3 instances were rejected by note 1.2.3.900.0 (113037, Rejected for Patient Safety "
        "Reasons)"
    )
    assert to_retract(steps) == [["DELIVERED"], ["DELIVERED"]] and steps.keys(STUDY) == []


def test_a_note_that_comes_before_its_images_is_heeded_when_they_come(
    steps: Steps, phantom: Phantom, note: Note
) -> None:
    steps.receive(note(uids()[0], study="1.7"))
    steps.receive(*series(phantom))
    steps.tick(60)
    for study_uid in steps.complete():
        steps.plan(study_uid)
    assert inputs(steps) == [uids()[1:]]


def test_a_note_in_another_study_follows_its_evidence(steps: Steps, phantom: Phantom, note: Note) -> None:
    steps.through(*series(phantom))
    steps.receive(note(uids()[0], study="1.7"))
    assert steps.state(STUDY)[0] == "RECEIVING" and len(to_retract(steps)) == 2
    steps.tick(60)
    assert set(steps.complete()) == {STUDY, "1.7"}
    steps.plan(STUDY)
    assert inputs(steps) == [uids()[1:]]


def test_a_rejected_image_that_is_sent_again_stays_rejected_whatever_its_bytes(
    steps: Steps, phantom: Phantom, note: Note
) -> None:
    steps.through(*series(phantom))
    steps.receive(note(uids()[0]))
    steps.to_plan()
    steps.receive(phantom(1, 0), phantom(1, 0, SeriesDescription="corrected"))
    steps.to_plan()
    assert inputs(steps) == [uids()[1:]]


@pytest.mark.parametrize("code", ["113000", "113039", "113018"])
def test_a_key_object_selection_that_rejects_nothing_changes_nothing(
    steps: Steps, phantom: Phantom, note: Note, code: str
) -> None:
    steps.through(*series(phantom))
    before = steps.repository.study(STUDY)
    steps.receive(note(*uids(), code=code))
    assert steps.repository.study(STUDY) == before and to_retract(steps) == []


def test_a_note_ends_a_contradiction(steps: Steps, phantom: Phantom, note: Note) -> None:
    steps.receive(*series(phantom)[:2], phantom(1, 2, PatientID="P2"))
    steps.to_plan()
    assert steps.state(STUDY)[0] == "HELD"
    steps.receive(note(uids()[2], code="113038"))
    steps.to_plan()
    assert (steps.state(STUDY)[0], inputs(steps)) == ("PLANNED", [uids()[:2]])


def test_a_rejected_image_that_was_lost_is_not_missed(steps: Steps, phantom: Phantom, note: Note) -> None:
    steps.receive(*series(phantom))
    (path,) = steps.folder.instances.glob(f"*/*/{uids()[0]}.dcm")
    path.unlink()
    steps.reconcile()
    steps.tick(60)
    assert steps.complete() == [] and steps.state(STUDY)[0] == "FAILED"
    steps.receive(note(uids()[0]))
    steps.to_plan()
    assert inputs(steps) == [uids()[1:]]


class Meanwhile:
    """A predictor that answers after something else has happened."""

    def __init__(self, predictor: Predictor, happens: Callable[[], None]) -> None:
        self.predictor, self.happens, self.description = predictor, happens, predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        self.happens()
        return self.predictor.answer(stack, questions, progress=progress)


def test_a_note_while_its_images_are_read_lets_nothing_of_them_out(
    steps: Steps, archive: Archive, phantom: Phantom, note: Note
) -> None:
    steps.receive(*series(phantom))
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    late = Meanwhile(steps.predictor, lambda: steps.receive(note(uids()[0])))
    steps.inference = replace(steps.inference, predictor_for=lambda _model: late)
    steps.predict(key)
    steps.publish(key)
    steps.to_plan()
    steps.publish(key)
    assert archive.objects == [] and inputs(steps) == [uids()[1:]]
    assert steps.state(STUDY)[0] == "PLANNED"


def test_a_note_while_results_are_sent_stops_the_rest_and_knows_what_arrived(
    steps: Steps, archive: Archive, phantom: Phantom, note: Note
) -> None:
    steps.receive(*series(phantom))
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    record = steps.repository.record_delivery

    def record_late(uid: str, *words: Any, **more: Any) -> bool:
        steps.repository.record_delivery = record  # type: ignore[method-assign]
        steps.receive(note(uids()[0]))  # the archive has taken the segmentation, nobody knows it yet
        return record(uid, *words, **more)

    steps.repository.record_delivery = record_late  # type: ignore[method-assign, assignment]
    steps.publish(key)
    assert archive.kinds() == ["SEG"]
    assert to_retract(steps) == [[DeliveryState.DELIVERED.value], [DeliveryState.WITHHELD.value]]
    steps.to_plan()
    steps.tick(1000)
    steps.publish(key)
    assert archive.kinds() == ["SEG"]
