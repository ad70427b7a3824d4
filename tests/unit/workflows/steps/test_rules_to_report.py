"""Rules from their file to the report: what a protocol says of a study is what is planned, asked, sent and told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from dicom_node.results.profiles import Profile
from inference.errors import AnswerMalformed
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SliceStack
from workflows.protocols.loader import load_directory
from workflows.protocols.verdicts import Verdict
from workflows.state.records import Destination
from workflows.state.states import JobState

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

SENTINEL = "Zwetschgenknoedel"
RULES = {
    "abdomen": """\
name: abdomen
version: "3"
title: Liver and spleen in CT
priority: 80
when: {age: {at_least: 18}}
series:
  where: {modality: CT, slice_thickness: {at_most: 10}}
  prefer: [axial, thin]
  take: 1
questions:
  - id: liver
    text: "Where is the liver of this {age} {sex}? {reason|No reason given.}"
    findings: [liver, spleen]
    follow_ups:
      - {ask: Is it enlarged?, if_seen: liver, if_larger_than: {ml: 1500}}
      - {ask: "How large is it, given {reason}?", if_seen: liver}
results: {archives: [research], profile: ohif}
limits: {priority: stat, useful_for_minutes: 60}
""",
    "side": """\
name: side
version: "1"
title: What needs a side that no header has
priority: 60
series: {where: {modality: CT}}
questions: [{id: side, text: "What is seen of the {side} liver?", findings: liver}]
""",
    "thick": """\
name: thick
version: "1"
title: What asks thick slices the same, and thin ones too
priority: 40
series: {where: {modality: CT}, prefer: [thick], take: 1}
questions: [{id: liver, text: What is seen?, findings: liver}]
""",
    "rest": """\
name: rest
version: "1"
title: What comes too late
priority: 10
series: {where: {modality: CT}}
questions: [{id: spleen, text: Where is the spleen?, findings: spleen}]
""",
}


class Repeating(Predictor):
    """A model that repeats what it is asked, in its words and in what it fails with."""

    def __init__(self, model: Marking) -> None:
        self.model = model
        self.error: type[Exception] | None = None

    @property
    def description(self) -> PredictorDescription:
        return self.model.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        said = " ".join(one.text for one in questions)
        if self.error is not None:
            raise self.error(said)
        return tuple(replace(one, text=said) for one in self.model.answer(stack, questions))


@pytest.fixture
def ruled(steps: Steps, marking: Marking, study: Callable[..., list[Path]], tmp_path: Path) -> list[Path]:
    """The node plans by the rules, two protocols a study; a study with a thick and a thin series, and a reason."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, text in RULES.items():
        (folder / f"{name}.yaml").write_text(text)
    research = Destination("research", Profile.AIR)
    steps.planner = replace(
        steps.planner,
        protocols=tuple(load_directory(folder)),
        all_archives={"pacs": steps.planner.destinations[0], "research": research},
        at_most=2,
    )
    steps.sender = replace(steps.sender, routes={**steps.sender.routes, "research": steps.sender.routes["pacs"]})
    steps.predictor = Repeating(marking)
    request = Dataset()
    request.ReasonForTheRequestedProcedure = SENTINEL
    given = {"PatientAge": "054Y", "PatientSex": "F", "RequestAttributesSequence": [request]}
    thick = study(1, "20260101", series=1, slices=3, SliceThickness=5, SeriesDescription="thick", **given)
    return [*thick, *study(1, "20260101", series=2, slices=4, SliceThickness=1, SeriesDescription="thin", **given)]


def test_what_rules_say_is_what_is_asked_sent_and_told(steps: Steps, archive: Archive, ruled: list[Path]) -> None:
    steps.receive(*ruled)
    study_uid = steps.to_plan()
    jobs = {job.protocol: job for job in steps.jobs(study_uid)}
    assert sorted(jobs) == ["abdomen", "thick"]
    assert [jobs[name].series_uid[-2:] for name in ("abdomen", "thick")] == [".2", ".1"]
    job = jobs["abdomen"]
    assert [one.text for one in job.questions] == [
        f"Where is the liver of this 54-year-old woman? {SENTINEL}",
        "Is it enlarged?",
        f"How large is it, given {SENTINEL}?",
    ]
    assert job.destinations == (Destination("research", Profile.OHIF),)
    assert job.priority.value == "stat" and job.useful_until is not None
    (view,) = steps.repository.study_views()
    verdicts = {(one.protocol, (one.series_uid or "")[-2:]): one for one in view.study.verdicts}
    assert {key for key, one in verdicts.items() if one.asked} == {("abdomen", ".2"), ("thick", ".1")}
    assert "thin" in verdicts["abdomen", ".1"].reason or "thickness" in verdicts["abdomen", ".1"].reason
    assert verdicts["side", ".1"].missing == ("Laterality (0020,0060)",)
    assert "at most 2 protocols ask a study" in verdicts["rest", ""].reason
    for each in jobs.values():
        steps.predict(each.job_key)
        steps.publish(each.job_key, each.destinations[0].archive)
    (job,) = [one for one in steps.jobs(study_uid) if one.protocol == "abdomen"]
    assert [one.follows for one in job.questions] == ["", "liver", "liver"], "conditions do not hang on each other"
    assert [one.not_asked for one in job.answers] == [False, True, False]
    assert job.answers[1].text == "Not asked: the liver was seen, no larger than 1500 ml."
    reports = [json.dumps(one.to_json_dict()) for one in archive.objects if one.Modality == "SR"]
    told = (job.answers[1].text, f"abdomen 3 (sha256 {job.protocol_digest[:12]})")
    assert [all(words in report for words in told) for report in reports].count(True) == 1
    assert steps.state(study_uid)[0] == "DELIVERED"


@pytest.mark.parametrize("error", [None, AnswerMalformed, ValueError])
def test_a_reason_for_a_study_is_in_no_log_line_of_its_whole_way(
    steps: Steps,
    archive: Archive,
    ruled: list[Path],
    error: type[Exception] | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    steps.predictor.error = error
    steps.planner = replace(steps.planner, at_most=1)
    with caplog.at_level(logging.WARNING), capture_logs() as logs:
        steps.receive(*ruled)
        study_uid = steps.to_plan()
        (key,) = steps.keys(study_uid)
        steps.predict(key)
        steps.publish(key, "research")
    (job,) = steps.jobs(study_uid)
    assert SENTINEL in job.questions[0].text
    assert (job.state is JobState.DELIVERED) == (error is None)
    assert {one["event"] for one in logs} >= {"study_planned", "job_claimed"}
    without_tracebacks = [{key: value for key, value in one.items() if key != "exc_info"} for one in logs]
    assert SENTINEL not in f"{without_tracebacks} {caplog.text} {capfd.readouterr()}"


def test_verdicts_of_0_1_are_read_as_they_were_written() -> None:
    written = {"asked": True, "protocol": "abdominal-ct 1", "series_uid": "1.2", "reason": "matches"}
    verdict = Verdict.from_json(written)
    assert (verdict.named, verdict.missing, verdict.flags) == ("abdominal-ct 1", (), ())
