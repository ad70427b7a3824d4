"""What reviewers have made of a job's answers, as later studies and whoever reads on have to take it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from workflows.state.answers import AnswerRecord, FindingRecord
from workflows.state.retracting import add_attention
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import FindingVerdict, Review, ReviewState, VerdictKind
from workflows.state.states import JobState
from workflows.state.tables import JobRow, StudyRow

__all__ = ["ReviewedAnswers", "is_doubted", "reviewed_answers_of", "tell_compared"]


@dataclass(frozen=True)
class ReviewedAnswers:
    """The answers of a job as its last reviewer has them. `number`: of the review that has changed them."""

    number: int
    answers: tuple[AnswerRecord, ...]


def reviewed_answers_of(session: Session, job: JobRow) -> ReviewedAnswers | None:
    """What the last written review of a job has changed; None: nobody has reviewed it, or all of it was right.

    What is there and has no outline that can be trusted is a finding without any size.
    """
    written = (ReviewRow.study_uid == job.study_uid, ReviewRow.state == ReviewState.WRITTEN)
    for row in session.scalars(select(ReviewRow).where(*written).order_by(ReviewRow.number.desc())):
        if job.job_key not in row.results:
            continue
        review = row.record()
        if not _changes(review, job.job_key):
            return None
        answers = [AnswerRecord.from_json(answer) for answer in row.results[job.job_key]]
        return ReviewedAnswers(row.number, tuple(_with_unmeasured(review, job, answers)))
    return None


def is_doubted(session: Session, job: JobRow) -> bool:
    """Whether a person has signed that something of a job is wrong, and that is not written, or cannot be."""
    signed = (ReviewState.SIGNED, ReviewState.FAILED)
    rows = select(ReviewRow).where(ReviewRow.study_uid == job.study_uid, ReviewRow.state.in_(signed))
    return any(_changes(row.record(), job.job_key) for row in session.scalars(rows))


def tell_compared(session: Session, job: JobRow, by: str) -> None:
    """Have a person look at later studies that were compared with what a review has changed now."""
    named = cast(JobRow.prior, String).contains(f'"{job.answer_key}"', autoescape=True)
    gone = (JobState.SUPERSEDED, JobState.CANCELLED)
    chosen = select(JobRow.study_uid).where(JobRow.study_uid != job.study_uid, JobRow.state.not_in(gone), named)
    for study_uid in session.scalars(chosen.distinct().order_by(JobRow.study_uid)).all():
        study = session.get(StudyRow, study_uid)
        if study is not None:
            told = f"compared with a result of study {job.study_uid} that {by} has corrected since"
            add_attention(study, f"{told}: `medseg-node reread --study {study_uid}`".replace("; ", ", "))


def _changes(review: Review, job_key: str) -> bool:
    verdicts = [one for one in review.verdicts if one.place.job_key == job_key]
    wrong = any(one.kind is not VerdictKind.ACCEPT or one.correction is not None for one in verdicts)
    wrong = wrong or any(one.job_key == job_key for one in review.missed)
    return wrong or any(one.job_key == job_key for one in review.words)


def _with_unmeasured(review: Review, job: JobRow, answers: list[AnswerRecord]) -> list[AnswerRecord]:
    """With what the reviewer says is there and was not outlined: it was seen, and no size of it is known."""
    read = job.record().answers
    found = []
    for number, answer in enumerate(answers):
        labels = [
            one.label or read[number].findings[one.place.finding].label
            for one in review.verdicts
            if (one.place.job_key, one.place.answer) == (job.job_key, number) and _not_outlined(one)
        ]
        of_answer = [one for one in review.missed if (one.job_key, one.answer) == (job.job_key, number)]
        labels += [one.label for one in of_answer if one.correction is None]
        unmeasured = tuple(FindingRecord(label, label, 1.0, 0) for label in labels)
        found.append(replace(answer, findings=(*answer.findings, *unmeasured)))
    return found


def _not_outlined(verdict: FindingVerdict) -> bool:
    return verdict.kind is VerdictKind.OUTLINE and verdict.correction is None
