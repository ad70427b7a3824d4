"""Status and explain: what the database knows, as a person or a script wants to read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, assert_never

from workflows.data_folder import DataFolder
from workflows.state.answers import AnswerRecord, FindingRecord
from workflows.state.records import Delivery, Job, Prior, Priority, Retraction, RetractionOf, Study, TroubleKind
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.views import EVERY_STUDY, JobView, ObjectView, Selection, StudyDetails, StudyView

__all__ = ["explain_study", "explained", "seen", "size_of", "status_of", "status_of_all"]

_NAMED = 3


def status_of_all(
    repository: Repository,
    folder: DataFolder,
    selection: Selection = EVERY_STUDY,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Studies as `status --json` shows them, those that got an instance last first; at most `limit`."""
    return [status_of(view, folder) for view in repository.study_views(selection, limit)]


def status_of(view: StudyView, folder: DataFolder) -> dict[str, Any]:
    """One study: `{study_uid, generation, state, reason, remedy, attention, evidence, accession_number, protocol,
    progress, jobs, to_retract}`.

    `jobs` has an entry per question and part; `progress` counts jobs, series asked by a protocol: `{done, of}`.
    `to_retract`: results of whatever generation that are to be retracted, each once for every archive. `attention`:
    why a person has to look at the study, or "". `evidence`: why it counts as complete, "" while it is received.
    `remedy`: the command that goes on with a study that is FAILED, or "".
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
        "progress": {"done": view.ended_jobs, "of": len(view.jobs)},
        "jobs": [entry for one in view.jobs for entry in _questions(one, folder)],
        "to_retract": [one for one in _results(view.to_retract, folder) if not _is_taken_back(one)],
    }


def _remedy(study: Study) -> str:
    if study.state is not StudyState.FAILED or study.failure is TroubleKind.LOST:
        return ""
    return f"medseg-node requeue --study {study.study_uid}"


def _questions(view: JobView, folder: DataFolder) -> Iterator[dict[str, Any]]:
    job, results = view.job, _results(view.objects, folder)
    for question in job.questions:
        answers: Sequence[AnswerRecord | None] = [one for one in job.answers if one.question == question.text]
        for answer in answers or [None]:
            yield _question(job, question.text, answer, results)


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
        "compared": [] if answer is None else list(answer.compared),
        "prior": None if job.prior is None else _prior(job.prior),
        "results": results,
        "series_uid": job.series_uid,
        "part": 0 if answer is None else answer.part,
        "part_name": "" if answer is None else next((one.name for one in job.parts if one.ordinal == answer.part), ""),
        "notes": list(job.notes),
        "protocol": job.protocol_name,
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


def _compared_with(study_uid: str, prior: dict[str, Any] | None) -> Iterator[str]:
    """With which earlier result a job is compared, and why not with others."""
    if prior is None:
        return
    if prior["date"] is not None:
        where = f" in {prior['archive']}" if prior["archive"] else ""
        yield f"compared with the result of {prior['date']}{where}, study {prior['study_uid']}"
        if prior["to_retract"]:
            again = f"`medseg-node reread --study {study_uid}` compares anew"
            yield f"that result is to be retracted since, so the comparison is wrong; {again}"
    if prior["note"]:
        yield f"{'no other' if prior['date'] else 'no'} earlier result: {prior['note']}"


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
    known = _details(details, folder)
    for prior in (job["prior"] for job in known["jobs"] if job["prior"] is not None):
        prior["to_retract"] = prior["answer_key"] in wrong
    return known


def _details(details: StudyDetails, folder: DataFolder) -> dict[str, Any]:
    study = details.view.study
    verdicts = [(verdict.asked, asdict(verdict)) for verdict in study.verdicts]
    for _, entry in verdicts:
        del entry["asked"]
    return {
        **status_of(details.view, folder),
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
        "asked": [entry for asked, entry in verdicts if asked],
        "not_asked": [entry for asked, entry in verdicts if not asked],
    }


# --- As lines to read -------------------------------------------------------------------------------------------------


def explained(known: dict[str, Any]) -> Iterator[str]:
    """What `explain_study` returned as lines to read, without markup."""
    yield f"{known['state']} generation {known['generation']}: {known['reason']}"
    if known["remedy"]:
        yield f"once its cause is mended: {known['remedy']}"
    if known["attention"]:
        yield f"needs attention: {known['attention']}"
    when = f"the first instance at {known['first_received_at']}, the last at {known['last_received_at']}"
    yield f"received from {known['source_ae_title']}, {when}"
    if known["evidence"]:
        yield f"complete, {known['evidence']}"
    if known["jobs"]:
        yield f"{known['progress']['done']} of {known['progress']['of']} jobs done"
    for series in known["series"]:
        what = f"{series['modality']} {series['series_description']}".strip()
        yield f"series {series['series_uid']}: {what}, {series['instances']} instances"
        yield from _asked_of(series["series_uid"], known)
    yield from _asked_of(None, known)
    for job in known["earlier"]:
        weights = f"{job['model']['name']} {job['model']['version']}"
        yield f"earlier, {job['protocol']} of series {job['series_uid']} by {weights}:"
        yield from (f"    {line}" for line in _sent(job["results"]))
    for marked in known["to_retract"]:
        to = f" {marked['state']} to {marked['archive']}" if marked["archive"] else f" {marked['state']}"
        retract = marked["retract"]
        yield f"to be retracted since {retract['at']}: {marked['kind']}{to}, {marked['path']}; {retract['reason']}"
    for reading in known["read_as_is"]:
        yield f"generation {reading['generation']} read as it is: {reading['by']} wanted it at {reading['at']}"
    yield from _rejected(known["rejected"])
    if removed := known["inputs_removed"]:
        yield (
            f"inputs removed on {removed['at'][:10]} by retention: {removed['instances']} images; headers and results "
            "are kept; send the study again to have it read again"
        )
    for lost in known["lost"]:
        why = f" ({lost['reason']})" if lost["reason"] else ""
        yield f"gone from the store: instance {lost['sop_instance_uid']}{why}; send it again"


def _rejected(rejected: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each note, with some of the instances that it names."""
    for note_uid, code in dict.fromkeys((one["note_uid"], one["code"]) for one in rejected):
        named = [
            f"{one['sop_instance_uid']}{'' if one['received'] else ' (not received)'}"
            for one in rejected
            if one["note_uid"] == note_uid
        ]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        yield f"rejected by note {note_uid} ({code}), not read: {', '.join(named[:_NAMED])}{more}"


def _asked_of(series_uid: str | None, known: dict[str, Any]) -> Iterator[str]:
    """What was asked of a series and why, what became of it, and why it was not asked; None: of the study."""
    because = {one["protocol"]: one["reason"] for one in known["asked"] if one["series_uid"] == series_uid}
    jobs = [job for job in known["jobs"] if job["series_uid"] == series_uid]
    for protocol in dict.fromkeys(job["protocol"] for job in jobs):
        yield f"  asked by {protocol}" + (f": {because[protocol]}" if because.get(protocol) else "")
        yield from _answered(known["study_uid"], [job for job in jobs if job["protocol"] == protocol])
    for refusal in known["not_asked"]:
        if refusal["series_uid"] == series_uid:
            yield f"  not asked by {refusal['protocol']}: {refusal['reason']}"


def _answered(study_uid: str, questions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One job's questions with their answers, then the objects that hold them all and where each went."""
    job = questions[0]
    yield f"    {job['state']}" + (f": {job['reason']}" if job["reason"] else "")
    yield from (f"    {line}" for line in _when(job))
    parts = {question["part"] for question in questions}
    for question in questions:
        which = ", ".join(filter(None, [f"part {question['part'] + 1}", question["part_name"]]))
        where = f" ({which})" if len(parts) > 1 or question["part_name"] else ""
        yield f"    asked: {question['question']}{where}"
        if question["answer"] is not None:
            yield f"      answer: {question['answer']}"
            findings = [FindingRecord.from_json(finding) for finding in question["findings"]]
            yield from (f"      {line}" for line in seen(findings, question["not_seen"], question["compared"]))
    yield from (f"    {line}" for line in _compared_with(study_uid, job["prior"]))
    yield from (f"    {note}" for note in job["notes"])
    yield from (f"    {line}" for line in _sent(job["results"]))


def _when(job: dict[str, Any]) -> Iterator[str]:
    """How urgent a job is, when it is tried next, and what was before it was put back."""
    urgent = f"priority {job['priority']}" if job["priority"] != Priority.ROUTINE.value else ""
    following = f"next attempt at {job['next_attempt_at']}" if job["next_attempt_at"] else ""
    until = f"of use until {job['useful_until']}" if job["next_attempt_at"] and job["useful_until"] else ""
    if told := ", ".join(filter(None, [urgent, following, until])):
        yield told
    yield from (f"before, at {event['at']}: {event['told']}" for event in job["history"])


def _sent(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Where each object went."""
    for result in results:
        to = f" to {result['archive']}" if result["archive"] else ""
        there = result["state"] == DeliveryState.DELIVERED.value
        when = f"{'' if there else ', taken before'} at {result['delivered_at']}" if result["delivered_at"] else ""
        why = f" ({result['reason']})" if result["reason"] else ""
        yield f"{result['kind']} {result['state']}{to}{when}{why}: {result['path']}"
        if result["delivered_at"] and there:
            yield f"  {_kept_there(result)}"
        if result["retraction"]:
            yield f"  {_retracted(result['retraction'])}"


def _kept_there(result: dict[str, Any]) -> str:
    """What the archive said of an object after it took it."""
    if result["committed_at"]:
        return f"committed by {result['archive']} at {result['committed_at']}"
    if result["seen_at"]:
        why = f" ({result['unconfirmed']})" if result["unconfirmed"] else ""
        return f"seen again in {result['archive']} at {result['seen_at']}{why}"
    return f"not confirmed yet: {result['unconfirmed'] or 'the archive was not asked'}"


def _retracted(retraction: dict[str, Any]) -> str:
    """How far the retraction of an object from an archive has come."""
    told = f" ({retraction['told']})" if retraction["told"] else ""
    why = f"{retraction['code']}: {retraction['reason']}"
    match RetractionState(retraction["state"]):
        case RetractionState.WANTED:
            return f"to be taken back, {why}{told}"
        case RetractionState.NOTED:
            return f"a rejection note is on its way, {why}{told}"
        case RetractionState.DONE:
            return f"taken back at {retraction['done_at']}, {why}{told}"
        case RetractionState.KEPT:
            return f"stays although it is replaced or wrong, {why}{told}"
        case RetractionState.FAILED:
            return f"could not be taken back, {why}{told}"
        case state:
            assert_never(state)


def seen(
    findings: Sequence[FindingRecord], not_seen: Sequence[str] | None, compared: Sequence[str] = ()
) -> Iterator[str]:
    """What an answer marked, with its size and its changes, and what was asked for and not seen; None: not recorded.

    `compared`: what else is to be said beside an earlier result.
    """
    for finding in findings:
        yield f"seen: {size_of(finding)}"
        yield from (f"  since then: {change.text}" for change in finding.changes)
    if not findings:
        yield "seen: nothing"
    if not_seen is not None:
        yield f"asked for and not seen: {', '.join(not_seen) or 'nothing'}"
    yield from (f"compared: {sentence}" for sentence in compared)


def size_of(finding: FindingRecord) -> str:
    """A finding's size and confidence; of one with a low confidence that alone."""
    if finding.low_confidence:
        return f"{finding.label}: low confidence {finding.confidence:.2f}, not measured"
    measured = [one.text for one in finding.measurements if one.kind in ("volume", "area")]
    in_all = " in all" if any(" in frame " in text for text in measured) else ""
    sizes = ", ".join([*measured, f"{finding.voxels} voxels{in_all}"])
    return f"{finding.label}: {sizes}, confidence {finding.confidence:.2f}"


def overlay_of(result: dict[str, Any]) -> Path:
    """The picture beside a result object."""
    return Path(result["path"]).with_name("overlay.png")
