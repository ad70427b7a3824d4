"""Status and explain: what the database knows, as a person or a script wants to read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, assert_never

from workflows.data_folder import DataFolder
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord
from workflows.state.asking import AskedQuestion
from workflows.state.records import Delivery, Job, Prior, Retraction, RetractionOf, Study, TroubleKind
from workflows.state.repository import Repository
from workflows.state.reviewing import Review
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.views import EVERY_STUDY, JobView, ObjectView, Selection, StudyDetails, StudyView

__all__ = ["explain_study", "named_studies", "overlay_of", "status_of", "status_of_all"]


def status_of_all(
    repository: Repository,
    folder: DataFolder,
    selection: Selection = EVERY_STUDY,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Studies as `status --json` shows them, those that got an instance last first; at most `limit`."""
    return [status_of(view, folder) for view in repository.study_views(selection, limit)]


def status_of(
    view: StudyView, folder: DataFolder, reviewed: Mapping[str, Sequence[AnswerRecord]] | None = None
) -> dict[str, Any]:
    """One study: `{study_uid, generation, state, reason, remedy, attention, evidence, accession_number, protocol,
    progress, jobs, to_retract, reviews}`.

    `jobs` has an entry per question and part; `progress` counts jobs, series asked by a protocol: `{done, of, failed,
    cancelled}`; what has failed or was cancelled is done too.
    `to_retract`: results of whatever generation that are to be retracted, each once for every archive. `attention`:
    why a person has to look at the study, or "". `evidence`: why it counts as complete, "" while it is received.
    `remedy`: the command that goes on with a study that is FAILED, or "". `reviews`: the first one first.
    `reviewed`: by job key, the answers as reviewers have them.
    """
    study = view.study
    return {
        "study_uid": study.study_uid,
        "generation": study.generation,
        "state": study.state.value,
        "reason": study.reason,
        "remedy": _remedy(study),
        "attention": study.attention,
        "evidence": study.evidence,
        "accession_number": study.accession_number,
        "protocol": ", ".join(sorted({one.job.protocol_name for one in view.jobs})) or None,
        "progress": _progress(view),
        "jobs": [entry for one in view.jobs for entry in _questions(one, folder, reviewed or {})],
        "to_retract": [one for one in _results(view.to_retract, folder) if not _is_taken_back(one)],
        "reviews": [_review(one) for one in view.reviews],
    }


def _review(review: Review) -> dict[str, Any]:
    """What a person has said of a study's results, in numbers, and how far it has come."""
    return {
        "number": review.number,
        "state": review.state.value,
        "reason": review.reason,
        "reviewer": review.reviewer,
        "name": review.name,
        "verdicts": dict(Counter(verdict.kind.value for verdict in review.verdicts)),
        "missed": len(review.missed),
        "signed_at": _time(review.signed_at),
        "written_at": _time(review.written_at),
    }


def _progress(view: StudyView) -> dict[str, int]:
    states = [one.job.state for one in view.jobs]
    ended = {"failed": states.count(JobState.FAILED), "cancelled": states.count(JobState.CANCELLED)}
    return {"done": view.ended_jobs, "of": len(states), **ended}


def named_studies(repository: Repository, name: str) -> list[str]:
    """The studies with this UID or accession number, those that got an instance last first."""
    if repository.study(name) is not None:
        return [name]
    return repository.study_uids(Selection(accession_number=name))


def _remedy(study: Study) -> str:
    if study.state is not StudyState.FAILED or study.failure is TroubleKind.LOST:
        return ""
    return f"medseg-node requeue --study {study.study_uid}"


def _questions(
    view: JobView, folder: DataFolder, reviewed: Mapping[str, Sequence[AnswerRecord]]
) -> Iterator[dict[str, Any]]:
    job, results = view.job, _results(view.objects, folder)
    told = dict(enumerate(one.text for one in reviewed.get(job.job_key, ())))
    for question in job.questions:
        answers = [(place, one) for place, one in enumerate(job.answers) if job.question_of(place) == question]
        for place, answer in answers:
            yield _question(job, question.text, answer, results) | {"reviewed_answer": told.get(place)}
        if not answers:
            yield _question(job, question.text, None, results) | {"reviewed_answer": None}


def _results(objects: Sequence[ObjectView], folder: DataFolder) -> list[dict[str, Any]]:
    """Result objects, each once for every archive that it goes to."""
    return [_result(one, delivery, folder) for one in objects for delivery in (one.deliveries or (None,))]


def _question(job: Job, question: str, answer: AnswerRecord | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "question": question,
        "state": job.state.value,
        "reason": _why(job),
        "priority": job.priority.value,
        "attempts": job.attempts,
        "next_attempt_at": _time(job.ready_at) if job.state is JobState.PLANNED else None,
        "useful_until": _time(job.useful_until),
        "failure": None if job.failure is None else {"kind": job.failure.value, "passing": job.failure.passing},
        "history": [{"at": event.at.isoformat(), "told": event.told} for event in job.history],
        "answer": None if answer is None else answer.text,
        "findings": [] if answer is None else [finding.as_json() for finding in answer.findings],
        "not_seen": None if answer is None or answer.not_seen is None else list(answer.not_seen),
        "goes_on": answer is not None and answer.goes_on,
        "not_asked": answer is not None and answer.not_asked,
        "not_assessed": [] if answer is None else [asdict(one) for one in answer.not_assessed],
        "compared": [] if answer is None else list(answer.compared),
        "prior": None if job.prior is None else _prior(job.prior),
        "results": results,
        "series_uid": job.series_uid,
        "part": 0 if answer is None else answer.part,
        "part_name": "" if answer is None else next((one.name for one in job.parts if one.ordinal == answer.part), ""),
        "notes": list(job.notes),
        "protocol": job.protocol_name,
        "protocol_digest": job.protocol_digest,
        "model": asdict(job.model),
        "terms": job.model.terms,
    }


def _why(job: Job) -> str:
    """Why a job stands where it does; never empty but where all is done."""
    if job.reason:
        return job.reason
    match job.state:
        case JobState.PLANNED:
            return "waits for a worker"
        case JobState.PREDICTING:
            return f"being read, attempt {job.attempts}"
        case JobState.DELIVERING:
            return "answered, on the way to the archive"
        case JobState.FAILED | JobState.CANCELLED | JobState.SUPERSEDED:
            return "no reason was kept"
        case JobState.DELIVERED:
            return ""
        case state:
            assert_never(state)


def _prior(prior: Prior) -> dict[str, Any]:
    """The earlier result that a job is compared with; `date`: of its study, None: there is none. `note`: why."""
    return {
        "answer_key": prior.answer_key,
        "study_uid": prior.study_uid,
        "date": None if prior.result is None else prior.result.date.isoformat(),
        "archive": prior.archive,
        "sop_instance_uid": prior.sop_instance_uid,
        "note": prior.note,
    }


def _result(view: ObjectView, delivery: Delivery | None, folder: DataFolder) -> dict[str, Any]:
    """A result object and one of the archives that it goes to.

    `retract`: why it is to be retracted, if it is. `retraction`: what became of that in this archive.
    """
    result = view.result
    retraction = None if delivery is None else view.retraction_from(delivery.archive)
    return {
        "kind": result.kind.value,
        "sop_instance_uid": result.sop_instance_uid,
        "path": str(folder.absolute(result.path)),
        "profile": result.profile.value,
        "state": "SAVED" if delivery is None else delivery.state.value,
        "reason": "" if delivery is None else delivery.reason,
        "archive": "" if delivery is None else delivery.archive,
        "attempts": 0 if delivery is None else delivery.attempts,
        "next_attempt_at": _next_attempt_at(delivery),
        "delivered_at": None if delivery is None else _time(delivery.delivered_at),
        "committed_at": None if delivery is None else _time(delivery.committed_at),
        "seen_at": None if delivery is None else _time(delivery.seen_at),
        "unconfirmed": "" if delivery is None else delivery.confirm_reason,
        "retract": None if result.retraction is None else _retraction(result.retraction),
        "retraction": None if retraction is None else _taken_back(retraction),
        "review": result.review,
        "replaced_by_review": result.replaced_by,
        "reviewed_by": result.reviewed_by,
    }


def _next_attempt_at(delivery: Delivery | None) -> str | None:
    return _time(delivery.wake_at) if delivery is not None and delivery.state is DeliveryState.PENDING else None


def _is_taken_back(result: dict[str, Any]) -> bool:
    retraction = result["retraction"]
    return retraction is not None and retraction["state"] == RetractionState.DONE.value


def _time(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _taken_back(retraction: RetractionOf) -> dict[str, Any]:
    return {
        "state": retraction.state.value,
        "code": retraction.code.told,
        "reason": retraction.reason,
        "told": retraction.told,
        "wanted_at": retraction.wanted_at.isoformat(),
        "note_uid": retraction.note_uid,
        "done_at": _time(retraction.done_at),
    }


def _retraction(retraction: Retraction) -> dict[str, str]:
    return {"reason": retraction.reason, "at": retraction.at.isoformat()}


def explain_study(repository: Repository, folder: DataFolder, study_uid: str) -> dict[str, Any] | None:
    """All that is known of one study: status, its series, what was lost or rejected, why protocols matched or not."""
    details = repository.study_details(study_uid)
    if details is None:
        return None
    wrong = {
        one.job.prior.answer_key
        for one in details.view.jobs
        if one.job.prior is not None and repository.is_to_be_retracted(one.job.prior)
    }
    reviewed = repository.reviewed_answers(study_uid)
    known = {**_details(details, folder, reviewed), **_whose(repository, study_uid)}
    in_service = repository.protocols_in_service()
    known["in_service"] = {} if in_service is None else {one.name: one.version for one in in_service.versions}
    known["questions"] = [_asked_by_a_person(one) for one in repository.questions(study_uid)]
    for prior in (job["prior"] for job in known["jobs"] if job["prior"] is not None):
        prior["to_retract"] = prior["answer_key"] in wrong
    return known


def _asked_by_a_person(asked: AskedQuestion) -> dict[str, Any]:
    return {
        "job_key": asked.job.job_key,
        "question": asked.text,
        "asked_by": asked.asked_by,
        "asked_at": asked.asked_at.isoformat(),
        "state": asked.state.value,
        "told": asked.told,
    }


def _whose(repository: Repository, study_uid: str) -> dict[str, str | None]:
    """The day of a study, as far as the database knows it."""
    row = repository.worklist_row(study_uid)
    return {"study_date": (row.study_date if row is not None else "") or None}


def _details(
    details: StudyDetails, folder: DataFolder, reviewed: Mapping[str, Sequence[AnswerRecord]]
) -> dict[str, Any]:
    study = details.view.study
    return {
        **status_of(details.view, folder, reviewed),
        "source_ae_title": study.source_ae_title,
        "first_received_at": study.first_received_at.isoformat(),
        "last_received_at": study.last_received_at.isoformat(),
        "series": [
            {
                "series_uid": one.series.series_uid,
                "modality": one.series.modality,
                "series_description": one.series.series_description,
                "instances": one.instances,
            }
            for one in details.series
        ],
        "lost": [
            {
                "series_uid": instance.series_uid,
                "sop_instance_uid": instance.sop_instance_uid,
                "reason": instance.lost_reason,
            }
            for instance in details.lost
        ],
        "inputs_removed": None
        if details.removed is None
        else {"instances": details.removed[0], "at": details.removed[1].isoformat()},
        "rejected": [
            {
                "series_uid": one.series_uid,
                "sop_instance_uid": one.sop_instance_uid,
                "note_uid": one.note_uid,
                "code": one.code.told,
                "noted_at": one.noted_at.isoformat(),
                "received": one.received,
            }
            for one in details.rejected
        ],
        "read_as_is": [{"generation": one.generation, "by": one.by, "at": one.at.isoformat()} for one in details.as_is],
        "earlier": [
            {
                "series_uid": one.job.series_uid,
                "protocol": one.job.protocol_name,
                "model": asdict(one.job.model),
                "reason": one.job.reason,
                "results": _results(one.objects, folder),
            }
            for one in details.earlier
        ],
        "asked": [_verdict(verdict, verdict.named) for verdict in study.verdicts if verdict.asked],
        "not_asked": [_verdict(verdict, verdict.protocol) for verdict in study.verdicts if not verdict.asked],
    }


def _verdict(verdict: Verdict, protocol: str) -> dict[str, Any]:
    """Why a protocol asks a series or not. `protocol`: with its version where it asks, as its jobs name it."""
    return {
        "protocol": protocol,
        "version": verdict.version,
        "series_uid": verdict.series_uid,
        "reason": verdict.reason,
        "missing": list(verdict.missing),
        "flags": list(verdict.flags),
    }


def overlay_of(result: dict[str, Any]) -> Path:
    """The picture beside a result object."""
    return Path(result["path"]).with_name("overlay.png")
