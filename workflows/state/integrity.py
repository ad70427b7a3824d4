"""Integrity: files that are gone or damaged. Images are asked for again, results are made again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.results.profiles import ResultKind
from workflows.state.missing import lost_reason, removed_of, want_back
from workflows.state.records import Instance, ResultObject
from workflows.state.rejections import rejected
from workflows.state.retracting import add_attention
from workflows.state.retrying import TroubleKind
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import ReviewState
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import (
    DeliveryRow,
    InstanceRow,
    JobRow,
    RecoveryRow,
    ResultObjectRow,
    RetractionRow,
    StudyRow,
)
from workflows.state.transactions import Transactions

__all__ = ["Integrity"]

_AT_ONCE = 50
_NAMED = 3
_REMAKES = 3
"""How often a result is made again whose file is damaged again and again: then the disk is at fault."""


class Integrity(Transactions):
    """Transactions that follow what was found gone or damaged. Each may run twice."""

    # --- Images -------------------------------------------------------------------------------------------------------

    def suspect(self, study_uid: str) -> None:
        """A worker could not read files of a study, or read other bytes than were received: it is looked after soon."""
        with self._writing() as session:
            if session.get(StudyRow, study_uid, with_for_update=True) is not None:
                want_back(session, study_uid, self._clock())

    def due_recoveries(self) -> list[str]:
        """Studies that are to be looked after now; a few at a time."""
        due = select(RecoveryRow.study_uid).where(RecoveryRow.wake_at <= self._clock()).order_by(RecoveryRow.wake_at)
        with self._reading() as session:
            return list(session.scalars(due.limit(_AT_ONCE)))

    def claim_recovery(self, study_uid: str, lease_s: float) -> int | None:
        """Take a study that is to be looked after; nobody else does for `lease_s` seconds.

        Returns how often it was before; None: somebody else does, or it is not due.
        """
        now = self._clock()
        with self._writing() as session:
            session.get(StudyRow, study_uid, with_for_update=True)
            row = session.get(RecoveryRow, study_uid)
            if row is None or row.wake_at is None or row.wake_at > now:
                return None
            row.wake_at, row.attempts = now + timedelta(seconds=lease_s), row.attempts + 1
            return row.attempts - 1

    def record_recovery(self, study_uid: str, told: str, again_s: float | None) -> None:
        """What came of looking after a study. `again_s`: when it is looked after again, if it still lacks something.

        A study that lacks nothing is forgotten here; one that has failed for what it lacks says what was `told`.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            row = session.get(RecoveryRow, study_uid)
            if study is None or row is None:
                return
            missing = (InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_not(None), ~rejected())
            count = self._count(session, *missing)
            if not count:
                session.delete(row)
                return
            row.told, row.wake_at = told, None if again_s is None else now + timedelta(seconds=again_s)
            if study.state is StudyState.FAILED:
                lost = session.scalars(select(InstanceRow).where(*missing).order_by(*_ORDER).limit(_NAMED)).all()
                study.reason = "; ".join(filter(None, [lost_reason(lost, count), told]))

    def needs_lost_instances(self, study_uid: str) -> list[Instance]:
        """What a study lacks and cannot be read without: nothing where its results stand."""
        missing = (InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_not(None), ~rejected())
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            if study is None or study.state not in (StudyState.FAILED, StudyState.RECEIVING):
                return []
            return [row.record() for row in session.scalars(select(InstanceRow).where(*missing).order_by(*_ORDER))]

    def instances_there(self, study_uid: str) -> list[Instance]:
        """The instances of a study whose files are there as far as is known, rejected ones too."""
        there = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
        with self._reading() as session:
            chosen = select(InstanceRow).where(InstanceRow.study_uid == study_uid, *there)
            return [row.record() for row in session.scalars(chosen.order_by(*_ORDER))]

    # --- Results ------------------------------------------------------------------------------------------------------

    def remake_results(self, job_key: str, archive: str, sop_instance_uids: Collection[str]) -> list[ResultObject]:
        """Have saved objects made again whose files are gone or damaged; returns those that are.

        The job is PLANNED again, and only the profiles of these objects are made: `save_results` compares the bytes. A
        rejection note is written again by its retraction. Where the images are gone too, or a file was damaged again
        and again, the deliveries fail and a person is told.
        """
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            named = (ResultObjectRow.job_key == job_key, ResultObjectRow.sop_instance_uid.in_(sop_instance_uids))
            rows = list(session.scalars(select(ResultObjectRow).where(*named)))
            notes = [row for row in rows if row.kind is ResultKind.REJECTION_NOTE]
            for row in notes:
                self._write_note_again(session, row, archive)
            reviewed = [row for row in rows if row not in notes and row.review is not None]
            self._have_reviews_written_again(session, study, job, reviewed, now)
            notes += reviewed
            own = [row for row in rows if row not in notes and row.edition == job.edition]
            if not own or job.state is not JobState.DELIVERING or job.generation != study.generation:
                return [row.record() for row in notes]
            for row in own:
                row.damaged_at, row.remakes = now, row.remakes + 1
            session.flush()
            if cannot := self._why_not_remade(session, job, own):
                self._give_up(session, study, job, own, cannot)
                self._settle(session, study, job, now)
                return [row.record() for row in notes]
            profiles = {row.profile.value for row in own}
            job.made = {profile: kinds for profile, kinds in job.made.items() if profile not in profiles}
            kinds = ", ".join(sorted({row.kind.value for row in own}))
            job.troubles = []
            job.reason = f"the saved file of {kinds} is gone or damaged: made again"
            self._set_job(session, job, JobState.PLANNED, now)
            self._refresh_study(session, study, now)
            return [row.record() for row in [*notes, *own]]

    def _write_note_again(self, session: Session, note: ResultObjectRow, archive: str) -> None:
        noted = (RetractionRow.note_uid == note.sop_instance_uid, RetractionRow.archive == archive)
        again = update(RetractionRow).where(*noted, RetractionRow.state == RetractionState.NOTED)
        values = {"state": RetractionState.WANTED, "note_uid": None, "wake_at": self._clock()}
        session.execute(again.values(**values, told="the rejection note is gone or damaged: written again"))

    def _have_reviews_written_again(
        self, session: Session, study: StudyRow, job: JobRow, rows: Collection[ResultObjectRow], now: datetime
    ) -> None:
        """Reviews whose objects are gone or damaged are written once more, to the same bytes."""
        rows = [row for row in rows if row.damaged_at is None]  # the others wait for that already
        for row in rows:
            row.damaged_at, row.remakes = now, row.remakes + 1
        if rows and (cannot := self._why_not_remade(session, job, rows)):
            self._give_up(session, study, job, rows, cannot)
            return
        for number in {row.review for row in rows}:
            review = session.get(ReviewRow, (study.study_uid, number))
            if review is not None and review.state in (ReviewState.WRITTEN, ReviewState.FAILED):
                review.state, review.write_at, review.attempts = ReviewState.SIGNED, now, 1  # no undoing

    def _why_not_remade(self, session: Session, job: JobRow, own: Collection[ResultObjectRow]) -> str:
        removed = self._count(session, *removed_of(job.study_uid), InstanceRow.series_uid == job.series_uid)
        if removed:
            return "its images were removed by retention: send the study again, then `medseg-node reread`"
        if any(row.remakes > _REMAKES for row in own):
            return f"it was damaged again after {_REMAKES} times: look at the disk, then `medseg-node reread`"
        return ""

    @staticmethod
    def _give_up(session: Session, study: StudyRow, job: JobRow, own: Collection[ResultObjectRow], cannot: str) -> None:
        for row in own:
            reason = f"the saved file of {row.kind.value} is gone or damaged, and it cannot be made again: {cannot}"
            row.remakes = 0  # a person who has it read again may have mended what was wrong
            pending = (DeliveryRow.sop_instance_uid == row.sop_instance_uid, DeliveryRow.state == DeliveryState.PENDING)
            values = {"state": DeliveryState.FAILED, "wake_at": None, "lease_owner": None, "lease_until": None}
            session.execute(update(DeliveryRow).where(*pending).values(**values, reason=reason))
            add_attention(study, reason)

    def has_damaged_results(self, job_key: str) -> bool:
        """Whether saved objects of a job are to be made again."""
        with self._reading() as session:
            of_edition = (ResultObjectRow.job_key == JobRow.job_key, ResultObjectRow.edition == JobRow.edition)
            damaged = select(ResultObjectRow.sop_instance_uid).join(JobRow, of_edition[0] & of_edition[1])
            wanted = damaged.where(JobRow.job_key == job_key, ResultObjectRow.damaged_at.is_not(None))
            wanted = wanted.where(ResultObjectRow.review.is_(None))
            return session.scalar(wanted.limit(1)) is not None

    def give_up_damaged(self, job_key: str, cannot: str) -> None:
        """A planned job whose damaged objects nobody can make again, and why: what is pending of them fails."""
        now = self._clock()
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            own_edition = (ResultObjectRow.edition == job.edition, ResultObjectRow.review.is_(None))
            of_edition = (ResultObjectRow.job_key == job_key, *own_edition)
            damaged = select(ResultObjectRow).where(*of_edition, ResultObjectRow.damaged_at.is_not(None))
            own = list(session.scalars(damaged))
            if job.state is JobState.PLANNED and own:
                self._give_up(session, study, job, own, cannot)
                self._fail(session, study, job, TroubleKind.LOST, f"results cannot be made again: {cannot}", now)


_ORDER = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
