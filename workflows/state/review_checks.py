"""What a review may say: of which results and findings, with which labels and masks; and why not, as sentences."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.results.codes import LABELS
from workflows.errors import ReviewRefused
from workflows.state.records import Job
from workflows.state.retracting import add_attention
from workflows.state.review_tables import CorrectionRow, ProposalRow, ReviewRow
from workflows.state.reviewing import (
    FindingPlace,
    FindingVerdict,
    Missed,
    ProposalState,
    Review,
    ReviewState,
    VerdictKind,
    WrongWords,
)
from workflows.state.segmentation_tables import ReceivedSegmentationRow
from workflows.state.states import JobState
from workflows.state.tables import JobRow, StudyRow

__all__ = [
    "StaleResults",
    "StaleReview",
    "Subject",
    "check_complete",
    "check_content",
    "current_review",
    "look_again",
    "named",
    "person",
    "results_token",
    "reviewable_jobs",
    "same_grid",
    "subject_of",
    "tell_reviewed",
]  # fmt: skip

_GONE = (JobState.SUPERSEDED, JobState.CANCELLED)
_UNREAD = (JobState.PLANNED, JobState.PREDICTING)
_MOST_MISSED = 100
_LONGEST_REASON = 500


class StaleReview(ReviewRefused):
    """The review was changed since the page read it. `current`: as it is now; the message says by whom and what."""

    def __init__(self, told: str, current: Review | None) -> None:
        super().__init__(told)
        self.current = current


class StaleResults(ReviewRefused):
    """The study was read again since the review was begun: it is to be reopened on the new results first."""


@dataclass(frozen=True)
class Subject:
    """What a review of a study is of: its current answered jobs. `unread`: how many jobs are not answered yet."""

    generation: int
    jobs: tuple[Job, ...]
    unread: int = 0

    @property
    def places(self) -> dict[FindingPlace, str]:
        """Every finding that can be judged, with its label."""
        return {
            FindingPlace(job.job_key, answer_number, number): finding.label
            for job in self.jobs
            for answer_number, answer in enumerate(job.answers)
            for number, finding in enumerate(answer.findings)
        }

    @property
    def token(self) -> str:
        """What these results are known by."""
        return results_token(self.jobs)

    def job(self, job_key: str) -> Job | None:
        """One of its jobs."""
        return next((job for job in self.jobs if job.job_key == job_key), None)


def subject_of(session: Session, study: StudyRow) -> Subject:
    """What can be reviewed of a study now."""
    current = (JobRow.study_uid == study.study_uid, JobRow.generation == study.generation)
    rows = session.scalars(select(JobRow).where(*current, JobRow.state.not_in(_GONE)).order_by(JobRow.job_key)).all()
    jobs = [job for row in rows if not _is_preliminary(job := row.record())]
    unread = sum(job.state in _UNREAD and not job.answers for job in jobs)
    return Subject(study.generation, reviewable_jobs(jobs), unread)


def reviewable_jobs(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Those of a study's current jobs that a review is of: answered, and not preliminary."""
    return tuple(job for job in jobs if job.answers and job.state not in _GONE and not _is_preliminary(job))


def results_token(jobs: Iterable[Job]) -> str:
    """What the results that a review is of are known by: a page that has shown them names it when it signs.

    Other answers, also of the same job, or one more job give another.
    """
    told = [[job.job_key, [one.as_json() for one in job.answers]] for job in sorted(jobs, key=lambda job: job.job_key)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _is_preliminary(job: Job) -> bool:
    """Whether a person has asked it and did not keep its answer, or not yet."""
    question = getattr(job, "question", None)
    return question is not None and question.value != "KEPT"


def current_review(session: Session, study_uid: str) -> ReviewRow | None:
    """The latest review of a study that was not withdrawn."""
    chosen = select(ReviewRow).where(ReviewRow.study_uid == study_uid, ReviewRow.state != ReviewState.WITHDRAWN)
    return session.scalars(chosen.order_by(ReviewRow.number.desc()).limit(1)).first()


def person(review: Review) -> str:
    """Who made a review, as a sentence names them."""
    family, _, given = review.name.partition("^")
    return " ".join(filter(None, [given.replace("^", " ").strip(), family.strip()])) or review.reviewer


def named(labels: Iterable[str]) -> str:
    """Labels in a sentence: liver, spleen and 3 more."""
    different = list(dict.fromkeys(labels))
    shown, more = different[:4], len(different) - 4
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


# --- Checks -----------------------------------------------------------------------------------------------------------


def check_content(
    session: Session,
    study_uid: str,
    subject: Subject,
    verdicts: Sequence[FindingVerdict],
    missed: Sequence[Missed],
    words: Sequence[WrongWords] = (),
) -> None:
    """Raise ReviewRefused, StaleResults where a review cannot hold this: nothing of it is kept then."""
    places = subject.places
    if len({verdict.place for verdict in verdicts}) != len(verdicts):
        raise ReviewRefused("a finding has two verdicts: give it one")
    if len(missed) > _MOST_MISSED:
        raise ReviewRefused(f"{len(missed)} missed findings are more than the {_MOST_MISSED} that a review holds")
    for verdict in verdicts:
        if verdict.place not in places:
            raise StaleResults(_OTHER_RESULTS)
        _check_words(verdict.label, verdict.reason)
        if verdict.correction is not None:
            job = subject.job(verdict.place.job_key)
            assert job is not None
            if verdict.kind is not VerdictKind.OUTLINE:
                raise ReviewRefused("a corrected outline goes with the verdict that the outline is wrong")
            _check_correction(session, study_uid, verdict.correction, job, job.answers[verdict.place.answer].part)
    for miss in missed:
        job = subject.job(miss.job_key)
        if job is None or not 0 <= miss.answer < len(job.answers):
            raise StaleResults(_OTHER_RESULTS)
        part = job.answers[miss.answer].part
        _check_words(miss.label, miss.reason)
        slices = next((one.slices for one in job.parts if one.ordinal == part), 0)
        if not 0 <= miss.slice < slices:
            raise ReviewRefused(
                f"slice {miss.slice + 1} is not one of the {slices} slices: click on a slice that is shown"
            )
        if not all(math.isfinite(value) and -1 <= value <= 65535 for value in (miss.row, miss.column)):
            raise ReviewRefused("the click lies outside the image: click on the picture")
        if miss.correction is not None:
            _check_correction(session, study_uid, miss.correction, job, part)
    if len({(one.job_key, one.answer) for one in words}) != len(words):
        raise ReviewRefused("the words of an answer are wrong twice: say it once")
    for one in words:
        job = subject.job(one.job_key)
        if job is None or not 0 <= one.answer < len(job.answers):
            raise StaleResults(_OTHER_RESULTS)
        _check_words(None, one.reason)


_OTHER_RESULTS = (
    "the study was read again, and the verdicts are of results that were replaced: reopen the review on the new results"
)


def _check_words(label: str | None, reason: str) -> None:
    if label is not None and label not in LABELS:
        raise ReviewRefused(f"{label[:64]!r} is no name that this node has a code for: choose one of the list")
    if len(reason) > _LONGEST_REASON:
        raise ReviewRefused(f"the reason has {len(reason)} characters; it may have {_LONGEST_REASON}")


def _check_correction(session: Session, study_uid: str, digest: str, job: Job, part: int) -> None:
    """A corrected mask must be of the same part of the same series, and confirmed where somebody proposed it."""
    correction = session.get(CorrectionRow, (study_uid, digest)) if len(digest) == 64 else None
    if correction is None:
        raise ReviewRefused("the corrected outline is not known here: save it again, then give the verdict")
    made_for = session.get(JobRow, correction.job_key)
    now = session.get_one(JobRow, job.job_key)
    if made_for is None or correction.part != part or not same_grid(made_for, now):
        raise ReviewRefused("the corrected outline belongs to other images: draw it on these")
    if correction.proposal is not None:
        of_mask = (ProposalRow.study_uid == study_uid, ProposalRow.correction == digest)
        states = session.scalars(select(ProposalRow.state).where(*of_mask)).all()
        if ProposalState.CONFIRMED not in states:
            raise ReviewRefused("the proposed correction is not confirmed: confirm it first")


def same_grid(one: JobRow, other: JobRow) -> bool:
    """Whether two jobs read the same images in the same way, so that their parts have the same voxels."""
    first, second = ((row.series_uid, row.inputs, row.frames) for row in (one, other))
    return first == second


def check_complete(subject: Subject, review: Review) -> None:
    """Raise ReviewRefused where something is left to be said before a review can be signed."""
    if not subject.jobs:
        raise ReviewRefused("there are no results to sign: wait until the study is read")
    if subject.unread:
        raise ReviewRefused(f"{subject.unread} more series of this study are being read: sign when they are there")
    places = subject.places
    open_labels = [label for place, label in places.items() if review.verdict_on(place) is None]
    if open_labels:
        raise ReviewRefused(f"no verdict yet on {named(open_labels)}: give one, or accept all that is left with A")
    for verdict in review.verdicts:
        if verdict.kind is VerdictKind.NAME and verdict.label in (None, places[verdict.place]):
            raise ReviewRefused(f"{places[verdict.place]} has a wrong name: choose the right one")


# --- What happens to reviews when results are replaced ----------------------------------------------------------------


def tell_reviewed(session: Session, study: StudyRow, replaced: Collection[JobRow]) -> None:
    """Results that a person has signed were replaced before that was written: a person has to look at the new ones."""
    answered = [job for job in replaced if job.answers and job.state not in _GONE]
    row = current_review(session, study.study_uid)
    if not answered or row is None or row.state is not ReviewState.SIGNED:
        return
    when = row.signed_at or row.changed_at
    what = f"what {person(row.record())} signed on {when:%Y-%m-%d} is of results that were replaced"
    add_attention(study, f"superseded after review: {what}, undo the signature and review the later results")


def look_again(session: Session, study: StudyRow, replaced: Collection[JobRow], now: datetime) -> None:
    """Corrections that were proposed for results which are replaced are matched with the new ones."""
    keys = [job.job_key for job in replaced]
    of_study = (ProposalRow.study_uid == study.study_uid, ProposalRow.state == ProposalState.PROPOSED)
    rows = session.execute(select(ProposalRow.seg_uid, ProposalRow.job_key).where(*of_study)).all()
    for seg_uid in sorted({row.seg_uid for row in rows if row.job_key in keys}):
        received = session.get(ReceivedSegmentationRow, (study.study_uid, seg_uid))
        if received is not None:
            received.wake_at, received.attempts = now, 0
