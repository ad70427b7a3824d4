"""Deliveries: result objects on their way to the archive; and what the scheduler has to wake."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import and_, or_, select, update

from workflows.state.records import Due
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, StudyRow
from workflows.state.transactions import Transactions, changed_one

__all__ = ["Deliveries"]


class Deliveries(Transactions):
    """Transactions of publishing and waking."""

    def results(self, job_key: str) -> list[DeliveryRow]:
        """The result objects of a job, in the order in which they are sent."""
        with self._session() as session:
            return list(self._results_of(session, job_key))

    def claim_delivery(self, job_key: str, owner: str, lease_s: float) -> bool:
        """Claim the sending of a current job's results."""
        now = self._clock()
        until = now + timedelta(seconds=lease_s)
        current = select(StudyRow.generation).where(StudyRow.study_uid == JobRow.study_uid).scalar_subquery()
        with self._session() as session:
            free = or_(JobRow.lease_until.is_(None), JobRow.lease_until < now)
            wanted = and_(JobRow.job_key == job_key, JobRow.state == JobState.DELIVERING, JobRow.generation == current)
            claim = update(JobRow).where(wanted, free).values(lease_owner=owner, lease_until=until, wake_at=until)
            return changed_one(session.execute(claim.execution_options(synchronize_session=False)))

    def record_delivery(
        self, job_key: str, sop_instance_uid: str, *, delivered: bool, rejected: bool = False, reason: str = ""
    ) -> None:
        """What became of one attempt to send one result object."""
        with self._session() as session:
            row = session.get_one(DeliveryRow, sop_instance_uid)
            row.attempts, row.reason = row.attempts + 1, reason
            if delivered:
                row.state, row.delivered_at = DeliveryState.DELIVERED, self._clock()
            elif rejected:
                row.state = DeliveryState.REJECTED

    def end_delivery(self, job_key: str, owner: str, reason: str, retry_after_s: float) -> None:
        """Give the sending back: DELIVERED or FAILED when nothing is pending, else wait for the next attempt."""
        now = self._clock()
        with self._session() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner != owner or job.state is not JobState.DELIVERING:
                return
            job.lease_owner = job.lease_until = None
            job.reason, job.wake_at = reason, now + timedelta(seconds=retry_after_s)
            states = {row.state for row in self._results_of(session, job_key)}
            if DeliveryState.PENDING not in states:
                self._set_job(job, JobState.FAILED if DeliveryState.REJECTED in states else JobState.DELIVERED, now)
            self._refresh_study(session, study, now)

    def take_due(self) -> Due:
        """What waits and was not woken lately. Each is put off by `rewake_s`: a tick must not flood the queue."""
        now = self._clock()
        with self._session() as session:
            studies = session.scalars(
                select(StudyRow).where(StudyRow.state == StudyState.COMPLETE, StudyRow.wake_at <= now)
            ).all()
            waiting = JobRow.state.in_([JobState.PLANNED, JobState.PREDICTING, JobState.DELIVERING])
            jobs = session.scalars(
                select(JobRow)
                .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
                .where(waiting, JobRow.wake_at <= now, JobRow.generation == StudyRow.generation)
            ).all()
            for study in studies:
                study.wake_at = now + self._rewake
            for job in jobs:
                job.wake_at = now + self._rewake
            deliveries = [job.job_key for job in jobs if job.state is JobState.DELIVERING]
            return Due(
                plans=[study.study_uid for study in studies],
                jobs=[job.job_key for job in jobs if job.state is not JobState.DELIVERING],
                deliveries=deliveries,
            )
