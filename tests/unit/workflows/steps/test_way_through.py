"""The whole way of a real study: received, complete, planned, predicted, delivered; each step twice changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.commissioning.marker import Marker
from dicom_node.errors import UnparseableInstance
from dicom_node.results.codes import LABELS
from dicom_node.results.profiles import Profile
from dicom_node.results.stored_segmentation import read_segment_points
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.volumes.frames import FrameChoice
from inference.open import open_predictor
from tests.rules import of_modality
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.state.keys import object_key, request_key
from workflows.state.records import Destination, JobPlan, Prior
from workflows.steps.plan import Planner

if TYPE_CHECKING:
    from .conftest import Archive, Steps

Marked = tuple[list[Path], Marker]
DELIVERED = ("DELIVERED", "commissioning: answered and delivered")


def test_a_marker_comes_back_where_it_was_burnt_in(steps: Steps, archive: Archive, marked: Marked) -> None:
    files, marker = marked
    study_uid = steps.through(*files)
    assert steps.state(study_uid) == DELIVERED
    assert archive.kinds() == ["SEG", "SR"]
    segmentation, report = archive.objects
    assert segmentation.StudyInstanceUID == report.StudyInstanceUID == study_uid
    assert "PredecessorDocumentsSequence" not in report
    (key,) = steps.keys(study_uid)
    path = steps.saved(key)[0]
    _series_uid, points = read_segment_points(path)
    assert np.abs(points.min(axis=0) - marker.low).max() < 0.01
    assert np.abs(points.max(axis=0) - marker.high).max() < 0.01
    assert (path.parent / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_each_step_twice_changes_nothing(steps: Steps, archive: Archive, marked: Marked) -> None:
    files, _marker = marked
    steps.receive(*files)
    steps.receive(*files)
    study_uid = steps.to_plan()
    assert len(steps.repository.instances(study_uid)) == len(files)
    assert steps.complete() == []
    steps.plan(study_uid)
    (key,) = steps.keys(study_uid)
    assert (steps.waker.plans, steps.waker.jobs) == ([study_uid], [key])
    steps.predict(key)
    saved = {path: path.read_bytes() for path in steps.saved(key)}
    steps.predict(key)
    assert {path: path.read_bytes() for path in saved} == saved
    assert steps.waker.deliveries == [(key, "pacs")]
    steps.publish(key)
    steps.publish(key)
    assert archive.kinds() == ["SEG", "SR"]
    steps.receive(*files)
    steps.tick(1000)
    steps.wake()
    assert (steps.state(study_uid), steps.waker.jobs) == (DELIVERED, [key])


def test_the_same_job_gives_the_same_bytes_in_another_node(
    steps: Steps, archive: Archive, marked: Marked, tmp_path: Path
) -> None:
    files, _marker = marked
    steps.receive(*files)
    (key,) = steps.keys(steps.to_plan())
    assert steps.repository.claim_job(key, "killed", 60, 3)
    steps.tick(61)
    steps.predict(key)
    first = {row.kind: row.digest for row in steps.repository.objects(key)}
    other = type(steps)(tmp_path, archive.peer)
    other.receive(*files)
    (same,) = other.keys(other.to_plan())
    other.inference = replace(other.inference, owner="another")
    other.predict(same)
    assert same == key, "the key follows from what is asked, not from when or by whom"
    assert {row.kind: row.digest for row in other.repository.objects(same)} == first


def test_what_is_no_instance_leaves_neither_file_nor_row(steps: Steps) -> None:
    received = ReceivedInstance(b"no DICOM at all", "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")
    with pytest.raises(UnparseableInstance):
        steps.take(received)
    assert steps.stored() == set() and steps.held() == []


def test_what_a_protocol_does_not_ask_for_is_delivered_as_words_only(
    steps: Steps, archive: Archive, marked: Marked
) -> None:
    question = ProtocolQuestion("liver", "Where is the liver?", (LABELS["liver"],))
    protocol = ReadingProtocol("livers", "1", "Livers", (question,), series=of_modality("CT"))
    steps.planner = replace(steps.planner, protocols=(protocol,), commissioning=False)
    study_uid = steps.through(*marked[0])  # the predictor names and marks bright voxels, whatever it is asked
    assert archive.kinds() == ["SR"]
    (job,) = steps.jobs(study_uid)
    (answer,) = job.answers
    assert answer.findings == ()
    assert answer.text.endswith("[Not marked: bright voxels, named but not asked for.]")
    items = archive.objects[0].ContentSequence
    assert answer.text in [item.TextValue for item in items if item.ValueType == "TEXT"]


def test_what_changes_which_key() -> None:
    model = open_predictor("commissioning").description
    planner = Planner((), model, (Destination("pacs", Profile.AIR),), "0.1", "node")

    def keys(
        planner: Planner = planner, findings: tuple[str, ...] = ("liver",), inputs: str = "a", frames: str = "middle"
    ) -> JobPlan:
        question = ProtocolQuestion("organs", "What is seen?", tuple(LABELS[label] for label in findings))
        protocol = ReadingProtocol("p", "1", "p", (question,), series=of_modality("CT"), frames=FrameChoice(frames))
        return planner.job("1", "2", (inputs,), protocol)

    def changed(other: JobPlan) -> list[str]:
        names = ("request_key", "answer_key", "job_key")
        return [name for name in names if getattr(other, name) != getattr(keys(), name)]

    everything = ["request_key", "answer_key", "job_key"]
    assert changed(keys()) == []
    assert changed(keys(findings=("liver", "spleen"))) == everything
    assert changed(keys(inputs="b")) == everything
    assert changed(keys(frames="all")) == everything
    assert changed(keys(replace(planner, low_confidence=0.6))) == ["job_key"]
    assert changed(keys(replace(planner, model=replace(model, digest="0")))) == ["answer_key", "job_key"]
    assert changed(keys(replace(planner, model=replace(model, version="9")))) == [], "the digest says which weights"
    assert changed(keys(replace(planner, software="0.2"))) == ["job_key"]
    assert changed(keys(replace(planner, node_uid="other"))) == ["job_key"]
    assert changed(keys(replace(planner, destinations=(Destination("viewer", Profile.OHIF),)))) == []
    question = ProtocolQuestion("organs", "What is seen?", (LABELS["liver"],))
    asked = ("1", "2", ("a",), "p", "1", (question,))
    priors = {request_key(*asked), request_key(*asked, Prior(None)), request_key(*asked, Prior("earlier"))}
    assert len(priors) == 2, "that there is no earlier result changes nothing, why there is none neither"
    assert object_key("job", Profile.AIR) != object_key("job", Profile.OHIF)
