"""Deliveries: result objects on their way to archives; and what the scheduler has to wake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import exists, or_, select, tuple_, update

from workflows.state.records import ClaimedDelivery, Due, ResultObject
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, StudyRow
from workflows.state.transactions import Transactions, changed, changed_one

__all__ = ["Deliveries"]

_DEFECTS = 2
_AT_ONCE = 500
_STALLED_LOOK = 10
"""A job that is being delivered is looked at so much more rarely than what is due."""


class Deliveries(Transactions):
    """Transactions of publishing and waking. Who sends holds a lease on each delivery that was pending at its claim."""

    def objects(self, job_key: str) -> list[ResultObject]:
        """The saved result objects of a job, what is referenced before what references it."""
        with self._reading() as session:
            wanted = select(ResultObjectRow).where(ResultObjectRow.job_key == job_key)
            return [row.record() for row in session.scalars(wanted.order_by(ResultObjectRow.ordinal))]

    def claim_deliveries(self, job_key: str, archive: str, owner: str, lease_s: float) -> list[ClaimedDelivery]:
        """Claim the pending deliveries of a current job to one archive; return all of its deliveries there, in order.

        Empty: nothing to claim. Those that are not pending come along, since what may be sent depends on them.
        """
        now = self._clock()
        until = now + timedelta(seconds=lease_s)
        with self._writing() as session:
            if session.get(JobRow, job_key) is None:
                return []
            study, job = self._locked(session, job_key)
            if job.state is not JobState.DELIVERING or job.generation != study.generation:
                return []
            free = or_(DeliveryRow.lease_until.is_(None), DeliveryRow.lease_until < now)
            claim = update(DeliveryRow).where(*_pending(job_key, archive), free)
            claim = claim.values(lease_owner=owner, lease_until=until, wake_at=until)
            if not changed(session.execute(claim)):
                return []
            rows = session.execute(
                select(ResultObjectRow, DeliveryRow)
                .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
                .where(DeliveryRow.job_key == job_key, DeliveryRow.archive == archive)
                .order_by(ResultObjectRow.ordinal)
            ).all()
            return [ClaimedDelivery(result.record(), delivery.record()) for result, delivery in rows]

    def extend_deliveries(self, job_key: str, archive: str, owner: str, lease_s: float) -> bool:
        """A heartbeat while sending. False: nothing is held any more."""
        until = self._clock() + timedelta(seconds=lease_s)
        with self._writing() as session:
            held = update(DeliveryRow).where(*_pending(job_key, archive), DeliveryRow.lease_owner == owner)
            return changed(session.execute(held.values(lease_until=until, wake_at=until))) > 0

    def record_delivery(
        self, sop_instance_uid: str, archive: str, owner: str, state: DeliveryState, reason: str = ""
    ) -> bool:
        """What became of one attempt to send one object; PENDING: it is tried again. The last outcome ends the job.

        False: nothing more of the job is to be sent. Either the owner does not hold the object any more, or its end is
        recorded already, and nothing is changed; or the outcome is recorded, but the job has been replaced meanwhile or
        its objects are to be retracted.
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
                values["delivered_at"] = now
            recorded = update(DeliveryRow).where(*held, DeliveryRow.lease_owner == owner).values(**values)
            if not changed_one(session.execute(recorded)):
                return False
            retracted = session.get_one(ResultObjectRow, sop_instance_uid).retract_at is not None
            goes_on = job.state is not JobState.SUPERSEDED and not retracted
            if state is not DeliveryState.PENDING:
                self._settle(session, study, job, now)
            return goes_on

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
        """What waits and was not woken lately. Each is put off by `rewake_s`: a tick must not flood the queue."""
        due = self._due()
        if due:
            self._put_off(due)
        self._settle_stalled()
        return due

    def _settle_stalled(self) -> None:
        """End jobs whose last delivery has ended without them: a net, for nothing else would look at them again."""
        now = self._clock()
        current = JobRow.generation == StudyRow.generation
        pending = exists().where(DeliveryRow.job_key == JobRow.job_key, DeliveryRow.state == DeliveryState.PENDING)
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
                .where(JobRow.state == JobState.DELIVERING, current)
                .distinct()
            )
            return Due(
                plans=session.scalars(plans.limit(_AT_ONCE)).all(),
                jobs=session.scalars(jobs.limit(_AT_ONCE)).all(),
                deliveries=[(key, archive) for key, archive in session.execute(deliveries.limit(_AT_ONCE))],
            )

    def _put_off(self, due: Due) -> None:
        later = self._clock() + self._rewake
        with self._writing() as session:
            complete = (StudyRow.study_uid.in_(due.plans), StudyRow.state == StudyState.COMPLETE)
            session.execute(update(StudyRow).where(*complete).values(wake_at=later))
            session.execute(update(JobRow).where(JobRow.job_key.in_(due.jobs)).values(wake_at=later))
            chosen = tuple_(DeliveryRow.job_key, DeliveryRow.archive).in_(due.deliveries)
            pending = update(DeliveryRow).where(chosen, DeliveryRow.state == DeliveryState.PENDING)
            session.execute(pending.values(wake_at=later), execution_options={"synchronize_session": False})


def _pending(job_key: str, archive: str) -> tuple[Any, ...]:
    return (
        DeliveryRow.job_key == job_key,
        DeliveryRow.archive == archive,
        DeliveryRow.state == DeliveryState.PENDING,
    )
