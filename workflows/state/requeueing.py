"""Requeueing: what failed or was cancelled is put back, what is under way is cancelled, results are sent again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from workflows.state.audit import add_audit
from workflows.state.carrying_over import CarryingOver, add_to_history
from workflows.state.missing import removed_of
from workflows.state.retracting import WITHHELD_AS_WRONG, drop_attention
from workflows.state.retrying import TroubleKind, may_restart
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import ReviewState
from workflows.state.states import DeliveryState, JobState, QuestionState, RetractionState, StudyState
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, ResultObjectRow, RetractionRow, StudyRow

__all__ = ["Requeueing", "StudyOutcome"]

_STOPPED = (JobState.FAILED, JobState.CANCELLED)
_UNDER_WAY = (JobState.PLANNED, JobState.PREDICTING, JobState.DELIVERING)
_WAITS = (StudyState.RECEIVING, StudyState.COMPLETE)
_WHERE_IT_STOOD = {
    JobState.PLANNED: "before a worker took it up",
    JobState.PREDICTING: "while it was being read",
    JobState.DELIVERING: "while its results were being sent",
}


@dataclass(frozen=True)
class StudyOutcome:
    """What a person's wish means for one study, or what came of it.

    `state`: of the study before. `ready`: whether there was anything to do. `jobs`, `objects`: of how many jobs and of
    how many deliveries. `outcome`: a sentence.
    """

    study_uid: str
    generation: int
    state: str
    ready: bool
    jobs: int
    objects: int
    outcome: str


class Requeueing(CarryingOver):
    """Transactions of a person at work, and of images that come again. With `dry_run` nothing is kept of them."""

    def requeue(self, study_uid: str, by: str, protocol: str | None = None, *, dry_run: bool = False) -> StudyOutcome:
        """Put back what failed or was cancelled of a study, in its generation, whatever the reason was.

        A job is PLANNED again, or its results are sent again if it was answered; a study that could not be planned is
        planned again. What is to be read and whose images retention removed is refused: it would wait for ever.
        `protocol`: only jobs of that name. Raises sqlalchemy's NoResultFound for an unknown study.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            generation, before, why = study.generation, study.state.value, f"put back by {by}"
            jobs = [] if study.state in _WAITS else self._jobs_in(session, study, _STOPPED, protocol)
            removed_at = session.scalar(select(func.max(InstanceRow.removed_at)).where(*removed_of(study_uid)))
            if removed_at is not None:
                jobs = [job for job in jobs if not _is_to_be_read(job)]
            for job in jobs:
                job.useful_until = None  # who puts it back wants it late too
            objects = sum(self._put_back(session, study, job, why, now) for job in jobs)
            notes = 0 if protocol is not None else self._put_back_notes(session, study, now)
            reviews = 0 if protocol is not None else self._put_back_reviews(session, study, why, now)
            may_plan = not jobs and not reviews and protocol is None and removed_at is None
            planning = may_plan and self._plan_again(session, study, why, now)
            refused = "" if jobs or notes or reviews or planning else _nothing_to_put_back(study, removed_at)
            told = "planned again" if planning else _counted(len(jobs), objects, notes, reviews)
            if not refused:
                counts = {"jobs": len(jobs), "objects": objects, "reviews": reviews}
                add_audit(session, now, by, "requeue", study_uid, counts)
            if dry_run:
                session.rollback()
            return StudyOutcome(study_uid, generation, before, not refused, len(jobs), objects, refused or told)

    def cancel(self, study_uid: str, by: str, protocol: str | None = None, *, dry_run: bool = False) -> StudyOutcome:
        """Stop what waits, is read or is sent of a study. A worker that reads sees that its lease is gone.

        What an archive has stays there. `protocol`: only jobs of that name.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            generation, before = study.generation, study.state.value
            jobs = [] if study.state in _WAITS else self._jobs_in(session, study, _UNDER_WAY, protocol)
            for job in jobs:
                add_to_history(job, now, job.reason)
                job.reason = f"cancelled by {by} {_WHERE_IT_STOOD[job.state]}"
                self._set_job(session, job, JobState.CANCELLED, now)
            self._refresh_study(session, study, now)
            refused = "" if jobs else f"{before}: {_NOT_YET if study.state in _WAITS else 'nothing of it is under way'}"
            if jobs:
                add_audit(session, now, by, "cancel", study_uid, {"jobs": len(jobs)})
            if dry_run:
                session.rollback()
            return StudyOutcome(
                study_uid, generation, before, not refused, len(jobs), 0, refused or _counted(len(jobs))
            )

    def resend(
        self,
        study_uid: str,
        by: str,
        archive: str | None = None,
        protocol: str | None = None,
        *,
        dry_run: bool = False,
    ) -> StudyOutcome:
        """Send the saved results of a study to their archives again: the same bytes, the same UIDs.

        What is to be retracted, or was, is not sent. `archive`: only to that one. `protocol`: only jobs of that name.
        """
        now = self._clock()
        states = (JobState.DELIVERED, JobState.DELIVERING, JobState.FAILED)
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            generation, before = study.generation, study.state.value
            jobs = [] if study.state in _WAITS else self._jobs_in(session, study, states, protocol)
            sent = {job.job_key: self._send_job_again(session, job, by, archive, now) for job in jobs if job.answers}
            for job in jobs:
                if sent.get(job.job_key):
                    add_to_history(job, now, job.reason, f"sent again: {by} asked for it")
                    if job.state is not JobState.DELIVERING:
                        self._set_job(session, job, JobState.DELIVERING, now)
                    self._settle(session, study, job, now)
            again, objects = sum(bool(count) for count in sent.values()), sum(sent.values())
            refused = (
                "" if objects else f"{before}: no saved result of it is to be {'there' if archive else 'anywhere'}"
            )
            if objects:
                add_audit(session, now, by, "resend", study_uid, {"jobs": again, "objects": objects})
            if dry_run:
                session.rollback()
            told = _counted(again, objects)
            return StudyOutcome(study_uid, generation, before, not refused, again, objects, refused or told)

    # --- Images that come again ---------------------------------------------------------------------------------------

    def _restart_failed(self, session: Session, study: StudyRow, now: datetime) -> bool:
        """Put back what failed of a study for a passing reason, once an hour at most; whoever calls this has its lock.

        True: something was. It is due at once, so that the scheduler wakes it.
        """
        if study.state in (*_WAITS, StudyState.DELIVERED, StudyState.UNMATCHED, StudyState.HELD):
            return False
        if not may_restart(study.restarted_at, now):
            return False
        why = "tried again: images of the study came again"
        if study.failure is not None:
            restarted = study.failure.passing and self._plan_again(session, study, why, now)
        else:
            failed = self._jobs_in(session, study, (JobState.FAILED,))
            passing = [job for job in failed if job.failure is not None and job.failure.passing]
            for job in passing:
                self._put_back(session, study, job, why, now)
            restarted = bool(passing)
        if restarted:
            study.restarted_at = now
        return restarted

    # --- One study, one job -------------------------------------------------------------------------------------------

    @staticmethod
    def _jobs_in(
        session: Session, study: StudyRow, states: Collection[JobState], protocol: str | None = None
    ) -> Sequence[JobRow]:
        """The jobs of a study's generation that are in one of these states, locked."""
        current = (JobRow.study_uid == study.study_uid, JobRow.generation == study.generation)
        chosen = select(JobRow).where(*current, JobRow.state.in_(states)).order_by(JobRow.job_key)
        chosen = chosen.where(or_(JobRow.question.is_(None), JobRow.question != QuestionState.DROPPED))
        if protocol is not None:
            chosen = chosen.where(JobRow.protocol == protocol)
        return session.scalars(chosen.with_for_update()).all()

    def _plan_again(self, session: Session, study: StudyRow, why: str, now: datetime) -> bool:
        """A study that could not be planned is COMPLETE again; False: it was planned, or lacks instances."""
        planned = select(JobRow.job_key).where(
            JobRow.study_uid == study.study_uid, JobRow.generation == study.generation, JobRow.question.is_(None)
        )
        if study.state is not StudyState.FAILED or study.failure is TroubleKind.LOST:
            return False
        if session.scalar(planned.where(JobRow.state != JobState.SUPERSEDED).limit(1)) is not None:
            return False
        study.defects, study.reason = 0, f"{why}; before: {study.reason}"
        self._set_study(study, StudyState.COMPLETE, now)
        return True

    def _put_back(self, session: Session, study: StudyRow, job: JobRow, why: str, now: datetime) -> int:
        """One job goes on where it stopped; return how many of its objects are sent. `why` is its reason then."""
        objects = 0
        if _is_to_be_read(job):
            self._plan_anew(session, job, why, now)
        else:
            objects = self._put_back_deliveries(session, job, why, now)
            add_to_history(job, now, job.reason, why)
            self._set_job(session, job, JobState.DELIVERING, now)
            self._settle(session, study, job, now)
        self._refresh_study(session, study, now)
        return objects

    def _put_back_deliveries(self, session: Session, job: JobRow, why: str, now: datetime) -> int:
        """What is to go somewhere and is not there is pending again, but for what is to be retracted."""
        count = 0
        for result, delivery in self._current_deliveries(session, job):
            wrong = result.retract_at is not None or delivery.reason == WITHHELD_AS_WRONG
            if delivery.state is DeliveryState.DELIVERED or wrong:
                continue
            _make_pending(delivery, why, now)
            count += 1
        return count

    def _send_job_again(self, session: Session, job: JobRow, by: str, archive: str | None, now: datetime) -> int:
        """Every object of a job's edition that is to be in an archive is pending again; return how many."""
        taken_back = select(RetractionRow.sop_instance_uid, RetractionRow.archive).join(
            ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid
        )
        rows = session.execute(taken_back.where(ResultObjectRow.job_key == job.job_key))
        retracted = {(uid, name) for uid, name in rows}
        count = 0
        study = session.get_one(StudyRow, job.study_uid)
        of_reviews = [one for one in _of_reviews(session, study) if one[0].job_key == job.job_key]
        for result, delivery in [*self._current_deliveries(session, job), *of_reviews]:
            wrong = result.retract_at is not None or (result.sop_instance_uid, delivery.archive) in retracted
            if wrong or (archive is not None and delivery.archive != archive):
                continue
            _make_pending(delivery, f"sent again: {by} asked for it", now)
            count += 1
        return count

    @staticmethod
    def _put_back_notes(session: Session, study: StudyRow, now: datetime) -> int:
        """Retractions whose notes an archive did not take are tried again; return how many."""
        failed = (RetractionRow.study_uid == study.study_uid, RetractionRow.state == RetractionState.FAILED)
        rows = session.scalars(select(RetractionRow).where(*failed)).all()
        for row in rows:
            row.state, row.told, row.wake_at = RetractionState.WANTED, "", now
        return len(rows)

    @staticmethod
    def _put_back_reviews(session: Session, study: StudyRow, why: str, now: datetime) -> int:
        """Reviews that could not be written are written again, and what they made and no archive has is sent again."""
        failed = (ReviewRow.study_uid == study.study_uid, ReviewRow.state == ReviewState.FAILED)
        reviews = session.scalars(select(ReviewRow).where(*failed)).all()
        for row in reviews:
            row.state, row.write_at, row.attempts, row.reason = ReviewState.SIGNED, now, 1, why  # no undoing
        ended = (DeliveryState.REJECTED, DeliveryState.FAILED, DeliveryState.WITHHELD)
        undelivered = [delivery for _, delivery in _of_reviews(session, study) if delivery.state in ended]
        for delivery in undelivered:
            _make_pending(delivery, why, now)
        if reviews or undelivered:
            drop_attention(study, "a signed review is not written")
            drop_attention(study, " of a review: ")
        return len(reviews) or int(bool(undelivered))


def _of_reviews(session: Session, study: StudyRow) -> Sequence[tuple[ResultObjectRow, DeliveryRow]]:
    """What reviews of a study have made and stands, with its deliveries."""
    rows = session.execute(
        select(ResultObjectRow, DeliveryRow)
        .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
        .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
        .where(JobRow.study_uid == study.study_uid, ResultObjectRow.review.is_not(None))
        .where(ResultObjectRow.replaced_by.is_(None), ResultObjectRow.retract_at.is_(None))
        .order_by(ResultObjectRow.job_key, ResultObjectRow.ordinal)
    )
    return [(result, delivery) for result, delivery in rows]


_NOT_YET = "it is planned in any case, soon; cancel it then"


def _is_to_be_read(job: JobRow) -> bool:
    """Whether a job needs its images to go on."""
    return not job.answers or bool(job.record().unmade_profiles)


def _make_pending(delivery: DeliveryRow, reason: str, now: datetime) -> None:
    """A delivery is due as if it had never been tried. Where the archive has it, or may have it, that stays known: by
    `delivered_at`, also if it refuses to take it twice.
    """
    sent = delivery.state is DeliveryState.DELIVERED or delivery.lease_owner is not None
    delivery.perhaps_sent = delivery.perhaps_sent or sent
    delivery.state, delivery.reason, delivery.wake_at = DeliveryState.PENDING, reason, now
    delivery.attempts = delivery.defects = delivery.resends = delivery.confirm_attempts = 0
    delivery.lease_owner = delivery.lease_until = delivery.confirm_at = None
    delivery.committed_at = delivery.seen_at = None
    delivery.confirm_reason = ""


def _nothing_to_put_back(study: StudyRow, removed_at: datetime | None) -> str:
    match study.state:
        case StudyState.RECEIVING | StudyState.COMPLETE:
            told = "it is planned in any case, soon"
        case StudyState.HELD:
            told = "send the corrected images, or `medseg-node reread --as-is` where each series is right as it is"
        case StudyState.UNMATCHED:
            told = "no protocol asks it; `medseg-node reread` matches it anew"
        case _ if study.failure is TroubleKind.LOST:
            told = "instances are missing, send the study again"
        case StudyState.FAILED if removed_at is not None:
            day = removed_at.date().isoformat()
            told = f"its images were removed on {day} by retention; send the study again, then requeue it"
        case _:
            told = "nothing of it has failed or was cancelled"
    return f"{study.state.value}: {told}"


def _counted(jobs: int, objects: int = 0, notes: int = 0, reviews: int = 0) -> str:
    counts = ((jobs, "job"), (objects, "object to send"), (notes, "retraction"), (reviews, "review"))
    return ", ".join(f"{count} {_plural(name, count)}" for count, name in counts if count)


def _plural(name: str, count: int) -> str:
    head, _, rest = name.partition(" ")
    return name if count == 1 else f"{head}s {rest}".rstrip()
