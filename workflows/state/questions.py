"""Questions that a person asks of a study: jobs beside those of the protocols, preliminary until somebody keeps them.

They change nothing of where the study stands, replace no result, and no plan repeats them. A plan of the same images
takes them along; other images leave them behind.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from dicom_node.sop_classes import holds_images
from workflows.errors import QuestionRefused
from workflows.state.asking import AskedQuestion
from workflows.state.audit import add_audit
from workflows.state.job_rows import new_job_row
from workflows.state.question_tables import QuestionRow
from workflows.state.records import JobPlan
from workflows.state.rejections import rejected
from workflows.state.requeueing import Requeueing
from workflows.state.retracting import add_attention
from workflows.state.retrying import TroubleKind, place_of_question
from workflows.state.states import JobState, QuestionState, StudyState
from workflows.state.tables import InstanceRow, JobRow, ResultObjectRow, StudyRow

__all__ = ["MOST_OPEN", "Questions"]

MOST_OPEN = 5
"""How many questions of one person may wait or be read at a time."""
_OPEN = (JobState.PLANNED, JobState.PREDICTING)
_UNDER_WAY = (*_OPEN, JobState.DELIVERING)
_UNSETTLED = (StudyState.RECEIVING, StudyState.COMPLETE)
_EARLIER = "it was asked of the earlier images of this study: ask again"


class Questions(Requeueing):
    """Transactions of asking, keeping and not keeping."""

    def ask_question(self, study_uid: str, generation: int, plan: JobPlan, asked_by: str, part: int) -> AskedQuestion:
        """Have a question answered, ahead of other work; one that is asked already is not asked twice.

        Raises QuestionRefused: the study has moved on, is held or being received; or this person has `MOST_OPEN`
        questions open. LookupError for an unknown study.
        """
        now = self._clock()
        with self._writing() as session:
            study = _study(session, study_uid)
            _require_settled(study)
            if study.generation != generation:
                raise QuestionRefused("images of the study have come just now: look at it again, then ask")
            job = session.get(JobRow, plan.job_key)
            asked = session.get(QuestionRow, plan.job_key)
            if job is None or asked is None:
                _require_few_open(session, asked_by)
                job = new_job_row(study, plan, (), now)
                job.question, job.turn_at = QuestionState.ASKED, place_of_question(now)
                asked = QuestionRow(job_key=plan.job_key, study_uid=study_uid, part=part, asked_by=asked_by)
                asked.asked_at, asked.decided_by = now, ""
                session.add(job)
                session.flush()
                session.add(asked)
            else:
                self._ask_again(session, study, job, asked, asked_by, now)
            add_audit(session, now, asked_by, "ask", _subject(job))
            session.flush()
            return _record(study, job, asked)

    def _ask_again(
        self, session: Session, study: StudyRow, job: JobRow, asked: QuestionRow, asked_by: str, now: datetime
    ) -> None:
        """A question that is known: what was not kept is preliminary again, and what was not answered is read."""
        job.generation = study.generation
        if job.question is QuestionState.DROPPED:
            job.question, asked.decided_by, asked.decided_at = QuestionState.ASKED, "", None
            asked.asked_by, asked.asked_at = asked_by, now
        if not job.answers and job.state not in _OPEN:
            _require_few_open(session, asked_by)
            self._plan_anew(session, job, "", now)
        elif job.answers and job.state is JobState.SUPERSEDED:
            self._set_job(session, job, JobState.DELIVERED, now)

    def keep_answer(self, study_uid: str, job_key: str, by: str) -> AskedQuestion:
        """An answer becomes a result like others: its objects go to the archives. To keep it twice is to keep it once.

        Raises QuestionRefused where there is no answer, images have come since, or it should not have been made.
        LookupError for an unknown question.
        """
        now = self._clock()
        with self._writing() as session:
            study, job, asked = _locked_question(session, study_uid, job_key)
            if job.question is QuestionState.KEPT:
                return _record(study, job, asked)
            _require_settled(study)
            if not job.answers or job.state is not JobState.DELIVERED:
                raise QuestionRefused("there is no answer to keep yet")
            if job.question is QuestionState.DROPPED:
                raise QuestionRefused(f"{asked.decided_by} has not kept this answer: ask again")
            if job.generation != study.generation:
                raise QuestionRefused(f"the answer cannot be kept: {_EARLIER}")
            wrong = (ResultObjectRow.job_key == job_key, ResultObjectRow.retract_at.is_not(None))
            if reason := session.scalar(select(ResultObjectRow.retract_reason).where(*wrong).limit(1)):
                raise QuestionRefused(f"the answer cannot be kept: {reason}")
            job.question, asked.decided_by, asked.decided_at = QuestionState.KEPT, by, now
            self._add_deliveries(session, job, now)
            self._set_job(session, job, JobState.DELIVERING, now)
            self._settle(session, study, job, now)
            findings = sum(len(answer.get("findings", ())) for answer in job.answers)
            add_audit(session, now, by, "keep-answer", _subject(job), {"findings": findings})
            return _record(study, job, asked)

    def drop_answer(self, study_uid: str, job_key: str, by: str) -> AskedQuestion:
        """An answer is not kept, or a question is not waited for: the audit has its line, and no archive anything.

        Raises QuestionRefused for an answer that was kept. LookupError for an unknown question.
        """
        now = self._clock()
        with self._writing() as session:
            study, job, asked = _locked_question(session, study_uid, job_key)
            if job.question is QuestionState.KEPT:
                raise QuestionRefused(f"{asked.decided_by} has kept this answer, and it is sent: give it a verdict")
            if job.question is not QuestionState.DROPPED:
                job.question, asked.decided_by, asked.decided_at = QuestionState.DROPPED, by, now
                if job.state in _OPEN:
                    job.reason = f"{by} does not wait for it"
                    self._set_job(session, job, JobState.CANCELLED, now)
                add_audit(session, now, by, "drop-answer", _subject(job))
            return _record(study, job, asked)

    def give_up_question(self, job_key: str, reason: str) -> None:
        """A question that waits and that no worker can answer any more fails, and says why."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            if job.question is not None and job.state is JobState.PLANNED:
                self._fail(session, study, job, TroubleKind.REFUSED, reason, now)

    def questions(self, study_uid: str) -> list[AskedQuestion]:
        """The questions about a study, the earliest first, without those whose answers were not kept."""
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            if study is None:
                return []
            chosen = _asked(study_uid).where(JobRow.question != QuestionState.DROPPED)
            return [_record(study, job, asked) for job, asked in session.execute(chosen)]

    def question(self, study_uid: str, job_key: str) -> AskedQuestion:
        """One question, kept or not. Raises LookupError."""
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            row = session.execute(_asked(study_uid).where(JobRow.job_key == job_key)).one_or_none()
            if study is None or row is None:
                raise LookupError("no such question was asked of this study")
            return _record(study, row[0], row[1])

    # --- What other transactions do with questions --------------------------------------------------------------------

    def _carry_questions(self, session: Session, study: StudyRow, now: datetime) -> None:
        """A plan of the same images takes the questions along; of other images, it ends those that are open."""
        inputs = _inputs_of(session, study.study_uid)
        for job in _of_study(session, study.study_uid):
            if job.state is not JobState.SUPERSEDED and sorted(job.inputs) == inputs.get(job.series_uid):
                job.generation, job.wake_at = study.generation, now
            else:
                self._end_question(session, study, job, _EARLIER, now)

    def _end_questions(self, session: Session, study: StudyRow, reason: str, now: datetime) -> None:
        for job in _of_study(session, study.study_uid):
            self._end_question(session, study, job, reason, now)

    def _end_question(self, session: Session, study: StudyRow, job: JobRow, reason: str, now: datetime) -> None:
        if job.state not in _UNDER_WAY:
            return
        if job.question is QuestionState.KEPT:
            add_attention(study, f"an answer that was kept is not sent any more: {reason}")
        job.reason = reason
        self._set_job(session, job, JobState.SUPERSEDED, now)


def _study(session: Session, study_uid: str) -> StudyRow:
    study = session.get(StudyRow, study_uid, with_for_update=True)
    if study is None:
        raise LookupError("no such study was received here, or it was purged")
    return study


def _locked_question(session: Session, study_uid: str, job_key: str) -> tuple[StudyRow, JobRow, QuestionRow]:
    study = _study(session, study_uid)
    row = session.execute(_asked(study_uid).where(JobRow.job_key == job_key).with_for_update()).one_or_none()
    if row is None:
        raise LookupError("no such question was asked of this study")
    return study, row[0], row[1]


def _asked(study_uid: str) -> Select[JobRow, QuestionRow]:
    joined = select(JobRow, QuestionRow).join(QuestionRow, QuestionRow.job_key == JobRow.job_key)
    return joined.where(QuestionRow.study_uid == study_uid).order_by(QuestionRow.asked_at, JobRow.job_key)


def _of_study(session: Session, study_uid: str) -> list[JobRow]:
    asked = (JobRow.study_uid == study_uid, JobRow.question.is_not(None))
    return list(session.scalars(select(JobRow).where(*asked).order_by(JobRow.job_key)))


def _inputs_of(session: Session, study_uid: str) -> dict[str, list[str]]:
    """UID and digest of each image of a study as it would be planned, by series, in order."""
    inputs: dict[str, list[str]] = defaultdict(list)
    known = (InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_(None), ~rejected())
    for row in session.scalars(select(InstanceRow).where(*known)):
        if holds_images(row.sop_class_uid):
            inputs[row.series_uid].append(f"{row.sop_instance_uid}:{row.record().input_digest}")
    return {series_uid: sorted(one) for series_uid, one in inputs.items()}


def _require_settled(study: StudyRow) -> None:
    if study.state is StudyState.HELD:
        raise QuestionRefused(f"the study is held, nothing of it is read: {study.reason}")
    if study.state in _UNSETTLED:
        raise QuestionRefused("the study is being received or waits to be planned: ask in a moment")


def _require_few_open(session: Session, account: str) -> None:
    open_ones = (JobRow.question == QuestionState.ASKED, JobRow.state.in_(_OPEN), QuestionRow.asked_by == account)
    joined = select(func.count()).select_from(JobRow).join(QuestionRow, QuestionRow.job_key == JobRow.job_key)
    if (session.scalar(joined.where(*open_ones)) or 0) >= MOST_OPEN:
        raise QuestionRefused(
            f"{MOST_OPEN} questions of yours are not answered yet: wait for one, or do not wait for it, then ask again"
        )


def _subject(job: JobRow) -> str:
    return f"{job.study_uid}/{job.job_key}"


def _record(study: StudyRow, job: JobRow, asked: QuestionRow) -> AskedQuestion:
    current = job.generation == study.generation or study.state in _UNSETTLED
    assert job.question is not None
    return AskedQuestion(
        job=job.record(),
        state=job.question,
        part=asked.part,
        asked_by=asked.asked_by,
        asked_at=asked.asked_at,
        decided_by=asked.decided_by,
        decided_at=asked.decided_at,
        current=current and job.state is not JobState.SUPERSEDED,
    )
