"""Plan: match a complete study against the reading protocols; a job per matching series and protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from dicom_node.errors import InstanceRefused
from dicom_node.headers.headers import SeriesHeader, StudyHeader, read_study_header
from dicom_node.results.codes import COMMISSIONING_CONCEPT
from dicom_node.results.finding import Profile
from dicom_node.storage.instance_store import InstanceStore
from inference.interface import PredictorDescription
from workflows.protocols.matching import Plan, Refusal, SeriesMatch, is_image_series, match
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.state.records import JobPlan
from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.tables import InstanceRow
from workflows.state.waker import Waker
from workflows.steps.inputs import inputs_of, report_lost

__all__ = ["COMMISSIONING_QUESTION", "Planner", "job_key", "plan_study"]

log = structlog.get_logger()

COMMISSIONING_QUESTION = ProtocolQuestion(
    id="bright", text="Which voxels lie above 90 % of the stored range?", findings=(COMMISSIONING_CONCEPT,)
)


@dataclass(frozen=True)
class Planner:
    """What planning needs beside the study: the protocols, the model that would answer, the destination profile."""

    protocols: tuple[ReadingProtocol, ...]
    model: PredictorDescription
    profile: Profile
    software_version: str
    commissioning: bool = False

    def plan(self, study: StudyHeader) -> Plan:
        """Match the study. A commissioning node asks every image series, whatever the protocols say."""
        if not self.commissioning:
            return match(study, self.protocols)
        asked = [series for series in study.series if is_image_series(series)]
        why, reason = "a commissioning node asks every image series", "no image series in this study"
        return Plan(
            matches=tuple(SeriesMatch(series.series_uid, commissioning_protocol(), why) for series in asked),
            refusals=() if asked else (Refusal("commissioning", None, reason),),
        )


def commissioning_protocol() -> ReadingProtocol:
    """The one protocol of a commissioning node."""
    return ReadingProtocol.commissioning(COMMISSIONING_QUESTION)


def job_key(study_uid: str, series_uid: str, inputs: Sequence[str], protocol: ReadingProtocol, planner: Planner) -> str:
    """sha256 over everything a result depends on; the generation is not among it (ARCHITECTURE.md)."""
    parts: dict[str, Any] = {
        "study": study_uid,
        "series": series_uid,
        "inputs": list(inputs),
        "protocol": [protocol.name, str(protocol.version)],
        "questions": [question.as_json() for question in protocol.questions],  # findings decide what may be marked
        "model": asdict(planner.model),
        "software": planner.software_version,
        "profile": planner.profile.value,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def plan_study(study_uid: str, repository: Repository, store: InstanceStore, planner: Planner, waker: Waker) -> None:
    """Plan one complete study and wake its jobs. Running twice changes nothing.

    A study whose files are gone is received anew; one with a header that cannot be read any more fails and says so.
    """
    study = repository.study(study_uid)
    if study is None or study.state is not StudyState.COMPLETE:
        return
    rows = repository.instances(study_uid)
    if report_lost(rows, store, repository):
        return
    by_series: dict[str, list[InstanceRow]] = {}
    for row in rows:
        by_series.setdefault(row.series_uid, []).append(row)
    paths = {uid: [store.absolute(Path(row.path)) for row in rows] for uid, rows in by_series.items()}
    try:
        header = read_study_header(paths, sources=sorted({row.calling_ae_title for row in rows}))
    except InstanceRefused as error:
        log.error("study_unreadable", study_uid=study_uid, reason=str(error))
        repository.fail_study(study_uid, study.generation, f"a stored instance cannot be read: {error}")
        return
    plan = planner.plan(header)
    jobs = [_job(study_uid, found, by_series, planner) for found in plan.matches]
    summary = _summary(plan, {series.series_uid: series for series in header.series})
    if not repository.save_plan(study_uid, study.generation, jobs, _reasons(plan), summary):
        log.info("plan_outdated", study_uid=study_uid, generation=study.generation)
        return
    log.info("study_planned", study_uid=study_uid, generation=study.generation, jobs=len(jobs))
    for job in jobs:
        waker.predict(job.job_key)


def _reasons(plan: Plan) -> list[dict[str, Any]]:
    """Why each series was asked or not, as the study's row keeps it."""
    asked = [
        (True, f"{found.protocol.name} {found.protocol.version}", found.series_uid, found.reason)
        for found in plan.matches
    ]
    refused = [(False, refusal.protocol, refusal.series_uid, refusal.reason) for refusal in plan.refusals]
    return [dict(zip(("asked", "protocol", "series_uid", "reason"), one, strict=True)) for one in (*asked, *refused)]


def _job(study_uid: str, found: SeriesMatch, rows: Mapping[str, list[InstanceRow]], planner: Planner) -> JobPlan:
    protocol = found.protocol
    inputs = inputs_of(rows[found.series_uid])
    return JobPlan(
        job_key=job_key(study_uid, found.series_uid, inputs, protocol, planner),
        series_uid=found.series_uid,
        protocol=protocol.name,
        protocol_version=str(protocol.version),
        questions=[question.as_json() for question in protocol.questions],
        inputs=inputs,
        model=asdict(planner.model),
        profile=planner.profile.value,
    )


def _summary(plan: Plan, series: Mapping[str, SeriesHeader]) -> str:
    if plan.matches:
        return ", ".join(
            f"{found.protocol.name} matched series {series[found.series_uid].series_description or found.series_uid}"
            for found in plan.matches
        )
    return "; ".join(f"{refusal.protocol}: {refusal.reason}" for refusal in plan.refusals) or "no reading protocols"
