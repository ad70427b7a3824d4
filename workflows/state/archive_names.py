"""Archive names: results that waited for an archive are recorded under its name as soon as there is one.

A node without `[[archives]]` makes results for the archive "". Once one is configured they go there, and all that is
recorded of them, also by an earlier version that had sent them as "", has its name from then on. Else a new plan would
take the same object in the same archive for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from workflows.state.retracting import add_attention, is_held
from workflows.state.retractions import Retractions
from workflows.state.states import DeliveryState, JobState, RetractionState
from workflows.state.tables import CommitmentRow, DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow

__all__ = ["ArchiveNames"]

_TO_BE_SENT = (JobState.PLANNED, JobState.PREDICTING, JobState.DELIVERING)


class ArchiveNames(Retractions):
    """Transactions that give a name to what has none, and wake what waited for an archive that is configured again."""

    def studies_without_archive(self, *, sent_too: bool) -> list[str]:
        """Studies of which something is recorded, or is to be made, for an archive without a name.

        `sent_too`: as in `name_archive`; else those alone of which something is still to be sent.
        """
        sent = select(JobRow.study_uid).join(DeliveryRow, DeliveryRow.job_key == JobRow.job_key)
        sent = sent.where(DeliveryRow.archive == "")
        taken_back = select(RetractionRow.study_uid).where(RetractionRow.archive == "")
        waiting = select(JobRow.study_uid, JobRow.destinations).where(JobRow.state.in_(_TO_BE_SENT))
        if not sent_too:
            sent = sent.where(DeliveryRow.state == DeliveryState.PENDING)
        with self._reading() as session:
            found = list(session.scalars(sent))
            if sent_too:
                found += session.scalars(taken_back)
            found += [uid for uid, wanted in session.execute(waiting) if _is_without_archive(wanted)]
        return list(dict.fromkeys(found))

    def name_archive(self, study_uid: str, archive: str, *, sent_too: bool) -> None:
        """What a study has for an archive without a name is for `archive` from now on, and what is pending is due.

        `sent_too`: also what was sent already, since no other archive can have it. Else only jobs of which something is
        still to be sent: it goes there.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            if study is None:
                return
            jobs = session.scalars(select(JobRow).where(JobRow.study_uid == study_uid).with_for_update()).all()
            for job in jobs:
                nameless = (DeliveryRow.job_key == job.job_key, DeliveryRow.archive == "")
                rows = session.scalars(select(DeliveryRow).where(*nameless)).all()
                if rows and not sent_too and all(row.state is not DeliveryState.PENDING for row in rows):
                    continue
                job.destinations = _named(job.destinations, archive)
                self._name_deliveries(session, rows, archive, now)
                commitments = (CommitmentRow.job_key == job.job_key, CommitmentRow.archive == "")
                session.execute(update(CommitmentRow).where(*commitments).values(archive=archive))
                self._name_retractions(session, study, job, archive, now)
                if rows:
                    self._settle(session, study, job, now)

    @staticmethod
    def _name_deliveries(session: Session, rows: Sequence[DeliveryRow], archive: str, now: datetime) -> None:
        for row in rows:
            named = session.get(DeliveryRow, (row.sop_instance_uid, archive))
            if named is not None:  # an earlier version took the two for different archives
                named.perhaps_sent = named.perhaps_sent or row.perhaps_sent or row.delivered_at is not None
                named.delivered_at = named.delivered_at or row.delivered_at
                session.delete(row)
                continue
            row.archive = archive
            if row.state is DeliveryState.PENDING and row.lease_owner is None:
                row.reason = ""
                row.wake_at = None if row.wake_at is None else now
        session.flush()

    def _name_retractions(self, session: Session, study: StudyRow, job: JobRow, archive: str, now: datetime) -> None:
        rows = session.execute(
            select(RetractionRow, ResultObjectRow)
            .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid)
            .where(ResultObjectRow.job_key == job.job_key, RetractionRow.archive == "")
        ).all()
        for row, result in rows:
            if is_held(job, result):
                self._undo(session, study, row, archive, now)
            if row in session.deleted:
                continue
            if session.get(RetractionRow, (row.sop_instance_uid, archive)) is not None:
                session.delete(row)
                continue
            row.archive = archive
            if row.state is RetractionState.WANTED:
                row.wake_at = now
        session.flush()

    def _undo(self, session: Session, study: StudyRow, row: RetractionRow, archive: str, now: datetime) -> None:
        """An earlier version had a current result taken back, or was about to: it is sent again."""
        if row.note_uid is not None:
            again = f"`medseg-node reread --study {study.study_uid}` makes them anew"
            add_attention(study, f"a rejection note to {archive} names results that are current: {again}")
            return
        delivery = session.get(DeliveryRow, (row.sop_instance_uid, archive))
        later = delivery is not None and row.done_at is not None and (delivery.delivered_at or now) <= row.done_at
        if row.state is RetractionState.DONE and later:
            self._send_what_was_deleted(session, study, row.sop_instance_uid, now)
        session.delete(row)

    def archive_is_back(self, archive: str, reason: str) -> None:
        """An archive is configured again: what waits for the `reason` that it was not is due at once."""
        now = self._clock()
        waiting = (
            DeliveryRow.archive == archive,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.reason == reason,
            DeliveryRow.wake_at.is_not(None),
        )
        with self._reading() as session:
            job_keys = session.scalars(select(DeliveryRow.job_key).where(*waiting).distinct()).all()
        for job_key in job_keys:
            with self._writing() as session:
                study, job = self._locked(session, job_key)
                due = update(DeliveryRow).where(DeliveryRow.job_key == job_key, *waiting)
                session.execute(due.values(wake_at=now, reason=""))
                self._settle(session, study, job, now)
        with self._writing() as session:
            wanted = (RetractionRow.state == RetractionState.WANTED, RetractionRow.told == reason)
            told = update(RetractionRow).where(RetractionRow.archive == archive, *wanted)
            session.execute(told.values(wake_at=now, told=""))
            asked = (DeliveryRow.confirm_at.is_not(None), DeliveryRow.confirm_reason == reason)
            unconfirmed = update(DeliveryRow).where(DeliveryRow.archive == archive, *asked)
            session.execute(unconfirmed.values(confirm_at=now, confirm_reason=""))


def _is_without_archive(destinations: Sequence[dict[str, Any]]) -> bool:
    return any(not one["archive"] for one in destinations)


def _named(destinations: Sequence[dict[str, Any]], archive: str) -> list[dict[str, Any]]:
    """The destinations with a name each, every archive once."""
    others = {one["archive"] for one in destinations}
    named = [{**one, "archive": one["archive"] or archive} for one in destinations]
    return [one for one, before in zip(named, destinations, strict=True) if before["archive"] or archive not in others]
