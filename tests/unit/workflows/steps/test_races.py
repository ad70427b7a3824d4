"""Two at once, and what breaks off in between: nothing is lost, nothing stands still, nothing is overwritten."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.commissioning.marker import Marker
from dicom_node.results.profiles import Profile
from inference.interface import Answer, Predictor, Progress, Question, SliceStack
from workflows.errors import DatabaseUnavailable
from workflows.state.records import Destination
from workflows.steps.predict import predict_job

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def planned(steps: Steps, files: Sequence[Path]) -> tuple[str, str]:
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    return study_uid, key


def raises(error: BaseException) -> Callable[..., Any]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


def test_a_sender_that_dies_after_its_last_outcome_leaves_no_job_behind(
    steps: Steps, archive: Archive, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_uid, key = planned(steps, marked[0])
    steps.predict(key)
    with monkeypatch.context() as patch:
        patch.setattr(steps.repository, "release_deliveries", raises(SystemExit("killed")))
        with pytest.raises(SystemExit):
            steps.publish(key)
    assert (steps.state(study_uid)[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"])


class Late:
    """A predictor on another device, whose masks come out otherwise and after something else has happened."""

    def __init__(self, predictor: Predictor, meanwhile: Callable[[], None]) -> None:
        self.predictor, self.meanwhile = predictor, meanwhile
        self.description = predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        answers = self.predictor.answer(stack, questions, progress=progress)
        self.meanwhile()
        return tuple(
            replace(one, targets=tuple(replace(seen, mask=np.roll(seen.mask, 3, axis=2)) for seen in one.targets))
            for one in answers
        )


def test_a_worker_that_lost_its_lease_writes_over_nothing(steps: Steps, archive: Archive, marked: Marked) -> None:
    study_uid, key = planned(steps, marked[0])
    timely = replace(steps.inference, owner="timely")

    def another_answers() -> None:
        steps.tick(61)
        predict_job(key, steps.repository, steps.folder, timely, steps.waker)
        archive.full.add(SR)
        steps.publish(key)
        archive.full.clear()

    late = Late(steps.predictor, another_answers)
    steps.inference = replace(steps.inference, predictor_for=lambda _model: late, heartbeat_s=1000)
    steps.predict(key)
    steps.tick(400)
    steps.publish(key)
    assert (steps.state(study_uid)[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"])
    for result in steps.repository.objects(key):
        bytes_now = steps.folder.absolute(result.path).read_bytes()
        assert hashlib.sha256(bytes_now).hexdigest() == result.digest
    assert len(list((steps.folder.results / study_uid).iterdir())) == 1, "what the late one wrote is gone"


@pytest.mark.parametrize("step", ["predict", "publish"])
def test_a_database_that_flickers_is_no_defect_of_the_program(
    steps: Steps, archive: Archive, marked: Marked, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    study_uid, key = planned(steps, marked[0][:3])
    if step == "publish":
        steps.predict(key)
    method = {"predict": "save_results", "publish": "record_delivery"}[step]
    with monkeypatch.context() as patch:
        patch.setattr(steps.repository, method, raises(DatabaseUnavailable("away")))
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                getattr(steps, step)(key)
            steps.tick(400)
    if step == "predict":
        steps.predict(key)
    steps.publish(key)
    assert steps.state(study_uid)[0] == "DELIVERED"


def test_a_job_of_an_earlier_generation_that_ends_late_says_nothing_about_the_new_one(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    study_uid, key = planned(steps, marked[0])
    assert steps.repository.claim_job(key, "worker", 600, 3)
    steps.receive(edited(marked[0][0], SeriesInstanceUID="1.2.77", SOPInstanceUID="1.2.77.1"))
    for path in steps.folder.instances.glob("*/1.2.77/*"):
        path.unlink()
    steps.reconcile()
    steps.tick(61)
    steps.complete()
    assert steps.state(study_uid)[0] == "FAILED"
    assert steps.repository.save_results(key, "worker", steps.predictor.description, [], [], [])
    assert steps.state(study_uid)[0] == "FAILED"


def test_an_instance_that_is_replaced_while_the_sweep_looks_is_kept(
    steps: Steps, marked: Marked, edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.receive(*marked[0][1:])
    original, corrected = marked[0][0], edited(marked[0][0], SeriesDescription="corrected")
    list_files, read = steps.store.files_of, steps.store.read

    def arrives(study_uid: str) -> tuple[Path, ...]:
        steps.receive(original)
        return list_files(study_uid)

    def is_replaced(path: Path) -> Any:
        stored = read(path)
        monkeypatch.undo()
        steps.receive(corrected)
        return stored

    monkeypatch.setattr(steps.store, "files_of", arrives)
    monkeypatch.setattr(steps.store, "read", is_replaced)
    steps.reconcile()
    assert all(steps.folder.absolute(instance.path).is_file() for instance in steps.held())
    assert steps.stored() == {instance.path for instance in steps.held()}


def test_one_odd_file_does_not_end_the_sweep(steps: Steps, marked: Marked, edited: Callable[..., Path]) -> None:
    steps.receive(*marked[0])
    steps.receive(edited(marked[0][0], StudyInstanceUID="9.9", SeriesInstanceUID="9.9.1", SOPInstanceUID="9.9.2"))
    (folder,) = {steps.folder.absolute(path).parent for path in steps.stored() if "9.9" not in str(path)}
    (folder / "x.dcm").mkdir()
    for path in steps.folder.instances.glob("9.9/*/*.dcm"):
        path.unlink()
    assert steps.reconcile() == (0, 1)
    assert steps.repository.lost_instances("9.9")


def test_a_disk_that_fails_while_it_is_read_ends_no_study(
    steps: Steps, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_uid, key = planned(steps, marked[0][:3])
    stale = OSError(116, "Stale file handle")
    opened = Path.open

    class Stale(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise stale

    def open_stale(self: Path, *words: Any, **more: Any) -> Any:
        return Stale() if self.suffix == ".dcm" and "instances" in self.parts else opened(self, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_stale)
        patch.setattr("pydicom.dcmread", raises(stale))
        steps.predict(key)
        assert steps.state(study_uid)[0] == "PLANNED" and "Stale file handle" in steps.state(study_uid)[1]
        steps.repository.reopen(study_uid, "again")
        steps.plan(study_uid)
        assert steps.state(study_uid)[0] == "COMPLETE" and "Stale file handle" in steps.state(study_uid)[1]
    steps.plan(study_uid)
    steps.tick(60)
    steps.predict(key)
    assert steps.state(study_uid)[0] == "DELIVERING"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("CUDA error"), MemoryError()])
def test_a_model_that_cannot_be_loaded_for_whatever_reason_is_the_jobs_reason(
    steps: Steps, marked: Marked, error: Exception
) -> None:
    study_uid, key = planned(steps, marked[0][:3])
    steps.inference = replace(steps.inference, predictor_for=raises(error))
    steps.predict(key)
    state, reason = steps.state(study_uid)
    assert state == "PLANNED" and type(error).__name__ in reason


def test_a_lost_presentation_state_that_comes_again_lets_its_study_go_on(
    steps: Steps, marked: Marked, edited: Callable[..., Path]
) -> None:
    other = edited(marked[0][0], SOPClassUID=GSPS, SOPInstanceUID="1.2.88", SeriesInstanceUID="1.2.8", Modality="PR")
    dataset = dcmread(other)
    dataset.file_meta.MediaStorageSOPClassUID = GSPS
    dataset.save_as(other, enforce_file_format=True)
    steps.receive(*marked[0], other)
    for path in steps.folder.instances.glob("*/1.2.8/*.dcm"):
        path.unlink()
    steps.reconcile()
    steps.tick(60)
    assert steps.complete() == []
    steps.receive(*marked[0], other)
    steps.tick(60)
    assert len(steps.complete()) == 1


# --- What a person asks to be read again ------------------------------------------------------------------------------


def test_weights_that_go_back_swap_no_results_by_themselves(
    steps: Steps, archive: Archive, marked: Marked, edited: Callable[..., Path]
) -> None:
    study_uid = steps.through(*marked[0])
    before = steps.planner
    steps.planner = replace(before, software="0.2")
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    (second,) = steps.keys(study_uid)
    steps.predict(second)
    steps.publish(second)
    steps.planner = before
    steps.receive(edited(marked[0][0], SeriesInstanceUID="1.2.77", SOPInstanceUID="1.2.77.1"))
    steps.to_plan()
    assert second in steps.keys(study_uid)


def test_an_archive_that_is_added_gets_the_results_when_a_person_asks(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    study_uid = steps.through(*marked[0][:3])
    (key,) = steps.keys(study_uid)
    more = (*steps.planner.destinations, Destination("same", Profile.AIR), Destination("viewer", Profile.OHIF))
    steps.planner = replace(steps.planner, destinations=more[:2])
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    peers = dict.fromkeys(("pacs", "same", "viewer"), steps.sender.routes["pacs"])
    steps.predict(key)
    steps.publish(key, "same", routes=peers)
    assert (steps.state(study_uid)[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"] * 2)
    assert archive.objects[0] == archive.objects[2], "the same object, without another inference"
    steps.planner = replace(steps.planner, destinations=more)
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    steps.predict(key)
    steps.publish(key, "viewer", routes=peers)
    assert (steps.state(study_uid)[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"] * 3)
    assert archive.objects[4].SOPInstanceUID != archive.objects[0].SOPInstanceUID


def test_a_failure_that_comes_back_keeps_its_reason_and_is_tried_again(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    archive.refused.add(SEG)
    study_uid = steps.through(*marked[0][:3])
    (key,) = steps.keys(study_uid)
    before = steps.planner
    steps.planner = replace(before, software="0.2")
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    steps.planner = before
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    assert steps.state(study_uid)[0] == "DELIVERING"
    steps.publish(key)
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and "PACS answered SEG with" in reason
    archive.refused.clear()
    steps.repository.reopen(study_uid, "a person")
    steps.plan(study_uid)
    steps.publish(key)
    assert (steps.state(study_uid)[0], archive.kinds()) == ("DELIVERED", ["SEG", "SR"])
