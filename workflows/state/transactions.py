"""What every transaction shares: sessions to read and to write, the clock, how states of study and job move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Engine, exists, func, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.profiles import ResultKind
from workflows.state.engine import READ_ONLY, answering
from workflows.state.retracting import (
    WITHHELD_AS_REVIEWED,
    WITHHELD_AS_WRONG,
    add_attention,
    retract_marked,
    retract_replaced,
    wanted_of,
)
from workflows.state.retrying import TroubleKind
from workflows.state.states import DeliveryState, JobState, StudyState, check_transition, study_state_of
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, StudyRow

__all__ = ["Clock", "Transactions", "changed", "changed_one", "in_portions"]

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Transactions:
    """One engine and one clock. `rewake_s`: how long a wake-up may stay unanswered."""

    def __init__(self, engine: Engine, *, clock: Clock = _now, rewake_s: float = 30.0) -> None:
        self._engine = engine
        self._readers = engine.execution_options(**READ_ONLY)
        self._clock = clock
        self._rewake = timedelta(seconds=rewake_s)

    def close(self) -> None:
        """Close every connection; before a fork, which must not share them."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that only reads: on SQLite it takes no write lock, so it never waits for a writer."""
        with answering(), Session(self._readers, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """A session that may write; all of it is committed, or nothing."""
        with answering(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @staticmethod
    def _locked(session: Session, job_key: str) -> tuple[StudyRow, JobRow]:
        """A job and its study, locked. The study always first: planning locks in that order, another could deadlock.

        Two jobs that end at once would each miss the other's end without the study's lock.
        """
        study_uid = session.execute(select(JobRow.study_uid).where(JobRow.job_key == job_key)).scalar_one()
        study = session.get_one(StudyRow, study_uid, with_for_update=True)
        return study, session.get_one(JobRow, job_key, with_for_update=True)

    @staticmethod
    def _set_study(study: StudyRow, state: StudyState, now: datetime, wake: datetime | None = None) -> None:
        check_transition(study.state, state)
        study.state, study.changed_at, study.wake_at = state, now, wake or now
        study.failure = None

    @staticmethod
    def _set_job(session: Session, job: JobRow, state: JobState, now: datetime) -> None:
        check_transition(job.state, state)
        job.state, job.changed_at, job.wake_at, job.ready_at = state, now, now, now
        job.lease_owner = job.lease_until = job.failure = None
        pending = update(DeliveryRow).where(
            DeliveryRow.job_key == job.job_key,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.independent.is_(False),
        )
        if state is JobState.DELIVERING:
            session.execute(pending.values(wake_at=now, lease_owner=None, lease_until=None))
        elif state in (JobState.SUPERSEDED, JobState.CANCELLED):
            # No longer due. Who is just sending keeps the lease: what an archive took is recorded as delivered.
            session.execute(pending.values(wake_at=None))

    def _mark_to_retract(
        self,
        session: Session,
        study_uid: str,
        sop_instance_uids: Collection[str],
        reason: str,
        now: datetime,
        *,
        right: Collection[str] = (),
        code: RejectionCode = RejectionCode.QUALITY,
    ) -> None:
        """Mark the saved objects of the study's jobs that read one of the instances: they should not have been made.

        `right`: inputs, UID and digest, that are as they should be. An object that is not sent yet is not sent any
        more; one that is just being sent is, and its outcome is recorded. What an archive has is taken back from it.
        """
        made = exists().where(ResultObjectRow.job_key == JobRow.job_key)
        jobs = session.execute(select(JobRow.job_key, JobRow.inputs).where(JobRow.study_uid == study_uid, made)).all()
        read = [
            job_key
            for job_key, inputs in jobs
            if any(one.partition(":")[0] in sop_instance_uids and one not in right for one in inputs)
        ]
        for portion in in_portions(read):
            unmarked = (
                ResultObjectRow.job_key.in_(portion),
                ResultObjectRow.retract_at.is_(None),
                ResultObjectRow.kind != ResultKind.REJECTION_NOTE,
            )
            values = {"retract_at": now, "retract_reason": reason, "retract_code": code}
            session.execute(update(ResultObjectRow).where(*unmarked).values(**values))
            self._withhold_retracted(session, portion, now)
            retract_marked(session, portion, now)
            self._tell_who_compared(session, portion)

    @staticmethod
    def _tell_who_compared(session: Session, job_keys: Sequence[str]) -> None:
        """A study whose results were compared with these needs a person: the change that they tell is not one."""
        keys = session.scalars(select(JobRow.answer_key).where(JobRow.job_key.in_(job_keys))).all()
        compared = select(JobRow.study_uid).where(
            JobRow.prior["answer_key"].as_string().in_(keys), JobRow.state != JobState.SUPERSEDED
        )
        for study_uid in session.scalars(compared.distinct()):
            told = "an earlier result that it was compared with is to be retracted: `medseg-node reread` compares anew"
            add_attention(session.get_one(StudyRow, study_uid), told)

    @staticmethod
    def _withhold_retracted(session: Session, job_keys: Sequence[str], now: datetime) -> None:
        """End the deliveries of what is to be retracted, or a review replaces; not those that are just being sent."""
        free = or_(DeliveryRow.lease_until.is_(None), DeliveryRow.lease_until < now)
        whys = {
            WITHHELD_AS_WRONG: ResultObjectRow.retract_at.is_not(None),
            WITHHELD_AS_REVIEWED: ResultObjectRow.replaced_by.is_not(None),
        }
        for reason, marked in whys.items():
            uids = select(ResultObjectRow.sop_instance_uid).where(ResultObjectRow.job_key.in_(job_keys), marked)
            pending = update(DeliveryRow).where(
                DeliveryRow.sop_instance_uid.in_(uids), DeliveryRow.state == DeliveryState.PENDING, free
            )
            withheld = {"state": DeliveryState.WITHHELD, "reason": reason}
            session.execute(pending.values(**withheld, wake_at=None, lease_owner=None, lease_until=None))

    def _settle(self, session: Session, study: StudyRow, job: JobRow, now: datetime) -> None:
        """Let a job that is DELIVERING follow its deliveries: it ends once nothing of it is pending to any archive."""
        if job.state is not JobState.DELIVERING:
            return
        session.flush()
        rows = self._current_deliveries(session, job)
        waiting = [delivery.reason for _, delivery in rows if delivery.state is DeliveryState.PENDING]
        job.reason = "; ".join(sorted({reason for reason in waiting if reason}))
        if not waiting:
            failed = [row for row in rows if row[1].state is not DeliveryState.DELIVERED]
            job.reason = _why_undelivered(failed)
            self._set_job(session, job, JobState.FAILED if failed else JobState.DELIVERED, now)
            if failed:
                defects = any(delivery.state is DeliveryState.FAILED for _, delivery in failed)
                job.failure = TroubleKind.DEFECT if defects else TroubleKind.ARCHIVE_REFUSED
                if job.question is not None:  # the study does not follow it, so a person is told
                    add_attention(study, f"an answer that was kept was not sent: {job.reason}")
            retract_replaced(session, job, now)
        self._refresh_study(session, study, now)

    @staticmethod
    def _current_deliveries(session: Session, job: JobRow) -> list[tuple[ResultObjectRow, DeliveryRow]]:
        """The deliveries that decide what becomes of a job: of its edition's objects, where they are wanted.

        What a review has made or replaced is not among them.
        """
        rows = session.execute(
            select(ResultObjectRow, DeliveryRow)
            .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
            .where(DeliveryRow.job_key == job.job_key, DeliveryRow.independent.is_(False))
            .where(ResultObjectRow.edition == job.edition, ResultObjectRow.replaced_by.is_(None))
            .order_by(DeliveryRow.archive, ResultObjectRow.ordinal)
        ).all()
        wanted = wanted_of(job)
        return [
            (result, delivery)
            for result, delivery in rows
            if (result.profile, result.kind) in wanted.get(delivery.archive, ())
        ]

    def _fail(
        self, session: Session, study: StudyRow, job: JobRow, kind: TroubleKind, reason: str, now: datetime
    ) -> None:
        job.reason = reason
        self._set_job(session, job, JobState.FAILED, now)
        job.failure = kind
        self._refresh_study(session, study, now)

    def _refresh_study(self, session: Session, study: StudyRow, now: datetime) -> None:
        """Let a planned study follow its jobs. One that is received again, or not planned yet, has none of its own."""
        if study.state not in (StudyState.RECEIVING, StudyState.COMPLETE):
            self._follow_jobs(session, study, now)

    def _follow_jobs(self, session: Session, study: StudyRow, now: datetime) -> None:
        session.flush()
        current = (
            JobRow.study_uid == study.study_uid,
            JobRow.generation == study.generation,
            JobRow.question.is_(None),  # what a person asks beside changes nothing of where the study stands
        )
        jobs = session.execute(
            select(JobRow.state, JobRow.reason, JobRow.protocol).where(*current, JobRow.state != JobState.SUPERSEDED)
        ).all()
        if not jobs and study.state is not StudyState.COMPLETE:
            return  # a job of an earlier generation has ended late: it says nothing about this one
        state = study_state_of(job.state for job in jobs)
        if state is not study.state:
            self._set_study(study, state, now)
        protocols = ", ".join(sorted({job.protocol for job in jobs}))
        if reasons := sorted({job.reason for job in jobs if job.reason}):
            study.reason = "; ".join(reasons)
        elif state is StudyState.DELIVERED:  # else the reason of a wait that is over would stay
            study.reason = f"{protocols}: answered and delivered"
        elif state is StudyState.DELIVERING:
            study.reason = f"{protocols}: answered, on the way to the archive"
        elif state is StudyState.PREDICTING:
            study.reason = f"{protocols}: being read"

    @staticmethod
    def _count(session: Session, *criteria: Any) -> int:
        return session.scalar(select(func.count()).where(*criteria)) or 0


def _why_undelivered(failed: Sequence[tuple[ResultObjectRow, DeliveryRow]]) -> str:
    """Why each object that did not arrive did not, by archive."""
    return "; ".join(f"{result.kind.value} to {delivery.archive}: {delivery.reason}" for result, delivery in failed)


def changed_one(result: Any) -> bool:
    """Whether a compare-and-set update found its row."""
    return changed(result) == 1


def changed(result: Any) -> int:
    """How many rows an update changed."""
    assert isinstance(result, CursorResult)
    return result.rowcount


def in_portions(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """The values in portions: a statement takes a limited number of parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
