"""Purging: all that the node knows of a study is deleted, because a person wants it; what archives have stays there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from workflows.state.audit import add_event, sop_class_counts
from workflows.state.auditing import AuditAction, AuditEvent
from workflows.state.keeping import Purged
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import (
    Base,
    DeliveryRow,
    InstanceRow,
    JobRow,
    PurgeRow,
    ResultObjectRow,
    RetractionRow,
    StudyRow,
)
from workflows.state.transactions import Transactions, in_portions

__all__ = ["Purging"]

_AT_WORK = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.PREDICTING, StudyState.DELIVERING)
_STAY = frozenset({"audit", "audit_head", "audit_receiver", "purges", "node"})


class Purging(Transactions):
    """Transactions of purging. The rows go first, and a purge that is not finished is remembered: files go at last."""

    def purgeable(self, study_uid: str) -> Purged | None:
        """What there is of a study and whether it can be purged now; None: nothing is known of it."""
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            return None if study is None else _counted(session, study)

    def purge(self, study_uid: str, who: str) -> Purged | None:
        """Delete every row of a study and record who wanted it; `finish_purge` once its files are gone too.

        What it returns says whether it was refused. None: nothing is known of the study.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            if study is None:
                return None
            counted = _counted(session, study)
            if counted.refused:
                return counted
            classes = sop_class_counts(session, InstanceRow.study_uid == study_uid)
            _delete_rows(session, study_uid)
            session.merge(PurgeRow(study_uid=study_uid, purged_at=now))
            counts = {"instances": counted.instances, "bytes": counted.bytes, "jobs": counted.jobs}
            counts["results"] = counted.results
            details = {"sop_classes": classes}  # which nobody can tell afterwards
            happened = AuditEvent(who, AuditAction.PURGE, study_uid, study_uid, counts=counts, details=details)
            add_event(session, now, happened)
            return counted

    def unfinished_purges(self) -> dict[str, datetime]:
        """Studies whose rows are deleted and whose files are perhaps not all gone, with when that was."""
        with self._reading() as session:
            rows = session.execute(select(PurgeRow.study_uid, PurgeRow.purged_at).order_by(PurgeRow.study_uid))
            return {row.study_uid: row.purged_at for row in rows}

    def is_purged(self, study_uid: str) -> bool:
        """Whether files of a study that have no row are left of a purge."""
        with self._reading() as session:
            return session.get(PurgeRow, study_uid) is not None

    def finish_purge(self, study_uid: str) -> None:
        """The files of a purged study are gone."""
        with self._writing() as session:
            session.execute(delete(PurgeRow).where(PurgeRow.study_uid == study_uid))


def _counted(session: Session, study: StudyRow) -> Purged:
    own = InstanceRow.study_uid == study.study_uid
    there = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
    jobs = select(JobRow.job_key).where(JobRow.study_uid == study.study_uid)
    results = select(func.count()).select_from(ResultObjectRow).where(ResultObjectRow.job_key.in_(jobs))
    return Purged(
        study_uid=study.study_uid,
        state=study.state.value,
        instances=session.scalar(select(func.count()).where(own)) or 0,
        bytes=int(session.scalar(select(func.sum(InstanceRow.bytes)).where(own, *there)) or 0),
        jobs=session.scalar(select(func.count()).select_from(jobs.subquery())) or 0,
        results=session.scalar(results) or 0,
        refused=_refused(session, study),
    )


def _refused(session: Session, study: StudyRow) -> str:
    """Why a study cannot be purged now, or "": what is at work would miss it, or leave half of it in an archive."""
    if study.state in _AT_WORK:
        return f"{study.state.value}: work on it is going on; wait for its end"
    wanted = (RetractionState.WANTED, RetractionState.NOTED)
    retractions = (RetractionRow.study_uid == study.study_uid, RetractionRow.state.in_(wanted))
    if session.scalar(select(RetractionRow.sop_instance_uid).where(*retractions).limit(1)) is not None:
        return "results of it are still to be taken back from an archive; wait for that"
    of_study = select(DeliveryRow.sop_instance_uid).join(JobRow, JobRow.job_key == DeliveryRow.job_key)
    pending = (DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.lease_owner.is_not(None))
    if session.scalar(of_study.where(JobRow.study_uid == study.study_uid, *pending).limit(1)) is not None:
        return "a result of it is just being sent; wait for that"
    at_work = (JobRow.question.is_not(None), JobRow.state.in_([JobState.PREDICTING, JobState.DELIVERING]))
    if session.scalar(select(JobRow.job_key).where(JobRow.study_uid == study.study_uid, *at_work).limit(1)) is not None:
        return "a question about it is being answered, or its answer sent; wait for that"
    return ""


def _delete_rows(session: Session, study_uid: str) -> None:
    """Delete the study from every table that names studies, jobs or result objects; what refers to others goes first.

    By the columns that tables have, so that a table which comes later is not forgotten.
    """
    jobs = list(session.scalars(select(JobRow.job_key).where(JobRow.study_uid == study_uid)))
    of_jobs = select(ResultObjectRow.sop_instance_uid)
    objects = [
        uid for some in in_portions(jobs) for uid in session.scalars(of_jobs.where(ResultObjectRow.job_key.in_(some)))
    ]
    chosen_by: dict[str, Sequence[str]] = {"study_uid": [study_uid], "job_key": jobs, "sop_instance_uid": objects}
    for table in reversed(Base.metadata.sorted_tables):
        column = next((name for name in chosen_by if name in table.c), None)
        if column is None or table.name in _STAY:
            continue
        for portion in in_portions(chosen_by[column]):
            session.execute(delete(table).where(table.c[column].in_(portion)))
    session.expire_all()
