"""Every change of state, each in one transaction. The database is the truth; the queue only wakes.

Claims are compare-and-set updates: whoever changes the row first owns the work, everyone else gets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import CursorResult, Engine, and_, create_engine, event, make_url, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from workflows.state.states import DeliveryState, JobState, StudyState, check_transition, study_state_of
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, SeriesRow, StudyRow

__all__ = ["JobPlan", "NewInstance", "Repository", "SavedResult", "open_engine", "upgrade_schema"]

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class NewInstance:
    """An instance whose file is already safe on disk."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    bytes: int
    digest: str
    calling_ae_title: str
    modality: str = ""
    series_description: str = ""
    accession_number: str = ""


@dataclass(frozen=True)
class JobPlan:
    """A job as planned: everything its key is made from, and the key."""

    job_key: str
    series_uid: str
    protocol: str
    protocol_version: str
    questions: list[dict[str, Any]]
    inputs: list[str]
    model: dict[str, Any]
    profile: str


@dataclass(frozen=True)
class SavedResult:
    """A result object whose bytes are already safe on disk."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str
    digest: str


@dataclass(frozen=True)
class Due:
    """What the scheduler has to wake: ids only."""

    plans: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)


def open_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, durable commits) or PostgreSQL."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin ourselves, see below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that reads first and writes later fails at once when another writer was quicker.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def upgrade_schema(engine: Engine) -> None:
    """Bring the schema to the newest migration; safe to call from several processes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7746577)")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _now() -> datetime:
    return datetime.now(UTC)


class Repository:
    """Studies, instances, jobs and deliveries. `rewake_s`: how long a wake-up may stay unanswered."""

    def __init__(self, engine: Engine, *, clock: Clock = _now, rewake_s: float = 30.0) -> None:
        self._engine = engine
        self._clock = clock
        self._rewake = timedelta(seconds=rewake_s)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    # Receive

    def record_instance(self, new: NewInstance) -> str | None:
        """Index a stored instance; return the path it replaces, if its bytes changed.

        An identical instance changes nothing. A new one opens a new generation of a study that was already complete.
        """
        try:
            return self._record_instance(new)
        except IntegrityError:
            # Another association was quicker to insert the study; now it is there.
            return self._record_instance(new)

    def _record_instance(self, new: NewInstance) -> str | None:
        now = self._clock()
        with self._session() as session:
            study = session.get(StudyRow, new.study_uid, with_for_update=True)
            if study is None:
                study = StudyRow(
                    study_uid=new.study_uid,
                    state=StudyState.RECEIVING,
                    generation=1,
                    first_received_at=now,
                    last_received_at=now,
                    changed_at=now,
                    wake_at=now,
                    accession_number=new.accession_number,
                    source_ae_title=new.calling_ae_title,
                )
                session.add(study)
                session.flush()
            key = (new.study_uid, new.series_uid, new.sop_instance_uid)
            row = session.get(InstanceRow, key)
            if row is not None and row.digest == new.digest:
                return None
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                study.reason = f"generation {study.generation} opened by a new instance"
                self._set_study(study, StudyState.RECEIVING, now)
            study.last_received_at = now
            study.source_ae_title = new.calling_ae_title
            study.accession_number = study.accession_number or new.accession_number
            if session.get(SeriesRow, (new.study_uid, new.series_uid)) is None:
                session.add(
                    SeriesRow(
                        study_uid=new.study_uid,
                        series_uid=new.series_uid,
                        modality=new.modality,
                        series_description=new.series_description[:256],
                    )
                )
                session.flush()
            replaced = row.path if row is not None else None
            if row is None:
                row = InstanceRow(study_uid=new.study_uid, series_uid=new.series_uid, sop_instance_uid=key[2])
                session.add(row)
            row.sop_class_uid, row.transfer_syntax_uid = new.sop_class_uid, new.transfer_syntax_uid
            row.path, row.bytes, row.digest = new.path, new.bytes, new.digest
            row.calling_ae_title, row.generation, row.received_at = new.calling_ae_title, study.generation, now
            return replaced if replaced != new.path else None

    def forget_instances(self, paths: Sequence[str]) -> None:
        """Drop rows whose files are gone; their studies open a new generation and say why."""
        now = self._clock()
        with self._session() as session:
            for row in session.scalars(select(InstanceRow).where(InstanceRow.path.in_(paths))):
                study = session.get_one(StudyRow, row.study_uid)
                if study.state is not StudyState.RECEIVING:
                    study.generation += 1
                    self._set_study(study, StudyState.RECEIVING, now)
                study.reason = f"the file of instance {row.sop_instance_uid} is gone from the store: send it again"
                session.delete(row)

    def all_instances(self) -> list[InstanceRow]:
        """Every indexed instance of every study."""
        with self._session() as session:
            return list(session.scalars(select(InstanceRow)))

    # Complete

    def complete_quiet_studies(self, quiet_period_s: Callable[[str], float]) -> list[str]:
        """Mark the studies COMPLETE that got nothing new for their source's quiet period; return their UIDs."""
        now = self._clock()
        done = []
        with self._session() as session:
            rows = session.scalars(select(StudyRow).where(StudyRow.state == StudyState.RECEIVING).with_for_update())
            for study in rows:
                period = quiet_period_s(study.source_ae_title)
                count = len(session.scalars(self._instances_of(study.study_uid)).all())
                if count == 0 or study.last_received_at + timedelta(seconds=period) > now:
                    continue
                study.reason = f"{count} instances; nothing new from {study.source_ae_title} for {period:g} s"
                self._set_study(study, StudyState.COMPLETE, now, wake=now + self._rewake)
                done.append(study.study_uid)
        return done

    # Plan

    def instances(self, study_uid: str) -> list[InstanceRow]:
        """The current instances of a study, ordered by series and instance UID."""
        with self._session() as session:
            return list(session.scalars(self._instances_of(study_uid)))

    def study(self, study_uid: str) -> StudyRow | None:
        with self._session() as session:
            return session.get(StudyRow, study_uid)

    def studies(self) -> list[StudyRow]:
        """All studies, the latest first."""
        with self._session() as session:
            return list(session.scalars(select(StudyRow).order_by(StudyRow.last_received_at.desc())))

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

    def fail_study(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned at all."""
        with self._session() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason
                self._set_study(study, StudyState.FAILED, self._clock())

    # Predict

    def jobs(self, study_uid: str) -> list[JobRow]:
        """The current jobs of a study: those of its generation, in order of series and protocol."""
        with self._session() as session:
            current = and_(JobRow.study_uid == study_uid, JobRow.state != JobState.SUPERSEDED)
            return list(session.scalars(select(JobRow).where(current).order_by(JobRow.series_uid, JobRow.protocol)))

    def job(self, job_key: str) -> JobRow:
        with self._session() as session:
            return session.get_one(JobRow, job_key)

    def claim_job(self, job_key: str, owner: str, lease_s: float, maximum_attempts: int) -> JobRow | None:
        """Claim a planned job, or one whose lease ran out; None when there is nothing to claim."""
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
            claimed = session.execute(
                update(JobRow)
                .where(JobRow.job_key == job_key, free)
                .values(
                    state=JobState.PREDICTING,
                    lease_owner=owner,
                    lease_until=until,
                    attempts=JobRow.attempts + 1,
                    changed_at=now,
                    wake_at=until,
                )
            )
            if not _changed_one(claimed):
                return None
            job = session.get_one(JobRow, job_key)
            if job.attempts > maximum_attempts:
                self._fail(session, study, job, f"{maximum_attempts} workers died or gave up on this job", now)
                return None
            self._refresh_study(session, study, now)
            return job

    def extend_lease(self, job_key: str, owner: str, lease_s: float) -> bool:
        """A heartbeat. False: the lease was lost to another worker."""
        until = self._clock() + timedelta(seconds=lease_s)
        with self._session() as session:
            held = update(JobRow).where(
                JobRow.job_key == job_key, JobRow.lease_owner == owner, JobRow.state == JobState.PREDICTING
            )
            return _changed_one(session.execute(held.values(lease_until=until, wake_at=until)))

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

    # Publish

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
            return _changed_one(session.execute(claim.execution_options(synchronize_session=False)))

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

    # Schedule

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

    # Shared by the transactions above

    @staticmethod
    def _instances_of(study_uid: str) -> Any:
        order = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
        return select(InstanceRow).where(InstanceRow.study_uid == study_uid).order_by(*order)

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


def _changed_one(result: Any) -> bool:
    assert isinstance(result, CursorResult)
    return result.rowcount == 1
