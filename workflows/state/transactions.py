"""What every transaction shares: the session, the clock, and how the states of studies and jobs move together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Engine, and_, select
from sqlalchemy.orm import Session

from workflows.state.engine import answering
from workflows.state.states import JobState, StudyState, check_transition, study_state_of
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, StudyRow

__all__ = ["Clock", "Transactions", "changed_one"]

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Transactions:
    """One engine and one clock. `rewake_s`: how long a wake-up may stay unanswered."""

    def __init__(self, engine: Engine, *, clock: Clock = _now, rewake_s: float = 30.0) -> None:
        self._engine = engine
        self._clock = clock
        self._rewake = timedelta(seconds=rewake_s)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with answering(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @staticmethod
    def _instances_of(study_uid: str) -> Any:
        """The study's instances that are held: lost ones have a row, but no file."""
        order = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
        held = and_(InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_(None))
        return select(InstanceRow).where(held).order_by(*order)

    @staticmethod
    def _lost_of(study_uid: str) -> Any:
        order = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
        lost = and_(InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_not(None))
        return select(InstanceRow).where(lost).order_by(*order)

    @staticmethod
    def _results_of(session: Session, job_key: str) -> Sequence[DeliveryRow]:
        wanted = select(DeliveryRow).where(DeliveryRow.job_key == job_key).order_by(DeliveryRow.ordinal)
        return session.scalars(wanted).all()

    @staticmethod
    def _set_study(study: StudyRow, state: StudyState, now: datetime, wake: datetime | None = None) -> None:
        check_transition(study.state, state)
        study.state, study.changed_at, study.wake_at = state, now, wake or now

    @staticmethod
    def _set_job(job: JobRow, state: JobState, now: datetime) -> None:
        check_transition(job.state, state)
        job.state, job.changed_at, job.wake_at = state, now, now
        job.lease_owner = job.lease_until = None

    def _fail(self, session: Session, study: StudyRow, job: JobRow, reason: str, now: datetime) -> None:
        job.reason = reason
        self._set_job(job, JobState.FAILED, now)
        self._refresh_study(session, study, now)

    @staticmethod
    def _locked(session: Session, job_key: str) -> tuple[StudyRow, JobRow]:
        """A job and its study, locked. The study always first: planning locks in that order, another could deadlock.

        Two jobs that end at once would each miss the other's end without the study's lock.
        """
        study_uid = session.execute(select(JobRow.study_uid).where(JobRow.job_key == job_key)).scalar_one()
        study = session.get_one(StudyRow, study_uid, with_for_update=True)
        return study, session.get_one(JobRow, job_key, with_for_update=True)

    def _refresh_study(self, session: Session, study: StudyRow, now: datetime) -> None:
        """Let a planned study follow its jobs. One that is received again, or not planned yet, has none of its own."""
        if study.state not in (StudyState.RECEIVING, StudyState.COMPLETE):
            self._follow_jobs(session, study, now)

    def _follow_jobs(self, session: Session, study: StudyRow, now: datetime) -> None:
        session.flush()
        jobs = session.scalars(
            select(JobRow).where(JobRow.study_uid == study.study_uid, JobRow.generation == study.generation)
        ).all()
        state = study_state_of(job.state for job in jobs)
        if state is not study.state:
            self._set_study(study, state, now)
        reasons = sorted({job.reason for job in jobs if job.reason and job.state is not JobState.SUPERSEDED})
        if reasons:
            study.reason = "; ".join(reasons)
        elif state is StudyState.DELIVERED:
            # Else the reason of a wait that is over would stay.
            study.reason = f"{', '.join(sorted({job.protocol for job in jobs}))}: answered and delivered"


def changed_one(result: Any) -> bool:
    """Whether a compare-and-set update found its row."""
    assert isinstance(result, CursorResult)
    return result.rowcount == 1
