"""Jobs: planned, claimed under a lease, answered or failed. A job is one series asked by one reading protocol."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from workflows.state.records import JobPlan, SavedResult
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, StudyRow
from workflows.state.transactions import Transactions, changed_one

__all__ = ["Jobs"]


class Jobs(Transactions):
    """Transactions of planning and predicting."""

    def save_plan(
        self, study_uid: str, generation: int, plans: Sequence[JobPlan], reasons: list[dict[str, Any]], summary: str
    ) -> bool:
        """Replace the study's jobs by `plans`; unchanged keys carry over. False: the study has moved on meanwhile."""
        now = self._clock()
        with self._session() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is not StudyState.COMPLETE or study.generation != generation:
                return False
            jobs = list(session.scalars(select(JobRow).where(JobRow.study_uid == study_uid)))
            known = {job.job_key: job for job in jobs}
            for job in jobs:
                if job.job_key not in {plan.job_key for plan in plans} and job.state is not JobState.SUPERSEDED:
                    job.reason = f"replaced by generation {generation}"
                    self._set_job(job, JobState.SUPERSEDED, now)
            for plan in plans:
                if plan.job_key in known:
                    self._carry_over(session, known[plan.job_key], generation, now)
                else:
                    session.add(self._new_job(study_uid, generation, plan, jobs, now))
            session.flush()
            study.plan_reasons, study.reason = reasons, summary
            self._follow_jobs(session, study, now)
            return True

    def _carry_over(self, session: Session, job: JobRow, generation: int, now: datetime) -> None:
        job.generation = generation
        if job.state is JobState.SUPERSEDED:
            pending = [d.state is not DeliveryState.DELIVERED for d in self._results_of(session, job.job_key)]
            state = JobState.PLANNED if not pending else JobState.DELIVERING if any(pending) else JobState.DELIVERED
            self._set_job(job, state, now)
            job.reason, job.attempts = "", 0
        job.wake_at = now

    def _new_job(
        self, study_uid: str, generation: int, plan: JobPlan, earlier: Sequence[JobRow], now: datetime
    ) -> JobRow:
        same = [
            job for job in earlier if (job.series_uid, job.protocol) == (plan.series_uid, plan.protocol) and job.answers
        ]
        predecessor = max(same, key=lambda job: job.created_at).job_key if same else None
        return JobRow(
            job_key=plan.job_key,
            study_uid=study_uid,
            series_uid=plan.series_uid,
            generation=generation,
            protocol=plan.protocol,
            protocol_version=plan.protocol_version,
            questions=plan.questions,
            inputs=plan.inputs,
            model=plan.model,
            profile=plan.profile,
            state=JobState.PLANNED,
            answers=[],
            predecessor_key=predecessor,
            created_at=now,
            changed_at=now,
            wake_at=now,
        )

    def hold_plan(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned now, and why. It stays COMPLETE and is woken again."""
        with self._session() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason

    def jobs(self, study_uid: str) -> list[JobRow]:
        """The current jobs of a study: those of its generation, in order of series and protocol."""
        with self._session() as session:
            current = and_(JobRow.study_uid == study_uid, JobRow.state != JobState.SUPERSEDED)
            return list(session.scalars(select(JobRow).where(current).order_by(JobRow.series_uid, JobRow.protocol)))

    def job(self, job_key: str) -> JobRow:
        with self._session() as session:
            return session.get_one(JobRow, job_key)

    def claim_job(self, job_key: str, owner: str, lease_s: float, maximum_attempts: int) -> JobRow | None:
        """Claim a planned job of the study's generation, or one whose lease ran out; None: nothing to claim."""
        now = self._clock()
        with self._session() as session:
            free = or_(
                JobRow.state == JobState.PLANNED,
                and_(JobRow.state == JobState.PREDICTING, or_(JobRow.lease_until < now, JobRow.lease_owner.is_(None))),
            )
            until = now + timedelta(seconds=lease_s)
            study = session.scalar(
                select(StudyRow).join(JobRow).where(JobRow.job_key == job_key).with_for_update(of=StudyRow)
            )
            if study is None:
                return None
            # A job of an earlier generation waits for the plan that carries it over: its inputs may have changed.
            current = JobRow.generation == study.generation
            claimed = session.execute(
                update(JobRow)
                .where(JobRow.job_key == job_key, free, current)
                .values(
                    state=JobState.PREDICTING,
                    lease_owner=owner,
                    lease_until=until,
                    attempts=JobRow.attempts + 1,
                    changed_at=now,
                    wake_at=until,
                )
            )
            if not changed_one(claimed):
                return None
            job = session.get_one(JobRow, job_key)
            if job.attempts > maximum_attempts:
                last = f"; the last reason: {job.reason}" if job.reason else ""
                self._fail(session, study, job, f"{maximum_attempts} workers died or gave up on this job{last}", now)
                return None
            job.reason = ""
            self._refresh_study(session, study, now)
            return job

    def hold_job(self, job_key: str, reason: str) -> None:
        """A planned job that no worker can take up now, and why. It stays PLANNED and is woken again."""
        now = self._clock()
        with self._session() as session:
            study, job = self._locked(session, job_key)
            if job.state is JobState.PLANNED and job.generation == study.generation:
                job.reason = reason
                self._refresh_study(session, study, now)

    def extend_lease(self, job_key: str, owner: str, lease_s: float) -> bool:
        """A heartbeat. False: the lease was lost to another worker."""
        until = self._clock() + timedelta(seconds=lease_s)
        with self._session() as session:
            held = update(JobRow).where(
                JobRow.job_key == job_key, JobRow.lease_owner == owner, JobRow.state == JobState.PREDICTING
            )
            return changed_one(session.execute(held.values(lease_until=until, wake_at=until)))

    def release_job(self, job_key: str, owner: str, reason: str, delay_s: float) -> None:
        """Give a claimed job back to be tried again after `delay_s`."""
        now = self._clock()
        with self._session() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner == owner and job.state is JobState.PREDICTING:
                job.reason = reason
                self._set_job(job, JobState.PLANNED, now)
                job.wake_at = now + timedelta(seconds=delay_s)
                self._refresh_study(session, study, now)

    def fail_job(self, job_key: str, owner: str, reason: str) -> None:
        """End a claimed job for good."""
        now = self._clock()
        with self._session() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner == owner and job.state is JobState.PREDICTING:
                self._fail(session, study, job, reason, now)

    def save_results(
        self, job_key: str, owner: str, answers: list[dict[str, Any]], results: Sequence[SavedResult], archive: str
    ) -> bool:
        """Record answers and saved result objects. False: the lease was lost, nothing is recorded."""
        now = self._clock()
        with self._session() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner != owner or job.state is not JobState.PREDICTING:
                return False
            job.answers, job.reason = answers, ""
            for ordinal, result in enumerate(results):
                session.add(
                    DeliveryRow(
                        sop_instance_uid=result.sop_instance_uid,
                        job_key=job_key,
                        ordinal=ordinal,
                        kind=result.kind,
                        sop_class_uid=result.sop_class_uid,
                        path=result.path,
                        digest=result.digest,
                        archive=archive,
                        state=DeliveryState.PENDING,
                    )
                )
            self._set_job(job, JobState.DELIVERING, now)
            self._refresh_study(session, study, now)
            return True
