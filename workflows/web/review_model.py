"""What the study page knows of a study's review, as plain values: whose it is, what may be done, what will be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dicom_node.errors import ResultRefused
from dicom_node.results.codes import LABELS
from dicom_node.results.mask_file import read_boxed_masks
from workflows.bootstrap import Node
from workflows.state.answers import AnswerRecord
from workflows.state.records import Job
from workflows.state.review_checks import Subject
from workflows.state.review_checks import person as person_named
from workflows.state.reviewing import Missed, Proposal, ProposalState, Review, ReviewState
from workflows.state.states import DeliveryState
from workflows.state.views import Selection
from workflows.steps.corrections import correction_mask
from workflows.steps.showing import corrected_path
from workflows.web.access import Permission, Person
from workflows.web.rendering import person_name

__all__ = ["REASONS", "proposed_place", "review_values"]

REASONS: dict[str, tuple[str, ...]] = {
    "accept": (),
    "outline": ("too large", "too small", "includes another organ", "part of it is missing", "several parts in one"),
    "name": ("wrong side", "another organ", "another kind of finding"),
    "not-there": ("normal anatomy", "artefact", "vessel", "postoperative", "partial volume", "noise"),
    "missed": ("small", "faint", "at the edge of the images", "atypical"),
}
"""Reasons to choose from, by verdict; any other may be written."""


def review_values(node: Node, person: Person, study_uid: str) -> dict[str, Any]:
    """Everything that the page shows of a review. Raises LookupError for a study that is not known."""
    repository = node.repository
    subject = repository.review_subject(study_uid)
    if subject is None:
        raise LookupError("this study is not known here any more: it was deleted")
    review = repository.review(study_uid)
    return {
        "review": None if review is None else _review(review),
        "base": None if review is None else [review.number, review.version],
        "mine": review is None or review.reviewer == person.account,
        "may": person.may(Permission.REVIEW),
        "stale": _stale(review, subject),
        "told": _told(node, review),
        "results": subject.token,
        "unread": subject.unread,
        "places": {place.text: label for place, label in subject.places.items()},
        "destinations": {job.job_key: _archives(job) for job in subject.jobs},
        "proposals": [_proposal(node, one, subject) for one in repository.proposals(study_uid)],
        "open": [
            person_name(one.name) or one.account
            for one in repository.openings([study_uid]).get(study_uid, [])
            if one.account != person.account
        ],
        "labels": sorted(LABELS),
        "reasons": {kind: list(reasons) for kind, reasons in REASONS.items()},
    }


def _review(review: Review) -> dict[str, Any]:
    left = None if review.write_at is None else (review.write_at - datetime.now(UTC)).total_seconds()
    return {
        "number": review.number,
        "version": review.version,
        "state": review.state.value,
        "reviewer": person_named(review),
        "account": review.reviewer,
        "verdicts": [verdict.as_json() for verdict in review.verdicts],
        "missed": [miss.as_json() for miss in review.missed],
        "words": [one.as_json() for one in review.words],
        "reason": review.reason,
        "changed_at": review.changed_at.isoformat(),
        "undo_s": max(0.0, left) if left is not None and review.state is ReviewState.SIGNED else None,
    }


def _stale(review: Review | None, subject: Subject) -> str:
    if review is None or review.state is not ReviewState.DRAFT or review.generation == subject.generation:
        return ""
    if not subject.jobs:
        return "New images came since this draft was begun, and the study is being read again. The draft is kept."
    places = subject.places
    kept = sum(verdict.place in places for verdict in review.verdicts)
    return (
        "The study was read again since this draft was begun. Reopen it on the new results: verdicts stay where "
        f"finding and outline are the same ({kept} of {len(review.verdicts)} are on results that stand)."
    )


def _archives(job: Job) -> list[str]:
    return list(dict.fromkeys(one.archive for one in job.destinations if one.archive))


def _told(node: Node, review: Review | None) -> str:
    """Where a review stands, in a sentence."""
    if review is None:
        return ""
    who, when = person_named(review), f"{review.signed_at or review.changed_at:%H:%M} UTC"
    match review.state:
        case ReviewState.DRAFT:
            return f"A draft of {who}, saved at {when}."
        case ReviewState.SIGNED:
            return f"Signed by {who} at {when}; it is written when its time to undo is over."
        case ReviewState.WRITTEN:
            return f"Signed by {who} at {when}, written{_sent(node, review)}."
        case ReviewState.FAILED:
            return f"What {who} signed at {when} was not written: {review.reason}"
        case ReviewState.WITHDRAWN:
            return ""


def _sent(node: Node, review: Review) -> str:
    """To which archives what it made was sent, and to which it is on its way."""
    sent: set[str] = set()
    waits: set[str] = set()
    for view in node.repository.study_views(Selection(study_uid=review.study_uid)):
        for shown in (one for job in view.jobs for one in job.objects):
            if getattr(shown.result, "review", None) != review.number:
                continue
            for delivery in shown.deliveries:
                (sent if delivery.state is DeliveryState.DELIVERED else waits).add(delivery.archive)
    parts = [f"sent to {', '.join(sorted(sent - waits))}"] if sent - waits else []
    parts += [f"on its way to {', '.join(sorted(waits))}"] if waits - {""} else []
    return "".join(f", {part}" for part in parts)


def _proposal(node: Node, proposal: Proposal, subject: Subject) -> dict[str, Any]:
    return {
        "seg_uid": proposal.sop_instance_uid,
        "segment": proposal.segment,
        "place": None if proposal.place is None else proposal.place.text,
        "job_key": proposal.job_key,
        "part": proposal.part,
        "label": proposal.label,
        "author": person_name(proposal.author)[:64],
        "matched_by": proposal.matched_by,
        "correction": proposal.correction,
        "slice": _largest_slice(node, proposal) if proposal.state is ProposalState.PROPOSED else None,
        "state": proposal.state.value,
        "current": subject.job(proposal.job_key) is not None,
        "decided_by": proposal.decided_by,
        "open": proposal.state is ProposalState.PROPOSED,
    }


def _largest_slice(node: Node, proposal: Proposal) -> int | None:
    try:
        (mask,) = read_boxed_masks(corrected_path(node.folder, proposal.study_uid, proposal.correction))
    except (ResultRefused, OSError, ValueError):
        return None
    return int(mask.counts().argmax())


def proposed_place(node: Node, proposal: Proposal, subject: Subject) -> Missed | None:
    """Where a proposal for no finding of ours lies: the middle of its largest slice. None: it is for one of ours.

    Raises LookupError where its results or its mask are gone.
    """
    if proposal.place is not None:
        return None
    job = subject.job(proposal.job_key)
    known = node.repository.correction(proposal.study_uid, proposal.correction)
    if job is None or known is None:
        raise LookupError("the results that this was proposed for are gone: load the page again")
    try:
        mask = correction_mask(known, node.folder)
    except (ResultRefused, FileNotFoundError) as error:
        raise LookupError("the proposed outline is gone or damaged: have it sent again") from error
    largest = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = mask[largest].nonzero()
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return Missed(
        job_key=job.job_key,
        answer=_answer_for(job, proposal.part, proposal.label),
        label=proposal.label,
        slice=largest,
        row=float(rows[nearest]),
        column=float(columns[nearest]),
        reason="outlined in another viewer",
        correction=proposal.correction,
    )


def _answer_for(job: Job, part: int, label: str) -> int:
    """The answer that should have named it: the one that was asked for it, else the first of the part."""
    of_part = [number for number, answer in enumerate(job.answers) if answer.part == part]
    asked = [number for number in of_part if label in _asked_and_unmarked(job.answers[number])]
    return next(iter(asked or of_part), 0)


def _asked_and_unmarked(answer: AnswerRecord) -> set[str]:
    """Labels of what an answer was asked for and has no mask of."""
    return {*(answer.not_seen or ()), *(one.label for one in answer.not_assessed)}
