"""Status and explain: what the database knows, as a person or a script wants to read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from workflows.state.repository import Repository
from workflows.state.states import JobState
from workflows.state.tables import JobRow, StudyRow

__all__ = ["explain_study", "explained", "measured", "seen", "status_of", "status_of_all"]

_ENDED = (JobState.DELIVERED, JobState.FAILED)


def status_of_all(repository: Repository) -> list[dict[str, Any]]:
    """Every study as `status --json` shows it, the latest first."""
    return [status_of(repository, study) for study in repository.studies()]


def status_of(repository: Repository, study: StudyRow) -> dict[str, Any]:
    """One study: `{study_uid, generation, state, reason, accession_number, protocol, progress, jobs}`.

    `jobs` has an entry per question; `progress` counts jobs, which are series asked by a protocol: `{done, of}`.
    """
    jobs = [job for job in repository.jobs(study.study_uid) if job.generation == study.generation]
    return {
        "study_uid": study.study_uid,
        "generation": study.generation,
        "state": study.state.value,
        "reason": study.reason,
        "accession_number": study.accession_number,
        "protocol": ", ".join(sorted({_name(job) for job in jobs})) or None,
        "progress": {"done": sum(job.state in _ENDED for job in jobs), "of": len(jobs)},
        "jobs": [entry for job in jobs for entry in _questions(repository, job)],
    }


def _name(job: JobRow) -> str:
    return f"{job.protocol} {job.protocol_version}"


def _questions(repository: Repository, job: JobRow) -> list[dict[str, Any]]:
    results = [
        {
            "kind": row.kind,
            "sop_instance_uid": row.sop_instance_uid,
            "path": row.path,
            "state": row.state.value,
            "reason": row.reason,
            "archive": row.archive,
            "delivered_at": row.delivered_at.isoformat() if row.delivered_at is not None else None,
        }
        for row in repository.results(job.job_key)
    ]
    answers = {answer["question"]: answer for answer in job.answers}
    return [
        {
            "question": question["text"],
            "state": job.state.value,
            "reason": job.reason,
            "answer": answers.get(question["text"], {}).get("answer"),
            "findings": answers.get(question["text"], {}).get("findings", []),
            "not_seen": answers.get(question["text"], {}).get("not_seen"),
            "results": results,
            "series_uid": job.series_uid,
            "protocol": _name(job),
            "terms": job.model.get("terms"),
        }
        for question in job.questions
    ]


def explain_study(repository: Repository, study_uid: str) -> dict[str, Any] | None:
    """All that is known of one study: status, its series, what was lost, and why protocols matched or did not."""
    study = repository.study(study_uid)
    if study is None:
        return None
    held = Counter(row.series_uid for row in repository.instances(study_uid))
    return {
        **status_of(repository, study),
        "source_ae_title": study.source_ae_title,
        "first_received_at": study.first_received_at.isoformat(),
        "last_received_at": study.last_received_at.isoformat(),
        "series": [
            {
                "series_uid": row.series_uid,
                "modality": row.modality,
                "series_description": row.series_description,
                "instances": held[row.series_uid],
            }
            for row in repository.series(study_uid)
        ],
        "lost": [
            {"series_uid": row.series_uid, "sop_instance_uid": row.sop_instance_uid}
            for row in repository.lost_instances(study_uid)
        ],
        "asked": [_verdict(one) for one in study.plan_reasons if one.get("asked")],
        "not_asked": [_verdict(one) for one in study.plan_reasons if not one.get("asked")],
    }


def _verdict(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "asked"}


def explained(found: dict[str, Any]) -> Iterator[str]:
    """What `explain_study` found as lines to read, without markup."""
    yield f"{found['state']} generation {found['generation']}: {found['reason']}"
    when = f"the first instance at {found['first_received_at']}, the last at {found['last_received_at']}"
    yield f"received from {found['source_ae_title']}, {when}"
    if found["jobs"]:
        yield f"{found['progress']['done']} of {found['progress']['of']} jobs done"
    for series in found["series"]:
        what = f"{series['modality']} {series['series_description']}".strip()
        yield f"series {series['series_uid']}: {what}, {series['instances']} instances"
        yield from _asked_of(series["series_uid"], found)
    yield from _asked_of(None, found)
    for lost in found["lost"]:
        yield f"gone from the store: instance {lost['sop_instance_uid']}; send it again"


def _asked_of(series_uid: str | None, found: dict[str, Any]) -> Iterator[str]:
    """What was asked of a series and why, what became of it, and why it was not asked; None: of the study."""
    because = {one["protocol"]: one["reason"] for one in found["asked"] if one["series_uid"] == series_uid}
    jobs = [job for job in found["jobs"] if job["series_uid"] == series_uid]
    for protocol in dict.fromkeys(job["protocol"] for job in jobs):
        yield f"  asked by {protocol}" + (f": {because[protocol]}" if because.get(protocol) else "")
        yield from _answered([job for job in jobs if job["protocol"] == protocol])
    for refusal in found["not_asked"]:
        if refusal["series_uid"] == series_uid:
            yield f"  not asked by {refusal['protocol']}: {refusal['reason']}"


def _answered(questions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One job's questions with their answers, then the objects that hold them all."""
    job = questions[0]
    yield f"    {job['state']}" + (f": {job['reason']}" if job["reason"] else "")
    for question in questions:
        yield f"    asked: {question['question']}"
        if question["answer"] is not None:
            yield f"      answer: {question['answer']}"
            yield from (f"      {line}" for line in seen(question["findings"], question["not_seen"]))
    for result in job["results"]:
        to = f" to {result['archive']}" if result["archive"] else ""
        when = f" at {result['delivered_at']}" if result["delivered_at"] else ""
        why = f" ({result['reason']})" if result["reason"] else ""
        yield f"    {result['kind']} {result['state']}{to}{when}{why}: {result['path']}"


def seen(findings: Sequence[dict[str, Any]], not_seen: Sequence[str] | None) -> Iterator[str]:
    """What an answer marked, with its size, and what was asked for and not seen; None: that was not recorded."""
    yield from (f"seen: {measured(finding)}" for finding in findings)
    if not findings:
        yield "seen: nothing"
    if not_seen is not None:
        yield f"asked for and not seen: {', '.join(not_seen) or 'nothing'}"


def measured(finding: dict[str, Any]) -> str:
    """A finding's size and confidence."""
    size = f"{finding['voxels']} voxels"
    if finding["volume_ml"] is not None:
        digits = ".1f" if finding["volume_ml"] >= 1 else ".2g"
        size = f"{finding['volume_ml']:{digits}} ml, {size}"
    elif finding["area_mm2"] is not None:
        size = f"{finding['area_mm2']:.0f} mm2, {size}"
    return f"{finding['label']}: {size}, confidence {finding['confidence']:.2f}"
