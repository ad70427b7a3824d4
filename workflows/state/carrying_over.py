"""Carrying over: a job that a new plan asks again goes on as far as it was, in a new generation of its study."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from workflows.state.records import JobPlan
from workflows.state.retracting import WITHHELD_AS_WRONG, bring_back, wanted_of
from workflows.state.retrying import moved_in_queue, place_in_queue, place_of_question
from workflows.state.states import DeliveryState, JobState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["CarryingOver", "add_to_history", "destinations_of", "useful_until"]

_ENDED_OR_SENT = (JobState.SUPERSEDED, JobState.DELIVERED, JobState.DELIVERING)


class CarryingOver(Transactions):
    """The part of planning that keeps what is known of a job."""

    def _carry_over(self, session: Session, job: JobRow, plan: JobPlan, study: StudyRow, now: datetime) -> None:
        """Take a job into the study's generation, as far as it was; `reread`: what failed and new destinations too."""
        job.generation, job.wake_at = study.generation, now
        job.turn_at = moved_in_queue(job.turn_at, job.priority, plan.priority)
        job.priority, job.useful_until = plan.priority, useful_until(study, plan, now)
        if job.state in (JobState.PLANNED, JobState.PREDICTING):
            return
        if job.state is JobState.CANCELLED and not study.reread:
            return  # who has stopped it has to put it back
        if study.reread:
            job.destinations = destinations_of(plan)
            self._send_once_more(session, job)
        rejected = bring_back(session, job)
        if rejected:
            self._begin_edition(session, job)
        else:
            self._unmark(session, job)
        session.flush()
        if not job.answers or job.record().unmade_profiles:
            if job.state in _ENDED_OR_SENT or rejected or study.reread:
                self._plan_anew(session, job, "", now)
            return
        self._add_deliveries(session, job, now)
        waits = any(delivery.state is DeliveryState.PENDING for _, delivery in self._current_deliveries(session, job))
        if job.state is not JobState.DELIVERING and (waits or job.state is JobState.SUPERSEDED or study.reread):
            self._set_job(session, job, JobState.DELIVERING, now)
        unknown = (DeliveryRow.job_key == job.job_key, DeliveryRow.state == DeliveryState.PENDING)
        if job.state is JobState.DELIVERING:  # one that was being delivered is not woken by a change of its state
            session.execute(update(DeliveryRow).where(*unknown, DeliveryRow.wake_at.is_(None)).values(wake_at=now))
        self._settle(session, study, job, now)

    def _plan_anew(self, session: Session, job: JobRow, reason: str, now: datetime) -> None:
        """PLANNED as if it had never been tried. `history` keeps why it had ended, and `reason`, why it is put back."""
        add_to_history(job, now, job.reason, reason)
        job.troubles, job.waits, job.reason = [], 0, reason
        job.turn_at = place_in_queue(now, job.priority) if job.question is None else place_of_question(now)
        self._set_job(session, job, JobState.PLANNED, now)

    @staticmethod
    def _send_once_more(session: Session, job: JobRow) -> None:
        """What an archive did not take is sent to it once more, if it is still to go there."""
        wanted = wanted_of(job)
        undelivered = DeliveryRow.state != DeliveryState.DELIVERED
        for result, delivery in _of_edition(session, job, undelivered):
            if (result.profile, result.kind) in wanted.get(delivery.archive, ()):
                delivery.state, delivery.defects = DeliveryState.PENDING, 0
            elif delivery.state is DeliveryState.PENDING:
                delivery.state, delivery.wake_at = DeliveryState.WITHHELD, None
                delivery.reason = "not sent: the archive is no longer to get it"

    @staticmethod
    def _begin_edition(session: Session, job: JobRow) -> None:
        """Notes have taken objects of the job out of use for good: they are made again, under other UIDs."""
        for _, delivery in _of_edition(session, job, DeliveryRow.state == DeliveryState.PENDING):
            delivery.state, delivery.wake_at = DeliveryState.WITHHELD, None
            delivery.reason = "not sent: it is made again, since a rejection note has taken it out of use"
        job.edition, job.made = job.edition + 1, {}

    @staticmethod
    def _unmark(session: Session, job: JobRow) -> None:
        """What was to be retracted is right again, for its inputs have come back; what was not sent for that is due."""
        marked = (ResultObjectRow.job_key == job.job_key, ResultObjectRow.edition == job.edition)
        values = {"retract_at": None, "retract_reason": "", "retract_code": None}
        session.execute(update(ResultObjectRow).where(*marked).values(**values))
        withheld = (DeliveryRow.state == DeliveryState.WITHHELD, DeliveryRow.reason == WITHHELD_AS_WRONG)
        for _, delivery in _of_edition(session, job, *withheld):
            delivery.state, delivery.reason = DeliveryState.PENDING, ""

    @staticmethod
    def _add_deliveries(session: Session, job: JobRow, now: datetime) -> None:
        """A delivery of each object of the job to every destination that wants it and has none yet.

        What a review has replaced is sent nowhere any more; what it made instead is.
        """
        there = session.execute(
            select(DeliveryRow.sop_instance_uid, DeliveryRow.archive).where(DeliveryRow.job_key == job.job_key)
        )
        known = {(uid, archive) for uid, archive in there}
        wanted, of_reviews = wanted_of(job), wanted_of(job, of_review=True)
        saved = select(ResultObjectRow).where(
            ResultObjectRow.job_key == job.job_key,
            ResultObjectRow.replaced_by.is_(None),
            or_(ResultObjectRow.edition == job.edition, ResultObjectRow.review.is_not(None)),
        )
        for result in session.scalars(saved.order_by(ResultObjectRow.ordinal)).all():
            for archive, kinds in (wanted if result.review is None else of_reviews).items():
                if (result.profile, result.kind) in kinds and (result.sop_instance_uid, archive) not in known:
                    session.add(
                        DeliveryRow(
                            sop_instance_uid=result.sop_instance_uid,
                            archive=archive,
                            job_key=job.job_key,
                            state=DeliveryState.PENDING,
                            independent=result.review is not None,
                            wake_at=None if result.review is None else now,
                        )
                    )
        session.flush()


def _of_edition(session: Session, job: JobRow, *criteria: Any) -> Sequence[tuple[ResultObjectRow, DeliveryRow]]:
    """The deliveries of a job's own objects, of its edition; no notes, and nothing that a review made or replaced."""
    rows = session.execute(
        select(ResultObjectRow, DeliveryRow)
        .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
        .where(DeliveryRow.job_key == job.job_key, DeliveryRow.independent.is_(False))
        .where(ResultObjectRow.edition == job.edition, ResultObjectRow.replaced_by.is_(None), *criteria)
    )
    return [(result, delivery) for result, delivery in rows]


def add_to_history(job: JobRow, now: datetime, *told: str) -> None:
    """Keep what is over with a job, but for empty sentences."""
    job.history = [*job.history, *({"at": now.isoformat(), "told": one} for one in told if one)]


def useful_until(study: StudyRow, plan: JobPlan, now: datetime) -> datetime | None:
    """Until when a job of a plan is to be taken up: counted from the last instance, or from when a person asked."""
    if plan.useful_for_s is None:
        return None
    return (now if study.reread else study.last_received_at) + timedelta(seconds=plan.useful_for_s)


def destinations_of(plan: JobPlan) -> list[dict[str, Any]]:
    """Where a plan has its results sent, as the row keeps it."""
    return [
        {"archive": wanted.archive, "profile": wanted.profile.value, **wanted.wishes.as_json()}
        for wanted in plan.destinations
    ]
