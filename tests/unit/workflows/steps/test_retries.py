"""Steps that try again: pauses grow and are spread, urgent studies go first, what failed is answered once put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dicom_node.network.storage_scu import Peer
from inference.errors import OutOfMemory
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SliceStack
from tests.services import free_port
from workflows.errors import OtherWeights
from workflows.protocols.schema import Limits
from workflows.state.records import Priority

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

Study = Callable[..., list[Path]]


class Full:
    """A predictor on a device that has no room."""

    def __init__(self, predictor: Predictor) -> None:
        self.description = predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        raise OutOfMemory("no batch size fits")


class Named(Full):
    """A predictor under another name."""

    def __init__(self, predictor: Predictor, description: PredictorDescription) -> None:
        self.predictor, self.description = predictor, description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        return self.predictor.answer(stack, questions, progress=progress)


def waits_s(steps: Steps, key: str) -> float:
    ready_at = steps.repository.job(key).ready_at
    assert ready_at is not None
    return (ready_at - steps.now).total_seconds()


def planned(steps: Steps, files: list[Path]) -> tuple[str, str]:
    steps.receive(*files)
    study_uid = steps.to_plan()
    (key,) = steps.keys(study_uid)
    return study_uid, key


def test_a_job_that_no_worker_can_take_up_is_looked_at_more_and_more_rarely(
    steps: Steps, marking: Marking, study: Study
) -> None:
    _, key = planned(steps, study(1, "20260101"))

    def elsewhere(wanted: PredictorDescription) -> Predictor:
        raise OtherWeights("planned for other weights")

    told = []
    steps.inference = replace(steps.inference, predictor_for=elsewhere, chance=lambda: 1.0)
    for _ in range(6):
        steps.predict(key)
        told.append(waits_s(steps, key))
        assert steps.repository.next_job() is None
        steps.tick(told[-1])
        assert steps.repository.next_job() == key
    assert told == [30, 60, 120, 240, 300, 300]


def test_jobs_that_were_put_off_together_do_not_come_back_together(
    steps: Steps, marking: Marking, study: Study
) -> None:
    files = [path for series in range(1, 7) for path in study(1, "20260101", series=series)]
    steps.receive(*files)
    keys = steps.keys(steps.to_plan())
    steps.predictor = Full(steps.predictor)
    steps.inference = replace(steps.inference, chance=random.Random(3).random)
    for key in keys:
        steps.predict(key)
    pauses = [waits_s(steps, key) for key in keys]
    assert len(keys) == 6 and len({round(pause) for pause in pauses}) > 3
    assert all(15 <= pause <= 30 for pause in pauses)


def test_what_failed_for_want_of_room_is_answered_when_its_images_come_again(
    steps: Steps, marking: Marking, archive: Archive, study: Study
) -> None:
    files = study(1, "20260101")
    study_uid, key = planned(steps, files)
    model = steps.predictor
    steps.predictor = Full(model)
    for _ in range(3):
        steps.predict(key)
        steps.tick(300)
    assert steps.state(study_uid) == ("FAILED", "given up after 3 attempts: 3 times: no batch size fits")
    steps.predictor = model
    steps.receive(*files)
    assert steps.keys(study_uid) == [key], "no new generation"
    steps.wake()
    assert steps.waker.jobs[-1] == key
    steps.predict(key)
    steps.publish(key)
    assert steps.state(study_uid)[0] == "DELIVERED"
    assert len(archive.objects) == 2


@pytest.mark.parametrize("why", ["protocol", "peer", "header", "none"])
def test_a_study_is_urgent_for_its_protocol_its_source_or_its_header(
    steps: Steps, marking: Marking, study: Study, why: str
) -> None:
    (asked,) = steps.planner.protocols
    urgent: dict[str, dict[str, Any]] = {
        "protocol": {"protocols": (replace(asked, limits=Limits(priority=Priority.STAT)),)},
        "peer": {"urgent_sources": frozenset({"CT1"})},
    }
    changes = {"RequestedProcedurePriority": "HIGH" if why == "header" else "ROUTINE"}
    steps.planner = replace(steps.planner, **urgent.get(why, {}))
    _, key = planned(steps, study(1, "20260101", **changes))
    assert steps.repository.job(key).priority is (Priority.ROUTINE if why == "none" else Priority.STAT)


def test_questions_that_name_another_predictor_become_a_job_of_its_own(
    steps: Steps, marking: Marking, study: Study
) -> None:
    (asked,) = steps.planner.protocols
    mine, organs = steps.planner.model, PredictorDescription("organs", "2", "0" * 64, None)
    questions = (*asked.questions, replace(asked.questions[0], id="other", text="And now?", predictor="organs"))
    steps.planner = replace(
        steps.planner, protocols=(replace(asked, questions=questions),), model_of={"organs": organs}.__getitem__
    )
    steps.receive(*study(1, "20260101"))
    study_uid = steps.to_plan()
    jobs = [steps.repository.job(key) for key in steps.keys(study_uid)]
    assert {(job.protocol, job.model.name, tuple(question.id for question in job.questions)) for job in jobs} == {
        (asked.name, mine.name, tuple(question.id for question in asked.questions)),
        (f"{asked.name}@organs", "organs", ("other",)),
    }
    for job in jobs:
        steps.inference = replace(steps.inference, predictor_for=lambda model: Named(marking, model))
        steps.predict(job.job_key)
    told = {steps.repository.job(job.job_key).model.name for job in jobs}
    assert told == {mine.name, "organs"}, "each result names who answered"
    assert all(steps.repository.job(job.job_key).predecessor_key is None for job in jobs)


def test_a_protocol_says_how_long_its_answer_is_of_use(steps: Steps, marking: Marking, study: Study) -> None:
    (asked,) = steps.planner.protocols
    steps.planner = replace(steps.planner, protocols=(replace(asked, limits=Limits(useful_for_minutes=30)),))
    study_uid, key = planned(steps, study(1, "20260101"))
    steps.tick(30 * 60)
    steps.wake()
    state, reason = steps.state(study_uid)
    assert state == "FAILED" and reason.startswith("too late to be of use")
    steps.predict(key)
    assert marking.asked == 0


def test_the_pauses_of_a_destination_that_is_away_grow(steps: Steps, marking: Marking, study: Study) -> None:
    study_uid, key = planned(steps, study(1, "20260101"))
    steps.predict(key)
    away = {"pacs": steps.way_to(Peer("PACS", "127.0.0.1", free_port()))}
    told = []
    for _ in range(5):
        steps.publish(key, routes=away, chance=lambda: 1.0)
        (view,) = steps.repository.study_views()
        (due,) = {delivery.wake_at for shown in view.jobs[0].objects for delivery in shown.deliveries}
        assert due is not None
        told.append((due - steps.now).total_seconds())
        steps.tick(300)
    assert told == [2, 4, 8, 16, 32]
    assert steps.state(study_uid)[0] == "DELIVERING"
