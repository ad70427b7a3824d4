"""Protocols that are edited while a worker plans: what runs keeps its version, what comes gets the new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydicom import dcmread

from dicom_node.commissioning.body import make_body
from dicom_node.results import codes
from dicom_node.results.profiles import ResultKind
from tests.scene import answer_study, receive_study, scene_node
from workflows.bootstrap import Node
from workflows.roles.delivering import io_lanes
from workflows.state.records import Job
from workflows.state.states import JobState, StudyState
from workflows.state.views import Selection
from workflows.state.waker import RecordingWaker

RULE = """\
name: chest
version: "{version}"
series: {{where: {{modality: [DX, CR]}}}}
questions: [{{id: liver, text: "{text}", findings: liver}}]
"""


def await_that(holds: Callable[[], bool], ring: Callable[[], None] = lambda: None) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came"
        ring()
        time.sleep(0.02)


@contextmanager
def planning(node: Node) -> Iterator[Callable[[], None]]:
    """The io role's lanes at work; yields what wakes those that plan and look at the protocols."""
    lanes = [lane for lane in io_lanes(node, RecordingWaker()) if lane.queue in ("planning", "protocols")]
    for lane in lanes:
        lane.start()
    try:
        yield lambda: [lane.ring() for lane in lanes] and None
    finally:
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.thread.join(20)


def radiographs(folder: Path, number: int) -> list[tuple[str, Path]]:
    """Studies of one image each, of one radiograph: Study Instance UID and file."""
    body = make_body(folder / "body", "live", datetime.now(UTC))
    image = dcmread(next(series for series in body.series if series.voxel_mm3 is None).files[0])
    made = []
    for study in range(1, number + 1):
        image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.{study}", f"1.2.{study}.1"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.{study}.1.1"
        image.save_as(folder / f"{study}.dcm", enforce_file_format=True)
        made.append((image.StudyInstanceUID, folder / f"{study}.dcm"))
    return made


def planned(node: Node, study: tuple[str, Path], ring: Callable[[], None]) -> Job:
    uid, file = study
    receive_study(node, uid, [file])
    await_that(lambda: bool(jobs(node, uid)), ring)
    (job,) = jobs(node, uid)
    return job


def jobs(node: Node, study_uid: str) -> list[Job]:
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    assert view.study.state is not StudyState.UNMATCHED, view.study.reason
    return [one.job for one in view.jobs]


def named_in_report(node: Node, job: Job) -> list[str]:
    """What the job's SR says of its protocol, read from the file."""
    (report,) = [one for one in node.repository.objects(job.job_key) if one.kind is ResultKind.REPORT]
    content = dcmread(node.folder.absolute(report.path)).ContentSequence
    wanted = codes.READING_PROTOCOL
    return [
        item.TextValue
        for item in content
        if (item.ConceptNameCodeSequence[0].CodeValue, item.ConceptNameCodeSequence[0].CodingSchemeDesignator)
        == (wanted.value, wanted.scheme_designator)
    ]


def test_rules_are_edited_while_studies_come(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()

    def edit(text: str) -> None:
        (rules / "chest.yaml").write_text(text)

    first, second = RULE.format(version=1, text="Where is the liver?"), RULE.format(version=2, text="Is a liver seen?")
    edit(first)
    studies = radiographs(tmp_path, 3)
    settings = {"protocols": {"directory": str(rules)}}
    node = scene_node(tmp_path / "node", **settings)
    node.rules.settle_s = 0.01
    with planning(node) as ring:
        before = planned(node, studies[0], ring)
        edit(second)
        await_that(lambda: len(node.repository.protocol_versions("chest")) == 2, ring)
        answer_study(node, studies[0][0])
        after = planned(node, studies[1], ring)
        edit(second.replace("DX", "DX]"))
        await_that(lambda: node.repository.refused_edit() is not None, ring)
        kept = planned(node, studies[2], ring)
    answer_study(node, studies[1][0])
    assert (before.protocol_name, after.protocol_name, kept.protocol_name) == ("chest 1", "chest 2", "chest 2")
    assert before.protocol_digest != after.protocol_digest == kept.protocol_digest
    assert node.repository.job(before.job_key).state is not JobState.SUPERSEDED
    assert node.repository.kept_study(studies[0][0]) is not None, "what rules may ask is kept with the plan"
    assert [one.text for one in node.repository.job(before.job_key).questions] == ["Where is the liver?"]
    stored = [node.repository.protocol_version(job.protocol_digest) for job in (before, after)]
    assert [one and one.contents.decode() for one in stored] == [first, second]
    for job in (before, after):
        assert named_in_report(node, job) == [f"{job.protocol_name} (sha256 {job.protocol_digest[:12]})"]

    restarted = scene_node(tmp_path / "node", **settings)
    restarted.rules.settle_s = 0.01
    assert [(one.name, one.version) for one in restarted.planner().protocols] == [("chest", "2")]
