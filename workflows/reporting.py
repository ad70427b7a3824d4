"""Status and explain: what the database knows, as a person or a script wants to read it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workflows.state.repository import Repository
from workflows.state.tables import JobRow, StudyRow

__all__ = ["explain_study", "status_of", "status_of_all"]


def status_of_all(repository: Repository) -> list[dict[str, Any]]:
    """Every study as `status --json` shows it, the latest first."""
    return [status_of(repository, study) for study in repository.studies()]


def status_of(repository: Repository, study: StudyRow) -> dict[str, Any]:
    """One study: `{study_uid, generation, state, reason, accession_number, protocol, jobs}`, an entry per question."""
    jobs = [job for job in repository.jobs(study.study_uid) if job.generation == study.generation]
    return {
        "study_uid": study.study_uid,
        "generation": study.generation,
        "state": study.state.value,
        "reason": study.reason,
        "accession_number": study.accession_number,
        "protocol": ", ".join(sorted({f"{job.protocol} {job.protocol_version}" for job in jobs})) or None,
        "jobs": [entry for job in jobs for entry in _questions(repository, job)],
    }


def _questions(repository: Repository, job: JobRow) -> list[dict[str, Any]]:
    results = [
        {"kind": row.kind, "sop_instance_uid": row.sop_instance_uid, "path": row.path, "state": row.state.value}
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
            "results": results,
            "series_uid": job.series_uid,
            "terms": job.model.get("terms"),
        }
        for question in job.questions
    ]


def explain_study(repository: Repository, study_uid: str) -> dict[str, Any] | None:
    """All that is known of one study: status, its series, what was lost, and why a protocol did not match."""
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
        "not_asked": study.plan_reasons,
    }
