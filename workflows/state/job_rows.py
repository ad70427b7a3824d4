"""The row of a job that is planned, or asked by a person, for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from workflows.state.carrying_over import destinations_of, useful_until
from workflows.state.records import JobPlan
from workflows.state.retrying import place_in_queue
from workflows.state.states import JobState
from workflows.state.tables import JobRow, StudyRow

__all__ = ["new_job_row"]


def new_job_row(study: StudyRow, plan: JobPlan, earlier: Sequence[JobRow], now: datetime) -> JobRow:
    """The row of a plan. `earlier`: jobs of the study, of which its report names the one that it replaces."""
    answered = [
        job for job in earlier if (job.series_uid, job.protocol) == (plan.series_uid, plan.protocol) and job.answers
    ]
    predecessor = max(answered, key=lambda job: job.created_at).job_key if answered else None
    return JobRow(
        job_key=plan.job_key,
        request_key=plan.request_key,
        answer_key=plan.answer_key,
        study_uid=study.study_uid,
        series_uid=plan.series_uid,
        generation=study.generation,
        protocol=plan.protocol,
        protocol_version=plan.protocol_version,
        protocol_digest=plan.protocol_digest,
        questions=[question.as_json() for question in plan.questions],
        inputs=list(plan.inputs),
        model=asdict(plan.model),
        software=plan.software,
        prior=None if plan.prior is None else plan.prior.as_json(),
        series_kind=None if plan.kind is None else plan.kind.as_json(),
        frames=plan.frames.text,
        destinations=destinations_of(plan),
        state=JobState.PLANNED,
        answers=[],
        predecessor_key=predecessor,
        created_at=now,
        changed_at=now,
        wake_at=now,
        priority=plan.priority,
        turn_at=place_in_queue(now, plan.priority),
        ready_at=now,
        useful_until=useful_until(study, plan, now),
        waits=0,
        history=[],
    )
