"""Deliveries: result objects on their way to archives; and what the scheduler has to wake."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.results.profiles import ResultKind
from workflows.state.records import ClaimedDelivery, Due, ResultObject
from workflows.state.retracting import add_attention, note_sent, retract_marked, retract_replaced, retract_reviewed
from workflows.state.retrying import TroubleKind, too_late
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions, changed, changed_one

__all__ = ["Deliveries"]

_DEFECTS = 2
_FIRST_LOOK = timedelta(seconds=2)
"""How long after its answer an archive is first asked whether it keeps an object."""
_AT_ONCE = 500
_STALLED_LOOK = 10
"""A job that is being delivered is looked at so much more rarely than what is due."""


class Deliveries(Transactions):
    """Transactions of publishing and waking. Who sends holds a lease on each delivery that was pending at its claim."""

    def objects(self, job_key: str) -> list[ResultObject]:
        """The saved result objects of a job's edition, what is referenced before what references it.

        No notes, and nothing that a review made (`review_objects`).
        """
        with self._reading() as session:
            wanted = (
                select(ResultObjectRow)
                .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
                .where(ResultObjectRow.job_key == job_key, ResultObjectRow.edition == JobRow.edition)
                .where(ResultObjectRow.kind != ResultKind.REJECTION_NOTE, ResultObjectRow.review.is_(None))
            )
            return [row.record() for row in session.scalars(wanted.order_by(ResultObjectRow.ordinal))]

    def claim_deliveries(self, job_key: str, archive: str, owner: str, lease_s: float) -> list[ClaimedDelivery]:
        """Claim the pending deliveries of a current job to one archive; return all of its deliveries there, in order.

        Of a job that is not current, or has ended, those that are sent whatever becomes of it. Empty: nothing to claim.
        Those that are not pending come along, since what may be sent depends on them.
        """
        now = self._clock()
        until = now + timedelta(seconds=lease_s)
        with self._writing() as session:
            if session.get(JobRow, job_key) is None:
                return []
            study, job = self._locked(session, job_key)
            current = job.state is JobState.DELIVERING and job.generation == study.generation
            chosen = () if current else (DeliveryRow.independent.is_(True),)
            free = or_(DeliveryRow.lease_until.is_(None), DeliveryRow.lease_until < now)
            # Whoever held one and did not give it back died: perhaps after the archive had it.
            died = (*_pending(job_key, archive), free, DeliveryRow.lease_owner.is_not(None), *chosen)
            session.execute(update(DeliveryRow).where(*died).values(perhaps_sent=True))
            claim = update(DeliveryRow).where(*_pending(job_key, archive), free, *chosen)
            claim = claim.values(lease_owner=owner, lease_until=until, wake_at=until)
            if not changed(session.execute(claim)):
                return []
            rows = session.execute(
                select(ResultObjectRow, DeliveryRow)
                .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
                .where(DeliveryRow.job_key == job_key, DeliveryRow.archive == archive)
                .order_by(ResultObjectRow.ordinal)
            ).all()
            named = {uid for result, _ in rows if result.review is not None for uid in result.object_references}
            return [
                _claimed(result, delivery, job, owner)
                for result, delivery in rows
                if delivery.independent
                or result.sop_instance_uid in named
                or (current and result.edition == job.edition)
            ]

    def extend_deliveries(self, job_key: str, archive: str, owner: str, lease_s: float) -> bool:
        """A heartbeat while sending. False: nothing is held any more."""
        until = self._clock() + timedelta(seconds=lease_s)
        with self._writing() as session:
            held = update(DeliveryRow).where(*_pending(job_key, archive), DeliveryRow.lease_owner == owner)
            return changed(session.execute(held.values(lease_until=until, wake_at=until))) > 0

    def record_delivery(
        self,
        sop_instance_uid: str,
        archive: str,
        owner: str,
        state: DeliveryState,
        reason: str = "",
        *,
        perhaps_sent: bool = False,
    ) -> bool:
        """What became of one attempt to send one object; PENDING: it is tried again. The last outcome ends the job.

        `perhaps_sent`: it went out and no answer came, so the archive may have it.

        False: nothing more of the job is to be sent. Either the owner does not hold the object any more, or its end is
        recorded already, and nothing is changed; or the outcome is recorded, but the job has been replaced or cancelled
        meanwhile, or its objects are to be retracted, or a review has replaced them.
        """
        now = self._clock()
        with self._writing() as session:
            job_key = session.scalar(
                select(DeliveryRow.job_key).where(
                    DeliveryRow.sop_instance_uid == sop_instance_uid, DeliveryRow.archive == archive
                )
            )
            if job_key is None:
                return False
            study, job = self._locked(session, job_key)
            held = (*_pending(job_key, archive), DeliveryRow.sop_instance_uid == sop_instance_uid)
            values: dict[str, Any] = {"state": state, "reason": reason, "attempts": DeliveryRow.attempts + 1}
            if state is DeliveryState.DELIVERED:
                values |= {"delivered_at": now, "confirm_at": now + _FIRST_LOOK, "confirm_reason": ""}
            if perhaps_sent:
                values["perhaps_sent"] = True
            recorded = update(DeliveryRow).where(*held, DeliveryRow.lease_owner == owner).values(**values)
            if not changed_one(session.execute(recorded)):
                return False
            result = session.get_one(ResultObjectRow, sop_instance_uid)
            if result.kind is ResultKind.REJECTION_NOTE:
                note_sent(session, result, archive, state, reason, now)
                return True
            for number in {one for one in (result.review, result.replaced_by) if one is not None}:
                retract_reviewed(session, job, number, now)
            retracted = result.retract_at is not None
            if result.review is not None:
                _tell_of_review(study, result, archive, state, reason)
                if retracted:
                    retract_marked(session, [job_key], now)
                return not retracted
            retracted = retracted or result.replaced_by is not None
            goes_on = job.state not in (JobState.SUPERSEDED, JobState.CANCELLED) and not retracted
            if retracted:
                retract_marked(session, [job_key], now)
            elif job.state is JobState.SUPERSEDED:
                self._replaced_meanwhile(session, job, now)
            if state is not DeliveryState.PENDING:
                self._settle(session, study, job, now)
            return goes_on

    @staticmethod
    def _replaced_meanwhile(session: Session, job: JobRow, now: datetime) -> None:
        """An object was taken while its job was replaced: the job that stands in its place has it taken back."""
        successor = select(JobRow).where(
            JobRow.study_uid == job.study_uid,
            JobRow.series_uid == job.series_uid,
            JobRow.protocol == job.protocol,
            JobRow.state.in_([JobState.DELIVERED, JobState.FAILED]),
        )
        for later in session.scalars(successor):
            retract_replaced(session, later, now)

    def record_delivery_defect(self, job_key: str, archive: str, owner: str, reason: str, retry_after_s: float) -> None:
        """The program failed at sending what `owner` holds: tried once more, then these deliveries fail and say so."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            held = (*_pending(job_key, archive), DeliveryRow.lease_owner == owner)
            for row in session.scalars(select(DeliveryRow).where(*held)):
                row.defects, row.reason = row.defects + 1, reason
                row.lease_owner = row.lease_until = None
                row.wake_at = now + timedelta(seconds=retry_after_s)
                if row.defects >= _DEFECTS:
                    row.state = DeliveryState.FAILED
                    if row.independent:
                        result = session.get_one(ResultObjectRow, row.sop_instance_uid)
                        note_sent(session, result, archive, row.state, reason, now)
                        if result.review is not None:
                            _tell_of_review(study, result, archive, row.state, reason)
            session.flush()
            self._withhold_retracted(session, [job_key], now)
            self._settle(session, study, job, now)

    def release_deliveries(self, job_key: str, archive: str, owner: str, reason: str, retry_after_s: float) -> None:
        """Give back what is still pending, to be tried again after `retry_after_s`; `reason`: why it is."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            held = update(DeliveryRow).where(*_pending(job_key, archive), DeliveryRow.lease_owner == owner)
            again = now + timedelta(seconds=retry_after_s)
            values: dict[str, Any] = {"lease_owner": None, "lease_until": None, "wake_at": again}
            session.execute(held.values(**values, reason=reason) if reason else held.values(**values))
            self._withhold_retracted(session, [job_key], now)
            self._settle(session, study, job, now)

    def take_due(self) -> Due:
        """What is due. Whoever takes it up changes when it is due again, so until then it is told each time."""
        due = self._due()
        self._settle_stalled()
        self._settle_abandoned()
        self._end_late_jobs()
        return due

    def _end_late_jobs(self) -> None:
        """Jobs that no worker has taken up while their answer would have been of use fail, and say so."""
        now = self._clock()
        late = (JobRow.state == JobState.PLANNED, JobRow.useful_until < now, JobRow.generation == StudyRow.generation)
        chosen = select(JobRow.job_key).join(StudyRow, StudyRow.study_uid == JobRow.study_uid).where(*late)
        with self._reading() as session:
            job_keys = session.scalars(chosen.limit(_AT_ONCE)).all()
        for job_key in job_keys:
            with self._writing() as session:
                study, job = self._locked(session, job_key)
                reason = too_late(job.useful_until, now)
                if reason and job.state is JobState.PLANNED and job.generation == study.generation:
                    self._fail(session, study, job, TroubleKind.TOO_LATE, reason, now)

    def _settle_abandoned(self) -> None:
        """Who sent these died, and nobody may send them again: their job is replaced or cancelled, or they are to be
        retracted, or a review has replaced them.
        """
        now = self._clock()
        dead = (DeliveryRow.lease_owner.is_not(None), DeliveryRow.lease_until < now)
        pending = (DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.independent.is_(False), *dead)
        stopped = JobRow.state.in_([JobState.SUPERSEDED, JobState.CANCELLED])
        nobodys = or_(stopped, ResultObjectRow.retract_at.is_not(None), ResultObjectRow.replaced_by.is_not(None))
        chosen = (
            select(DeliveryRow.job_key)
            .join(JobRow, JobRow.job_key == DeliveryRow.job_key)
            .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == DeliveryRow.sop_instance_uid)
            .where(*pending, nobodys)
        )
        with self._reading() as session:
            job_keys = list(dict.fromkeys(session.scalars(chosen.limit(_AT_ONCE))))
        for job_key in job_keys:
            with self._writing() as session:
                study, job = self._locked(session, job_key)
                given_up = {"perhaps_sent": True, "lease_owner": None, "lease_until": None}
                session.execute(update(DeliveryRow).where(DeliveryRow.job_key == job_key, *pending).values(**given_up))
                self._withhold_retracted(session, [job_key], now)
                retract_marked(session, [job_key], now)
                of_job = (ResultObjectRow.job_key == job_key, ResultObjectRow.replaced_by.is_not(None))
                for number in session.scalars(select(ResultObjectRow.replaced_by).where(*of_job).distinct()):
                    retract_reviewed(session, job, number or 0, now)
                self._replaced_meanwhile(session, job, now)
                self._settle(session, study, job, now)

    def _settle_stalled(self) -> None:
        """End jobs whose last delivery has ended without them: a net, for nothing else would look at them again."""
        now = self._clock()
        current = JobRow.generation == StudyRow.generation
        pending = exists().where(
            DeliveryRow.job_key == JobRow.job_key,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.independent.is_(False),
        )
        with self._reading() as session:
            looked_at = select(JobRow.job_key, pending).join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
            due = looked_at.where(JobRow.state == JobState.DELIVERING, JobRow.wake_at <= now, current)
            rows = session.execute(due.limit(_AT_ONCE)).all()
        if not rows:
            return
        with self._writing() as session:
            for job_key in (key for key, waits in rows if not waits):
                self._settle(session, *self._locked(session, job_key), now)
            waiting = [key for key, waits in rows if waits]
            later = update(JobRow).where(JobRow.job_key.in_(waiting), JobRow.state == JobState.DELIVERING)
            session.execute(later.values(wake_at=now + _STALLED_LOOK * self._rewake))

    def _due(self) -> Due:
        now = self._clock()
        current = JobRow.generation == StudyRow.generation
        with self._reading() as session:
            plans = select(StudyRow.study_uid).where(StudyRow.state == StudyState.COMPLETE, StudyRow.wake_at <= now)
            jobs = (
                select(JobRow.job_key)
                .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
                .where(JobRow.state.in_([JobState.PLANNED, JobState.PREDICTING]), JobRow.wake_at <= now, current)
            )
            deliveries = (
                select(DeliveryRow.job_key, DeliveryRow.archive)
                .join(JobRow, JobRow.job_key == DeliveryRow.job_key)
                .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
                .where(DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.wake_at <= now)
                .where(or_(and_(JobRow.state == JobState.DELIVERING, current), DeliveryRow.independent.is_(True)))
                .distinct()
            )
            confirmations = select(DeliveryRow.job_key, DeliveryRow.archive).where(DeliveryRow.confirm_at <= now)
            wanted = (RetractionRow.state == RetractionState.WANTED, RetractionRow.wake_at <= now)
            retractions = select(RetractionRow.study_uid, RetractionRow.archive).where(*wanted)
            return Due(
                plans=session.scalars(plans.limit(_AT_ONCE)).all(),
                jobs=session.scalars(jobs.limit(_AT_ONCE)).all(),
                deliveries=_pairs(session, deliveries),
                confirmations=_pairs(session, confirmations),
                retractions=_pairs(session, retractions),
            )


def _tell_of_review(study: StudyRow, result: ResultObjectRow, archive: str, state: DeliveryState, reason: str) -> None:
    """What of a review does not arrive needs a person: no job fails for it."""
    if state not in (DeliveryState.PENDING, DeliveryState.DELIVERED):
        again = f"`medseg-node requeue --study {study.study_uid}` tries again"
        add_attention(
            study,
            f"{archive} does not have the {result.kind.value} of a review: {reason} ({again})".replace("; ", ", "),
        )


def _pairs(session: Session, chosen: Any) -> list[tuple[str, str]]:
    """Each once. Not DISTINCT in the query: SQLite would then walk through every row in another index's order."""
    rows = session.execute(chosen.limit(_AT_ONCE))
    return list(dict.fromkeys((first, second) for first, second in rows))


def _claimed(result: ResultObjectRow, delivery: DeliveryRow, job: JobRow, owner: str) -> ClaimedDelivery:
    """A delivery as its claimer has it. What will not be sent, as its job is stopped, is as good as withheld."""
    record, held = delivery.record(), delivery.lease_owner == owner
    stopped = job.state in (JobState.SUPERSEDED, JobState.CANCELLED)
    if record.state is DeliveryState.PENDING and stopped and not held and not delivery.independent:
        record = replace(record, state=DeliveryState.WITHHELD)
    return ClaimedDelivery(result.record(), record, held=held)


def _pending(job_key: str, archive: str) -> tuple[Any, ...]:
    return (
        DeliveryRow.job_key == job_key,
        DeliveryRow.archive == archive,
        DeliveryRow.state == DeliveryState.PENDING,
    )
