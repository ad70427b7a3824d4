"""What `explain` and `ask` tell, as lines to read, without markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from workflows.state.answers import FindingRecord
from workflows.state.records import Priority
from workflows.state.reviewing import ReviewState
from workflows.state.states import DeliveryState, RetractionState

__all__ = ["explained", "progress_told", "seen", "size_of", "told_answer"]

_NAMED = 3


def progress_told(progress: dict[str, int]) -> str:
    """How many jobs are done, and how many of them came to nothing."""
    nothing = [f"{progress[name]} {name}" for name in ("failed", "cancelled") if progress[name]]
    told = f"{progress['done']} of {progress['of']} jobs done"
    return f"{told} ({', '.join(nothing)})" if nothing else told


def explained(known: dict[str, Any]) -> Iterator[str]:
    """What `explain_study` returned as lines to read, without markup."""
    yield f"{known['state']} generation {known['generation']}: {known['reason']}"
    if known["remedy"]:
        yield f"once its cause is mended: {known['remedy']}"
    if known["attention"]:
        yield f"needs attention: {known['attention']}"
    yield from _whose(known)
    when = f"the first instance at {known['first_received_at']}, the last at {known['last_received_at']}"
    yield f"received from {known['source_ae_title']}, {when}"
    if known["evidence"]:
        yield f"complete, {known['evidence']}"
    if known["jobs"]:
        yield progress_told(known["progress"])
    for series in known["series"]:
        what = f"{series['modality']} {series['series_description']}".strip()
        yield f"series {series['series_uid']}: {what}, {series['instances']} instances"
        yield from _asked_of(series["series_uid"], known)
    yield from _asked_of(None, known)
    for job in known["earlier"]:
        weights = f"{job['model']['name']} {job['model']['version']}"
        yield f"earlier, {job['protocol']} of series {job['series_uid']} by {weights}:"
        yield from (f"    {line}" for line in _sent(job["results"]))
    for question in known["questions"]:
        yield f"{question['asked_by']} asked at {question['asked_at']}: {question['question']}"
        yield f"    {question['told']}"
    for marked in known["to_retract"]:
        to = f" {marked['state']} to {marked['archive']}" if marked["archive"] else f" {marked['state']}"
        retract = marked["retract"]
        yield f"to be retracted since {retract['at']}: {marked['kind']}{to}, {marked['path']}; {retract['reason']}"
    yield from (_told_of_review(review) for review in known["reviews"])
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


def _whose(known: dict[str, Any]) -> Iterator[str]:
    """What a person looks a study up by elsewhere, as far as it is known; never the patient."""
    told = [f"accession number {known['accession_number']}"] if known["accession_number"] else []
    told += [f"study of {known['study_date']}"] if known["study_date"] else []
    if told:
        yield ", ".join(told)


def _told_of_review(review: dict[str, Any]) -> str:
    counts = [f"{count} {kind}" for kind, count in review["verdicts"].items()]
    counts += [f"{review['missed']} missed"] if review["missed"] else []
    said = ", ".join(counts) or "nothing was seen, and that is right"
    match ReviewState(review["state"]):
        case ReviewState.WRITTEN:
            how = f"written at {review['written_at']}"
        case ReviewState.SIGNED:
            how = f"signed at {review['signed_at']}, not written yet"
        case ReviewState.FAILED:
            how = "not written"
        case _:
            how = "a draft"
    why = f" ({review['reason']})" if review["reason"] else ""
    return f"review {review['number']} by {review['name'] or review['reviewer']}: {said}; {how}{why}"


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
    verdicts = {one["protocol"]: one for one in known["asked"] if one["series_uid"] == series_uid}
    jobs = [job for job in known["jobs"] if job["series_uid"] == series_uid]
    for protocol, digest in dict.fromkeys((job["protocol"], job["protocol_digest"]) for job in jobs):
        file = f" (sha256 {digest[:12]})" if digest else ""
        why = verdicts.get(protocol) or verdicts.get(_ANSWERED_BY.sub("", protocol))
        reason = f": {why['reason']}" if why is not None and why["reason"] else ""
        yield f"  asked by {protocol}{file}{_changed_since(protocol, known)}{reason}"
        yield from () if why is None else _doubts(why)
        yield from _answered(known["study_uid"], [job for job in jobs if job["protocol"] == protocol])
    for refusal in known["not_asked"]:
        if refusal["series_uid"] == series_uid:
            protocol = f"{refusal['protocol']} {refusal['version']}".strip()
            yield f"  not asked by {protocol}{_changed_since(protocol, known)}: {refusal['reason']}"
            yield from _doubts(refusal)


_ANSWERED_BY = re.compile(r"@[^ ]*")  # `NAME@PREDICTOR VERSION`: the protocol's own name is what the verdict has


def _changed_since(protocol: str, known: dict[str, Any]) -> str:
    """That another version than the one that decided is in service, or none. `protocol`: NAME VERSION."""
    name, _, version = _ANSWERED_BY.sub("", protocol).rpartition(" ")
    in_service: dict[str, str] = known["in_service"]
    if not name or not in_service or in_service.get(name) == version:
        return ""
    return f" (in service now: {in_service[name]})" if name in in_service else " (not in service any more)"


def _doubts(verdict: dict[str, Any]) -> Iterator[str]:
    """What the headers did not say, and what a person should look at though the verdict stands."""
    if verdict["missing"]:
        yield f"    not in the headers: {', '.join(verdict['missing'])}"
    yield from (f"    look at: {one}" for one in verdict["flags"])


def _answered(study_uid: str, questions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One job's questions with their answers, then the objects that hold them all and where each went."""
    job = questions[0]
    yield f"    {job['state']}" + (f": {job['reason']}" if job["reason"] else "")
    yield from (f"    {line}" for line in _when(job))
    parts = {question["part"] for question in questions}
    for question in questions:
        which = ", ".join(filter(None, [f"part {question['part'] + 1}", question["part_name"]]))
        where = f" ({which})" if len(parts) > 1 or question["part_name"] else ""
        yield f"    {'not asked' if question.get('not_asked') else 'asked'}: {question['question']}{where}"
        if question["answer"] is not None:
            yield f"      answer: {question['answer']}"
            if question.get("reviewed_answer") is not None:
                yield f"      reviewed: {question['reviewed_answer']}"
            findings = [FindingRecord.from_json(finding) for finding in question["findings"]]
            unseen = (question["not_seen"] or None) if question["goes_on"] else question["not_seen"]
            said = unseen, question["compared"], question["not_assessed"]
            told = (line for line in seen(findings, *said) if not (question["goes_on"] and line == _NOTHING))
            yield from (f"      {line}" for line in told)
    yield from (f"    {line}" for line in _compared_with(study_uid, job["prior"]))
    yield from (f"    {note}" for note in job["notes"])
    yield from (f"    {line}" for line in _sent(job["results"]))


def _compared_with(study_uid: str, prior: dict[str, Any] | None) -> Iterator[str]:
    """With which earlier result a job is compared, and why not with others."""
    if prior is None:
        return
    if prior["date"] is not None:
        where = f" in {prior['archive']}" if prior["archive"] else ""
        yield f"compared with the result of {prior['date']}{where}, study {prior['study_uid']}"
        if prior["to_retract"]:
            again = f"`medseg-node reread --study {study_uid}` compares anew"
            wrong = "that result is to be retracted since, or a reviewer has corrected it, so the comparison is wrong"
            yield f"{wrong}; {again}"
    if prior["note"]:
        yield f"{'no other' if prior['date'] else 'no'} earlier result: {prior['note']}"


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
        following = f"next attempt at {result['next_attempt_at']}" if result["next_attempt_at"] else ""
        told = ", ".join(filter(None, [result["reason"], following]))
        why = f" ({told})" if told else ""
        by = f" by review {result['review']}" if result["review"] is not None else ""
        yield f"{result['kind']}{by} {result['state']}{to}{when}{why}: {result['path']}"
        if result["replaced_by_review"] is not None:
            yield f"  replaced by review {result['replaced_by_review']}"
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
    findings: Sequence[FindingRecord],
    not_seen: Sequence[str] | None,
    compared: Sequence[str] = (),
    not_assessed: Sequence[dict[str, str]] = (),
) -> Iterator[str]:
    """What an answer marked, with its size and its changes, and what was asked for and not seen; None: not recorded.

    `compared`: what else is to be said beside an earlier result. `not_assessed`: each with its label and the reason.
    """
    for finding in findings:
        yield f"seen: {size_of(finding)}"
        yield from (f"  since then: {change.text}" for change in finding.changes)
    if not findings:
        yield _NOTHING
    if not_seen is not None:
        yield f"asked for and not seen: {', '.join(not_seen) or 'nothing'}"
    yield from (f"not assessed: {one['label']}: {one['reason']}" for one in not_assessed)
    yield from (f"compared: {sentence}" for sentence in compared)


def told_answer(answer: dict[str, Any], *, goes_on: bool = False) -> Iterator[str]:
    """An answer as `answer.json` has it. `goes_on`: it is about what the answer before it has marked."""
    findings = [FindingRecord.from_json(finding) for finding in answer["findings"]]
    said = answer["not_seen"] or None, answer.get("compared", ()), answer.get("not_assessed", ())
    yield answer["text"]
    yield from (line for line in seen(findings, *said) if not (goes_on and line == _NOTHING))


_NOTHING = "seen: nothing"


def size_of(finding: FindingRecord) -> str:
    """A finding's size and confidence; of one with a low confidence that alone."""
    if finding.low_confidence:
        return f"{finding.label}: low confidence {finding.confidence:.2f}, not measured"
    measured = [one.text for one in finding.measurements if one.kind in ("volume", "area")]
    in_all = " in all" if any(" in frame " in text for text in measured) else ""
    sizes = ", ".join([*measured, f"{finding.voxels} voxels{in_all}"])
    return f"{finding.label}: {sizes}, confidence {finding.confidence:.2f}"
