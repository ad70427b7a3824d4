"""Reopening: which results of an earlier reading are the same as current ones, so that verdicts on them still fit."""

from __future__ import annotations

import numpy as np

from dicom_node.results.mask_file import BoxedMask
from workflows.errors import NotShown
from workflows.state.records import Job
from workflows.state.repository import Repository
from workflows.state.reviewing import FindingPlace, Review
from workflows.state.reviews import SameResults
from workflows.steps.showing import Showing, part_findings

__all__ = ["same_results"]


def same_results(review: Review, repository: Repository, showing: Showing) -> SameResults:
    """The findings and answers that a review is of, as the current jobs have them.

    A finding is the same where its series, part, name and mask are; an answer where question and images are.
    """
    subject = repository.review_subject(review.study_uid)
    current = () if subject is None else subject.jobs
    known = {job.job_key for job in current}
    keys = review.job_keys - known
    findings: dict[FindingPlace, FindingPlace] = {}
    answers: dict[tuple[str, int], tuple[str, int]] = {}
    for key in sorted(keys):
        try:
            before = repository.job(key)
        except LookupError:
            continue
        for now in (job for job in current if job.series_uid == before.series_uid):
            findings |= _same_findings(before, now, repository, showing)
            answers |= _same_answers(before, now)
    return SameResults(findings, answers)


def _same_answers(before: Job, now: Job) -> dict[tuple[str, int], tuple[str, int]]:
    if before.inputs != now.inputs or len(before.parts) != len(now.parts):
        return {}
    asked = {(answer.question, answer.part): number for number, answer in enumerate(now.answers)}
    return {
        (before.job_key, number): (now.job_key, asked[answer.question, answer.part])
        for number, answer in enumerate(before.answers)
        if (answer.question, answer.part) in asked
    }


def _same_findings(before: Job, now: Job, repository: Repository, showing: Showing) -> dict[FindingPlace, FindingPlace]:
    same: dict[FindingPlace, FindingPlace] = {}
    for part in now.parts:
        theirs = _marked(now, part.ordinal, repository, showing)
        for place, (label, mask) in _marked(before, part.ordinal, repository, showing).items():
            for other, (other_label, other_mask) in theirs.items():
                if label == other_label and _equal(mask, other_mask):
                    same[place] = other
    return same


def _marked(job: Job, part: int, repository: Repository, showing: Showing) -> dict[FindingPlace, tuple[str, BoxedMask]]:
    """What a job marked in one part; nothing where its masks are not kept any more."""
    try:
        masks = showing.masks(job, tuple(repository.objects(job.job_key)), part)
    except NotShown:
        return {}
    places = part_findings(job, part)
    labels = [job.answers[place.answer].findings[place.finding].label for place in places]
    return {place: (label, mask) for place, label, mask in zip(places, labels, masks, strict=False)}


def _equal(one: BoxedMask, other: BoxedMask) -> bool:
    return (one.shape, one.box) == (other.shape, other.box) and np.array_equal(one.bits, other.bits)
