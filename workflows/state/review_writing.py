"""Writing reviews: a signed review is claimed once its undo time is over, and what was made of it goes into the outbox.

Who writes holds a lease on the review. What it has made, what that replaces and where it goes is recorded in one
transaction, so that a review is WRITTEN with all of it or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.results.profiles import ResultKind
from workflows.state.answers import AnswerRecord
from workflows.state.records import Job, ResultObject, SavedObject
from workflows.state.retracting import add_attention, drop_attention, retract_reviewed
from workflows.state.review_checks import same_grid
from workflows.state.review_tables import CorrectionRow, ReviewRow
from workflows.state.reviewed import reviewed_answers_of, tell_compared
from workflows.state.reviewing import Correction, Review, ReviewState
from workflows.state.states import DeliveryState, JobState, QuestionState, RetractionState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["ClaimedReview", "ReviewWriting", "ReviewedJob", "WrittenJob"]

_NOT_WRITTEN = "a signed review is not written"
_ANSWERED = (JobState.DELIVERING, JobState.DELIVERED, JobState.FAILED)
_LATER_S = 5.0


@dataclass(frozen=True)
class ReviewedJob:
    """A job that a review is of, with all that was ever saved of it but rejection notes, in order.

    `same_images`: keys of the jobs that read the same images of the same series, this one among them: what was drawn
    on their grid lies on this one's.
    """

    job: Job
    objects: tuple[ResultObject, ...]
    same_images: frozenset[str] = frozenset()

    def standing_before(self, number: int) -> tuple[ResultObject, ...]:
        """What a review found: of the job's edition, or made by a review before it, and not replaced by one."""
        return tuple(
            one
            for one in self.objects
            if (one.review is None or one.review < number) and (one.replaced_by is None or one.replaced_by >= number)
        )


@dataclass(frozen=True)
class ClaimedReview:
    """A review that is to be written now. `attempts`: how often it was tried, with this time."""

    review: Review
    jobs: tuple[ReviewedJob, ...]
    corrections: tuple[Correction, ...]
    attempts: int


@dataclass(frozen=True)
class WrittenJob:
    """What was made of one job of a review.

    `replaces`: SOP Instance UIDs of what is taken back once the new is there. `keeps`: of what the reviewer has found
    right, which is never retracted by itself. `answers`: as the reviewer has them.
    """

    job_key: str
    objects: tuple[SavedObject, ...]
    replaces: frozenset[str]
    keeps: frozenset[str] = frozenset()
    answers: tuple[AnswerRecord, ...] = field(default=())

    @property
    def seen(self) -> bool:
        """Whether anything is marked."""
        return any(answer.findings for answer in self.answers)


class ReviewWriting(Transactions):
    """Transactions of writing reviews."""

    def next_review(self) -> tuple[str, int] | None:
        """Study and number of the signed review that has waited longest to be written; None: none is due."""
        now = self._clock()
        due = (ReviewRow.state == ReviewState.SIGNED, ReviewRow.write_at <= now, _free(now))
        with self._reading() as session:
            chosen = select(ReviewRow.study_uid, ReviewRow.number).where(*due).order_by(ReviewRow.write_at).limit(1)
            row = session.execute(chosen).one_or_none()
            return None if row is None else (row.study_uid, row.number)

    def claim_review(self, study_uid: str, number: int, owner: str, lease_s: float) -> ClaimedReview | None:
        """Claim a signed review whose undo time is over; None: there is nothing to write now.

        A review whose results were replaced meanwhile is WITHDRAWN, and a person is told. One whose results are just
        being made again waits for them.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            row = session.get(ReviewRow, (study_uid, number), with_for_update=True)
            if study is None or row is None or row.state is not ReviewState.SIGNED:
                return None
            held = row.lease_until is not None and row.lease_until >= now
            if row.write_at is None or row.write_at > now or held:
                return None
            review = row.record()
            jobs = _jobs_of(session, row)
            replaced = any(job.state is JobState.SUPERSEDED or _is_other(job, row) for job in jobs)
            if len(jobs) < len(review.job_keys) or replaced:
                row.state, row.changed_at = ReviewState.WITHDRAWN, now
                row.reason = "the results were replaced before it was written: review the later ones"
                add_attention(study, f"superseded after review: {row.name or row.reviewer} reviewed it, {row.reason}")
                return None
            if any(job.state not in (*_ANSWERED, JobState.CANCELLED) for job in jobs):
                row.write_at = now + timedelta(seconds=_LATER_S)
                row.reason = "waits until its results are made again"
                return None
            row.lease_owner, row.lease_until = owner, now + timedelta(seconds=lease_s)
            row.attempts += 1
            corrections = select(CorrectionRow).where(CorrectionRow.study_uid == study_uid)
            return ClaimedReview(
                review=review,
                jobs=tuple(
                    ReviewedJob(job.record(), _objects_of(session, job.job_key), _same_images(session, job))
                    for job in jobs
                ),
                corrections=tuple(one.record() for one in session.scalars(corrections)),
                attempts=row.attempts,
            )

    def extend_review(self, study_uid: str, number: int, owner: str, lease_s: float) -> bool:
        """A heartbeat. False: somebody else writes the review by now."""
        with self._writing() as session:
            row = session.get(ReviewRow, (study_uid, number), with_for_update=True)
            if row is None or not _is_held(row, owner):
                return False
            row.lease_until = self._clock() + timedelta(seconds=lease_s)
            return True

    def record_written(self, study_uid: str, number: int, owner: str, jobs: Sequence[WrittenJob]) -> bool:
        """Record what was made of a review, its deliveries, and what it replaces. False: the lease was lost.

        Objects that were made before keep their rows; a file that was damaged is replaced by the same bytes, and others
        end the review as FAILED. What waits to be sent and is replaced is not sent any more. What an archive has is
        taken back from it once it has the new objects; where nothing new goes there, at once.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            row = session.get_one(ReviewRow, (study_uid, number), with_for_update=True)
            if not _is_held(row, owner):
                return False
            if not all(_put_back(session, one) for one in jobs):
                told = "its objects were damaged and come out otherwise now: review the study again"
                _fail(study, row, told, now)
                return True
            for written in jobs:
                job = session.get_one(JobRow, written.job_key, with_for_update=True)
                _save(session, job, row, written, now)
                self._withhold_retracted(session, [job.job_key], now)
                retract_reviewed(session, job, number, now)
                self._settle(session, study, job, now)
            answers_before = {one.job_key: _number_of(session, one.job_key) for one in jobs}
            row.results = {one.job_key: [answer.as_json() for answer in one.answers] for one in jobs}
            row.state, row.written_at, row.changed_at, row.reason = ReviewState.WRITTEN, now, now, ""
            row.lease_owner = row.lease_until = None
            session.flush()
            for job_key, before in answers_before.items():
                if _number_of(session, job_key) != before:
                    tell_compared(session, session.get_one(JobRow, job_key), row.name or row.reviewer)
            drop_attention(study, _NOT_WRITTEN)
            drop_attention(study, "superseded after review")
            drop_attention(study, " of a review: ")
            return True

    def put_off_review(self, study_uid: str, number: int, owner: str, reason: str, after_s: float) -> None:
        """It cannot be written now, and why; tried again after `after_s`."""
        now = self._clock()
        with self._writing() as session:
            row = session.get(ReviewRow, (study_uid, number), with_for_update=True)
            if row is not None and _is_held(row, owner):
                row.reason, row.write_at = reason, now + timedelta(seconds=after_s)
                row.lease_owner = row.lease_until = None

    def fail_review(self, study_uid: str, number: int, owner: str, reason: str) -> None:
        """It cannot be made: FAILED, with the reason and what to do; `requeue` has it tried again."""
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            row = session.get(ReviewRow, (study_uid, number), with_for_update=True)
            if row is not None and _is_held(row, owner):
                _fail(study, row, reason, now)

    def review_objects(self, study_uid: str) -> list[ResultObject]:
        """What reviews of a study have made, in the order in which it was saved; `.review` says which one."""
        with self._reading() as session:
            made = (
                select(ResultObjectRow)
                .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
                .where(JobRow.study_uid == study_uid, ResultObjectRow.review.is_not(None))
                .order_by(ResultObjectRow.review, ResultObjectRow.job_key, ResultObjectRow.ordinal)
            )
            return [row.record() for row in session.scalars(made)]

    def reports(self, job_key: str) -> list[ResultObject]:
        """Every report of a job, by its model and by reviews, the latest first."""
        with self._reading() as session:
            return [one for one in reversed(_objects_of(session, job_key)) if one.kind is ResultKind.REPORT]

    def reviewed_answers(self, study_uid: str) -> dict[str, tuple[AnswerRecord, ...]]:
        """By job key, the answers as the last reviewer of each has them; jobs that nobody has reviewed are missing."""
        with self._reading() as session:
            return dict(_reviewed_answers(session, study_uid))


def _reviewed_answers(session: Session, study_uid: str) -> Iterator[tuple[str, tuple[AnswerRecord, ...]]]:
    written = select(ReviewRow).where(ReviewRow.study_uid == study_uid, ReviewRow.state == ReviewState.WRITTEN)
    for row in session.scalars(written.order_by(ReviewRow.number)):
        for job_key, answers in row.results.items():
            yield job_key, tuple(AnswerRecord.from_json(answer) for answer in answers)


def _number_of(session: Session, job_key: str) -> int | None:
    reviewed = reviewed_answers_of(session, session.get_one(JobRow, job_key))
    return None if reviewed is None else reviewed.number


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(ReviewRow.lease_until.is_(None), ReviewRow.lease_until < now)


def _is_held(row: ReviewRow, owner: str) -> bool:
    return row.state is ReviewState.SIGNED and row.lease_owner == owner


def _fail(study: StudyRow, row: ReviewRow, reason: str, now: datetime) -> None:
    row.state, row.reason, row.changed_at = ReviewState.FAILED, reason, now
    row.lease_owner = row.lease_until = None
    drop_attention(study, _NOT_WRITTEN)
    add_attention(study, f"{_NOT_WRITTEN}: {reason}".replace("; ", ", "))


def _is_other(job: JobRow, row: ReviewRow) -> bool:
    """Whether a job has other answers now than those that were signed; once it was written, it has the reviewer's."""
    if row.written_at is not None or job.state not in _ANSWERED or job.job_key not in row.results:
        return False
    return job.record().answers != tuple(AnswerRecord.from_json(answer) for answer in row.results[job.job_key])


def _jobs_of(session: Session, row: ReviewRow) -> list[JobRow]:
    """The jobs that a review is of: those that its verdicts name, and those that were signed and marked nothing."""
    review = row.record()
    named = review.job_keys
    of_study = select(JobRow).where(JobRow.study_uid == review.study_uid).with_for_update()
    chosen = []
    for job in session.scalars(of_study.order_by(JobRow.series_uid, JobRow.protocol, JobRow.job_key)):
        silent = job.state in _ANSWERED and bool(job.answers) and not job.seen
        silent = silent and (job.job_key in row.results if row.results else job.generation == review.generation)
        silent = silent and job.question in (None, QuestionState.KEPT)  # what is preliminary is in no review
        if job.job_key in named or (silent and review.signed_at is not None and job.created_at <= review.signed_at):
            chosen.append(job)
    return chosen


def _same_images(session: Session, job: JobRow) -> frozenset[str]:
    of_series = (JobRow.study_uid == job.study_uid, JobRow.series_uid == job.series_uid)
    rows = session.scalars(select(JobRow).where(*of_series))
    return frozenset(row.job_key for row in rows if same_grid(row, job))


def _objects_of(session: Session, job_key: str) -> tuple[ResultObject, ...]:
    """Of the job's edition, and what reviews have made; no rejection notes."""
    rows = (
        select(ResultObjectRow)
        .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
        .where(ResultObjectRow.job_key == job_key, ResultObjectRow.kind != ResultKind.REJECTION_NOTE)
        .where(or_(ResultObjectRow.edition == JobRow.edition, ResultObjectRow.review.is_not(None)))
    )
    return tuple(row.record() for row in session.scalars(rows.order_by(ResultObjectRow.ordinal)))


def _put_back(session: Session, written: WrittenJob) -> bool:
    """Let objects that were made before have the files of now; False: the bytes are others."""
    for saved in written.objects:
        row = session.get(ResultObjectRow, saved.sop_instance_uid)
        if row is None:
            continue
        if row.digest != saved.digest:
            return False
        row.path, row.damaged_at = str(saved.path), None
    return True


def _save(session: Session, job: JobRow, review: ReviewRow, written: WrittenJob, now: datetime) -> None:
    by = review.name or review.reviewer
    last = select(func.max(ResultObjectRow.ordinal)).where(ResultObjectRow.job_key == job.job_key)
    ordinal = session.scalar(last) or 0
    for saved in written.objects:
        if session.get(ResultObjectRow, saved.sop_instance_uid) is None:
            ordinal += 1
            values = {**asdict(saved), "path": str(saved.path), "object_references": list(saved.references)}
            del values["references"]
            session.add(
                ResultObjectRow(
                    **values, job_key=job.job_key, edition=job.edition, ordinal=ordinal,
                    review=review.number, reviewed_by=by,
                )
            )  # fmt: skip
    session.flush()
    _deliver(session, job, written, now)
    _replace(session, job, review.number, written.replaces)
    _keep(session, written.keeps, by)


def _deliver(session: Session, job: JobRow, written: WrittenJob, now: datetime) -> None:
    """To each destination what its profile has, whatever becomes of the job."""
    for destination in job.goes_to:
        kinds = destination.kinds(seen=written.seen)
        for saved in written.objects:
            if saved.profile is not destination.profile or saved.kind not in kinds:
                continue
            if session.get(DeliveryRow, (saved.sop_instance_uid, destination.archive)) is None:
                session.add(
                    DeliveryRow(
                        sop_instance_uid=saved.sop_instance_uid,
                        archive=destination.archive,
                        job_key=job.job_key,
                        state=DeliveryState.PENDING,
                        independent=True,
                        wake_at=now,
                    )
                )
                session.flush()


def _replace(session: Session, job: JobRow, number: int, uids: Collection[str]) -> None:
    replaced = update(ResultObjectRow).where(
        ResultObjectRow.job_key == job.job_key,
        ResultObjectRow.sop_instance_uid.in_(list(uids)),
        ResultObjectRow.replaced_by.is_(None),
    )
    session.execute(replaced.values(replaced_by=number))


def _keep(session: Session, uids: Collection[str], by: str) -> None:
    """What a reviewer has found right stays, also if it was about to be taken back."""
    kept = update(ResultObjectRow).where(ResultObjectRow.sop_instance_uid.in_(list(uids)))
    session.execute(kept.values(reviewed_by=by))
    wanted = (RetractionRow.sop_instance_uid.in_(list(uids)), RetractionRow.state == RetractionState.WANTED)
    for row in session.scalars(select(RetractionRow).where(*wanted)):
        row.state, row.wake_at, row.told = RetractionState.KEPT, None, f"{by} has verified or corrected it"
