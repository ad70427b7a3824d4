"""Jobs: planned, claimed under a lease, answered or failed. A job is one series asked by one reading protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.headers.attributes import KeptStudy
from inference.interface import PredictorDescription
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord
from workflows.state.job_rows import new_job_row
from workflows.state.kept_headers import keep_headers_of
from workflows.state.questions import Questions
from workflows.state.records import Job, JobPlan, Part, SavedObject, Trouble, TroubleKind
from workflows.state.retracting import add_attention
from workflows.state.retrying import failure_of, too_late
from workflows.state.review_checks import look_again, tell_reviewed
from workflows.state.states import DeliveryState, JobState, QuestionState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, StudyRow
from workflows.state.transactions import changed_one

__all__ = ["Jobs"]


class Jobs(Questions):
    """Transactions of planning and predicting."""

    def save_plan(
        self,
        study_uid: str,
        generation: int,
        plans: Sequence[JobPlan],
        verdicts: Sequence[Verdict],
        summary: str,
        headers: KeptStudy | None = None,
    ) -> list[str] | None:
        """Replace the study's jobs by `plans`; return the keys of its jobs. None: the study has moved on meanwhile.

        A job whose key is known carries over. So does one that was answered to the same request by other weights or
        software, unless a person wants the study read again. `headers`: what the plan was made from.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is not StudyState.COMPLETE or study.generation != generation:
                return None
            if headers is not None:
                keep_headers_of(session, study, headers, now)
            jobs = list(session.scalars(select(JobRow).where(JobRow.study_uid == study_uid, JobRow.question.is_(None))))
            standing = {plan.job_key: _standing(plan, jobs, reread=study.reread) for plan in plans}
            kept = {job.job_key for job in standing.values() if job is not None}
            replaced = [job for job in jobs if job.job_key not in kept]
            tell_reviewed(session, study, replaced)
            look_again(session, study, replaced, now)
            self._tell_reviewer(session, study, [job for job in replaced if job.state is not JobState.SUPERSEDED])
            self._supersede(session, replaced, f"replaced by generation {generation}", now)
            keys = []
            for plan in plans:
                row = standing[plan.job_key]
                if row is None:
                    session.add(new_job_row(study, plan, jobs, now))
                else:
                    self._carry_over(session, row, plan, study, now)
                keys.append(plan.job_key if row is None else row.job_key)
            session.flush()
            self._look_after_abandoned(session, study, replaced, plans)
            self._carry_questions(session, study, now)
            study.plan_reasons, study.reason, study.reread = [verdict.as_json() for verdict in verdicts], summary, False
            self._follow_jobs(session, study, now)
            return keys

    def _look_after_abandoned(
        self, session: Session, study: StudyRow, replaced: Sequence[JobRow], plans: Sequence[JobPlan]
    ) -> None:
        """Results of a series that no protocol asks any more stay in the archives; a person is told."""
        asked = {(plan.series_uid, plan.protocol) for plan in plans}
        left = [job for job in replaced if (job.series_uid, job.protocol) not in asked]
        there = (DeliveryRow.state == DeliveryState.DELIVERED, DeliveryRow.independent.is_(False))
        for job in left:
            archives = session.scalars(
                select(DeliveryRow.archive).where(DeliveryRow.job_key == job.job_key, *there).distinct()
            ).all()
            if archives:
                told = f"results of {job.protocol} {job.protocol_version} for series {job.series_uid} stay in "
                add_attention(study, f"{told}{', '.join(sorted(archives))}, and no protocol asks for them any more")

    @staticmethod
    def _tell_reviewer(session: Session, study: StudyRow, replaced: Sequence[JobRow]) -> None:
        """What a person has reviewed stays in the archives; that later results stand beside it needs a person."""
        for job in replaced:
            of_job = (ResultObjectRow.job_key == job.job_key, ResultObjectRow.reviewed_by != "")
            by = session.scalars(select(ResultObjectRow.reviewed_by).where(*of_job).distinct()).all()
            if by:
                what = f"{job.protocol} {job.protocol_version} for series {job.series_uid}"
                add_attention(
                    study,
                    f"superseded after review: {what}, reviewed by {', '.join(sorted(by))}: review the later results",
                )

    def hold_study(self, study_uid: str, generation: int, reason: str) -> bool:
        """A complete study whose images contradict each other: HELD, nothing of it is read or sent.

        Its jobs are replaced by none; a plan that asks the same again takes them up. False: the study has moved on.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is not StudyState.COMPLETE or study.generation != generation:
                return False
            jobs = list(session.scalars(select(JobRow).where(JobRow.study_uid == study_uid, JobRow.question.is_(None))))
            tell_reviewed(session, study, jobs)
            self._end_questions(session, study, f"the study is held in generation {generation}", now)
            self._supersede(session, jobs, f"the study is held in generation {generation}", now)
            study.plan_reasons, study.reason, study.reread = [], reason, False
            self._set_study(study, StudyState.HELD, now)
            return True

    def _supersede(self, session: Session, jobs: Sequence[JobRow], reason: str, now: datetime) -> None:
        for job in jobs:
            if job.state is not JobState.SUPERSEDED:
                job.reason = reason
                self._set_job(session, job, JobState.SUPERSEDED, now)

    def job(self, job_key: str) -> Job:
        """One job. Raises LookupError for a key that no job has."""
        with self._reading() as session:
            row = session.get(JobRow, job_key)
            if row is None:
                raise LookupError(f"no job has the key {job_key}")
            return row.record()

    def next_job(self) -> str | None:
        """The key of the most urgent job that may be taken up now; None: there is none. It is not claimed yet.

        STAT goes before routine, and in each who waits longest; `retrying.place_in_queue` keeps routine from waiting
        for ever. A job that was put off comes when its pause is over.
        """
        now = self._clock()
        chosen = (
            select(JobRow.turn_at, JobRow.job_key)
            .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
            .where(JobRow.generation == StudyRow.generation, JobRow.ready_at <= now)
            .order_by(JobRow.turn_at)
            .limit(1)
        )
        waiting = chosen.where(JobRow.state == JobState.PLANNED)
        orphaned = chosen.where(JobRow.state == JobState.PREDICTING, _abandoned(now))
        with self._reading() as session:
            found = [session.execute(query).one_or_none() for query in (waiting, orphaned)]
        return min(((row.turn_at, row.job_key) for row in found if row is not None), default=(now, None))[1]

    def claim_job(self, job_key: str, owner: str, lease_s: float, maximum_attempts: int) -> Job | None:
        """Claim a planned job of the study's generation, or one whose lease ran out; None: nothing to claim.

        A lease that ran out is a worker that died: after `maximum_attempts` troubles the job fails and says which. One
        that is too late to be of use fails too.
        """
        now = self._clock()
        with self._writing() as session:
            free = or_(JobRow.state == JobState.PLANNED, and_(JobRow.state == JobState.PREDICTING, _abandoned(now)))
            study = session.scalar(
                select(StudyRow).join(JobRow).where(JobRow.job_key == job_key).with_for_update(of=StudyRow)
            )
            before = session.execute(
                select(JobRow.state, JobRow.lease_owner).where(JobRow.job_key == job_key)
            ).one_or_none()
            if study is None or before is None:
                return None
            # A job of an earlier generation waits for the plan that carries it over: its inputs may have changed.
            until = now + timedelta(seconds=lease_s)
            claimed = session.execute(
                update(JobRow)
                .where(JobRow.job_key == job_key, free, JobRow.generation == study.generation)
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
            if before.state is JobState.PREDICTING:
                died = Trouble(TroubleKind.WORKER_DIED, f"the worker {before.lease_owner or '?'} stopped answering")
                if self._add_trouble(session, study, job, died, maximum_attempts, now):
                    return None
            if late := too_late(job.useful_until, now):
                self._fail(session, study, job, TroubleKind.TOO_LATE, late, now)
                return None
            job.reason = ""
            self._refresh_study(session, study, now)
            return job.record()

    def _add_trouble(
        self, session: Session, study: StudyRow, job: JobRow, trouble: Trouble, maximum: int, now: datetime
    ) -> bool:
        """Note an attempt that came to nothing; True: it was the last one, the job has failed."""
        job.troubles = [*job.troubles, {"kind": trouble.kind.value, "reason": trouble.reason}]
        failure = failure_of([TroubleKind(entry["kind"]) for entry in job.troubles], maximum)
        if failure is None:
            return False
        self._fail(session, study, job, failure, _told([entry["reason"] for entry in job.troubles]), now)
        return True

    def hold_job(self, job_key: str, reason: str, delay_s: float) -> None:
        """A job that is free to be claimed and that no worker here can take up now, and why; woken after `delay_s`."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            free = job.state is JobState.PLANNED or (
                job.state is JobState.PREDICTING and (job.lease_until is None or job.lease_until < now)
            )
            if free and job.generation == study.generation:
                job.reason = reason
                _put_off(job, now, delay_s)
                self._refresh_study(session, study, now)

    def extend_lease(self, job_key: str, owner: str, lease_s: float) -> bool:
        """A heartbeat. False: the job is not this worker's any more: another has it, or it is replaced or cancelled."""
        until = self._clock() + timedelta(seconds=lease_s)
        with self._writing() as session:
            held = update(JobRow).where(
                JobRow.job_key == job_key, JobRow.lease_owner == owner, JobRow.state == JobState.PREDICTING
            )
            return changed_one(session.execute(held.values(lease_until=until, wake_at=until)))

    def give_back(self, job_key: str, owner: str, reason: str, delay_s: float) -> None:
        """Give a claimed job back, for another worker or a later time; that is no trouble of the job's."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner == owner and job.state is JobState.PREDICTING:
                self._give_back(session, study, job, reason, now, delay_s)

    def _give_back(
        self, session: Session, study: StudyRow, job: JobRow, reason: str, now: datetime, delay_s: float
    ) -> None:
        job.reason = reason
        self._set_job(session, job, JobState.PLANNED, now)
        _put_off(job, now, delay_s)
        self._refresh_study(session, study, now)

    def record_trouble(self, job_key: str, owner: str, trouble: Trouble, maximum_attempts: int, delay_s: float) -> None:
        """A claimed job's attempt came to nothing: it is tried again after `delay_s`, or was tried often enough.

        How often that is `retrying.failure_of` says: deadline, memory and defect once more, others `maximum_attempts`.
        """
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner != owner or job.state is not JobState.PREDICTING:
                return
            if not self._add_trouble(session, study, job, trouble, maximum_attempts, now):
                self._give_back(session, study, job, trouble.reason, now, delay_s)

    def fail_job(self, job_key: str, owner: str, reason: str, kind: TroubleKind = TroubleKind.REFUSED) -> None:
        """End a claimed job: trying again would not help."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner == owner and job.state is JobState.PREDICTING:
                self._fail(session, study, job, kind, reason, now)

    def save_results(
        self,
        job_key: str,
        owner: str,
        model: PredictorDescription,
        parts: Sequence[Part],
        answers: Sequence[AnswerRecord],
        objects: Sequence[SavedObject],
        notes: Sequence[str] = (),
        model_s: float | None = None,
    ) -> bool:
        """Record who answered and what, the saved objects, and a delivery of each to every destination of its profile.

        `model_s`: how long the model took; None: it was not asked.

        An object that was saved before keeps its file, unless that was damaged: then the same bytes take its place.
        False: nothing is recorded. The lease was lost; or such an object has other bytes now, and the job is planned
        again, to make all of them under other UIDs.
        """
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            if job.lease_owner != owner or job.state is not JobState.PREDICTING:
                return False
            rows = session.scalars(select(ResultObjectRow).where(ResultObjectRow.job_key == job_key))
            kept = {row.sop_instance_uid: row for row in rows}
            if not _put_back(job, kept, objects):
                self._begin_edition(session, job)
                job.reason = "results whose files were damaged come out otherwise now: made under UIDs of their own"
                self._set_job(session, job, JobState.PLANNED, now)
                self._refresh_study(session, study, now)
                return False
            job.model, job.answers, job.reason = asdict(model), [answer.as_json() for answer in answers], ""
            job.parts = [{**asdict(part), "kind": part.kind.value} for part in parts]
            job.notes, job.waits = list(notes), 0
            job.model_s = job.model_s if model_s is None else model_s
            for ordinal, saved in enumerate(objects):
                if saved.sop_instance_uid not in kept:
                    session.add(_object_row(job, len(kept) + ordinal, saved))
            if any(row.review is not None for row in kept.values()):
                profiles = ", ".join(sorted({saved.profile.value for saved in objects}))
                add_attention(study, f"superseded after review: objects of {profiles} were made later: review them")
            job.made = {**job.made, **_made(job)}
            session.flush()
            if job.question in (None, QuestionState.KEPT):  # what is preliminary goes nowhere
                self._add_deliveries(session, job, now)
            self._set_job(session, job, JobState.DELIVERING, now)
            self._settle(session, study, job, now)  # where nothing is to be sent, that was all
            return True


def _put_back(job: JobRow, kept: Mapping[str, ResultObjectRow], objects: Sequence[SavedObject]) -> bool:
    """Let the objects whose files were damaged have those that were made again; False: not all are the same bytes."""
    damaged = {uid: row for uid, row in kept.items() if row.damaged_at is not None and _is_own(job, row)}
    again = {saved.sop_instance_uid: saved for saved in objects}
    if any(uid not in again or again[uid].digest != row.digest for uid, row in damaged.items()):
        return False
    for uid, row in damaged.items():
        row.path, row.damaged_at = str(again[uid].path), None
    return True


def _is_own(job: JobRow, row: ResultObjectRow) -> bool:
    """Whether an object is of the job's edition, and no review has made it."""
    return row.edition == job.edition and row.review is None


def _standing(plan: JobPlan, jobs: Sequence[JobRow], *, reread: bool) -> JobRow | None:
    """The job that a plan carries over, if any: the same, or one that was answered to the same request."""
    same = next((job for job in jobs if job.job_key == plan.job_key), None)
    if reread:
        return same
    answered = [job for job in jobs if job.request_key == plan.request_key and job.answers]
    current = [job for job in answered if job.state is not JobState.SUPERSEDED]
    # What stands stays, also where the configuration went back to weights that answered before it.
    return next(iter(current), same or max(answered, key=lambda job: job.created_at, default=None))


def _abandoned(now: datetime) -> Any:
    """The criterion that whoever claimed a job has not been heard of for as long as its lease."""
    return or_(JobRow.lease_until < now, JobRow.lease_owner.is_(None))


def _put_off(job: JobRow, now: datetime, delay_s: float) -> None:
    job.waits, job.ready_at = job.waits + 1, now + timedelta(seconds=delay_s)
    job.wake_at = job.ready_at


def _made(job: JobRow) -> dict[str, list[str]]:
    """What was made of an answered job, by profile: all kinds that its destinations want."""
    made: dict[str, set[str]] = {}
    for one in job.goes_to:
        made.setdefault(one.profile.value, set()).update(kind.value for kind in one.kinds(seen=job.seen))
    return {profile: sorted(kinds) for profile, kinds in made.items()}


def _object_row(job: JobRow, ordinal: int, saved: SavedObject) -> ResultObjectRow:
    return ResultObjectRow(
        sop_instance_uid=saved.sop_instance_uid,
        job_key=job.job_key,
        edition=job.edition,
        series_uid=saved.series_uid,
        ordinal=ordinal,
        part=saved.part,
        kind=saved.kind,
        profile=saved.profile,
        sop_class_uid=saved.sop_class_uid,
        path=str(saved.path),
        digest=saved.digest,
        object_references=list(saved.references),
    )


def _told(reasons: Sequence[str]) -> str:
    """Every attempt's reason, those that are the same once."""
    counted = Counter(reasons)
    told = [reason if count == 1 else f"{count} times: {reason}" for reason, count in counted.items()]
    return f"given up after {len(reasons)} attempts: {'; '.join(told)}"
