"""What the worklist's rows are made from: which studies changed, and what there is of them, a portion at a time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from dicom_node.headers.study_facts import StudyFacts
from dicom_node.sop_classes import holds_images
from inference.interface import PredictorDescription
from workflows.state.answers import AnswerRecord
from workflows.state.openings import OPEN_FOR
from workflows.state.records import Instance
from workflows.state.review_tables import OpeningRow, ProposalRow, ReviewRow
from workflows.state.reviewing import ProposalState, Review, ReviewState
from workflows.state.states import JobState, QuestionState
from workflows.state.tables import InstanceRow, JobRow, SeriesRow, StudyRow
from workflows.state.transactions import Transactions, in_portions
from workflows.state.worklist_records import WorklistJob, WorklistRow, WorklistSource
from workflows.state.worklist_tables import WorklistEntry, values_of

__all__ = ["WorklistSources"]

_MADE_BY = "3"
"""Counted up whenever rows are made otherwise: then all are made again."""
_JOB_COLUMNS = (
    JobRow.study_uid, JobRow.job_key, JobRow.protocol, JobRow.protocol_version, JobRow.questions, JobRow.answers,
    JobRow.state, JobRow.reason, JobRow.failure, JobRow.priority, JobRow.model, JobRow.changed_at,
)  # fmt: skip
_MOST_PATIENTS = 20


class WorklistSources(Transactions):
    """Transactions of keeping the worklist."""

    def studies_changed_since(self, since: datetime) -> set[str]:
        """Studies of which anything changed then or later, as their rows and those of jobs and reviews say."""
        queries = (
            select(StudyRow.study_uid).where(StudyRow.changed_at >= since),
            select(StudyRow.study_uid).where(StudyRow.last_received_at >= since),
            select(JobRow.study_uid).where(JobRow.changed_at >= since),
            select(ReviewRow.study_uid).where(ReviewRow.changed_at >= since),
            select(ProposalRow.study_uid).where(or_(ProposalRow.received_at >= since, ProposalRow.decided_at >= since)),
        )
        with self._reading() as session:
            return {uid for query in queries for uid in session.scalars(query)}

    def study_uids_after(self, after: str, limit: int) -> list[str]:
        """The next studies in order of Study Instance UID."""
        with self._reading() as session:
            later = select(StudyRow.study_uid).where(StudyRow.study_uid > after).order_by(StudyRow.study_uid)
            return list(session.scalars(later.limit(limit)))

    def studies_overdue_between(self, first: datetime, last: datetime) -> set[str]:
        """Studies that came to wait too long in this time."""
        with self._reading() as session:
            due = (WorklistEntry.overdue_at > first, WorklistEntry.overdue_at <= last)
            return set(session.scalars(select(WorklistEntry.study_uid).where(*due)))

    def open_studies(self) -> set[tuple[str, str]]:
        """Study and account of every page that is open now."""
        with self._reading() as session:
            now_open = OpeningRow.seen_at > self._clock() - OPEN_FOR
            rows = session.execute(select(OpeningRow.study_uid, OpeningRow.account).where(now_open))
            return {(study_uid, account) for study_uid, account in rows}

    def worklist_stamps(self, study_uids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """Of each study that there is, what it would be stamped now, and the stamp of its row; None: it has none."""
        with self._reading() as session:
            stamps: dict[str, tuple[str, str | None]] = {}
            for portion in in_portions(sorted(study_uids)):
                now, rows = _stamps(session, portion), select(WorklistEntry.study_uid, WorklistEntry.stamp)
                kept = dict(session.execute(rows.where(WorklistEntry.study_uid.in_(portion))).all())
                stamps |= {uid: (stamp, kept.get(uid)) for uid, stamp in now.items()}
            return stamps

    def worklist_sources(self, study_uids: Sequence[str]) -> list[WorklistSource]:
        """What the rows of these studies are made from; a study that is gone is left out."""
        with self._reading() as session:
            return [source for portion in in_portions(study_uids) for source in _sources(session, portion)]

    def keep_worklist_rows(self, rows: Sequence[WorklistRow]) -> None:
        """Put rows in place of those that there are; of a study that is gone none is kept."""
        if not rows:
            return
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        with self._writing() as session:
            uids = [row.study_uid for row in rows]
            there = set(session.scalars(select(StudyRow.study_uid).where(StudyRow.study_uid.in_(uids))))
            # In one order, so that two processes which do the same wait for each other and do not deadlock.
            values = [values_of(row) for row in sorted(rows, key=lambda row: row.study_uid) if row.study_uid in there]
            if values:
                statement = insert(WorklistEntry)
                new = {name: statement.excluded[name] for name in values[0] if name != "study_uid"}
                session.execute(statement.on_conflict_do_update(index_elements=["study_uid"], set_=new), values)

    def drop_orphaned_worklist_rows(self) -> list[str]:
        """Delete the rows of studies that are gone, and say which they were."""
        orphans = select(WorklistEntry.study_uid).where(~exists().where(StudyRow.study_uid == WorklistEntry.study_uid))
        with self._reading() as session:
            gone = list(session.scalars(orphans))
        if gone:
            with self._writing() as session:
                for portion in in_portions(gone):
                    session.execute(delete(WorklistEntry).where(WorklistEntry.study_uid.in_(portion)))
        return gone

    def worklist_size(self) -> int:
        """How many rows there are."""
        with self._reading() as session:
            return session.scalar(select(func.count(WorklistEntry.study_uid))) or 0

    def clear_worklist(self) -> None:
        """Delete every row: they are made again."""
        with self._writing() as session:
            session.execute(delete(WorklistEntry))


def _stamps(session: Session, study_uids: Sequence[str]) -> dict[str, str]:
    """What each study would be stamped now: a digest of all that changes with it."""
    parts: dict[str, list[Any]] = {}
    study = select(
        StudyRow.study_uid, StudyRow.changed_at, StudyRow.last_received_at, StudyRow.generation, StudyRow.state,
        StudyRow.reason, StudyRow.attention, StudyRow.accession_number,
    )  # fmt: skip
    for uid, *values in session.execute(study.where(StudyRow.study_uid.in_(study_uids))):
        parts[uid] = [_MADE_BY, *values]
    for column, what in (
        (JobRow.study_uid, (func.count(), func.max(JobRow.changed_at))),
        (
            ReviewRow.study_uid,
            (
                func.count(),
                func.max(ReviewRow.changed_at),
                func.sum(ReviewRow.version),
                func.max(ReviewRow.state),
                func.min(ReviewRow.state),
            ),
        ),
    ):
        grouped = select(column, *what).where(column.in_(study_uids)).group_by(column)
        for uid, *values in session.execute(grouped):
            parts[uid] += [*values]
    for uid, count in _proposals(session, study_uids).items():
        parts[uid].append(f"proposals {count}")
    return {uid: hashlib.sha256(repr(values).encode()).hexdigest() for uid, values in parts.items()}


def _proposals(session: Session, study_uids: Sequence[str]) -> Mapping[str, int]:
    open_ones = (ProposalRow.study_uid.in_(study_uids), ProposalRow.state == ProposalState.PROPOSED)
    counted = select(ProposalRow.study_uid, func.count()).where(*open_ones).group_by(ProposalRow.study_uid)
    return dict(session.execute(counted).all())


def _sources(session: Session, study_uids: Sequence[str]) -> Iterable[WorklistSource]:
    stamps = _stamps(session, study_uids)  # first: what changes from here on gives another
    jobs, reviews, patients = _jobs(session, study_uids), _reviews(session, study_uids), _patients(session, study_uids)
    signed = _signed(session, reviews)
    modalities, proposals = _modalities(session, study_uids), _proposals(session, study_uids)
    kept = {
        uid: (generation, facts, answered_at)
        for uid, generation, facts, answered_at in session.execute(
            select(
                WorklistEntry.study_uid, WorklistEntry.generation, WorklistEntry.facts, WorklistEntry.answered_at
            ).where(WorklistEntry.study_uid.in_(study_uids))
        )
    }
    studies = session.scalars(select(StudyRow).where(StudyRow.study_uid.in_(study_uids))).all()
    unread = [row.study_uid for row in studies if kept.get(row.study_uid, (None, None))[0] != row.generation]
    unread += [uid for uid, (_, facts, _at) in kept.items() if not facts]
    firsts = _first_images(session, unread)
    for row in studies:
        uid, study = row.study_uid, row.record()
        generation, facts, answered_at = kept.get(uid, (None, None, None))
        known = generation == study.generation and bool(facts)
        yield WorklistSource(
            study=study,
            stamp=stamps.get(uid, ""),
            patients=tuple(patients[uid]),
            modalities=tuple(modalities[uid]),
            jobs=tuple(_as_signed(jobs[uid], signed.get(uid, {}))),
            review=reviews.get(uid),
            proposals=proposals.get(uid, 0),
            first=None if known else firsts.get(uid),
            facts=StudyFacts.from_json(facts) if known else None,
            answered_at=answered_at if known else None,
        )


def _jobs(session: Session, study_uids: Sequence[str]) -> dict[str, list[WorklistJob]]:
    current = (StudyRow.study_uid == JobRow.study_uid, JobRow.generation == StudyRow.generation)
    chosen = select(*_JOB_COLUMNS).join(StudyRow, current[0])
    chosen = chosen.where(JobRow.study_uid.in_(study_uids), current[1], JobRow.state != JobState.SUPERSEDED)
    chosen = chosen.where(or_(JobRow.question.is_(None), JobRow.question == QuestionState.KEPT))
    jobs: dict[str, list[WorklistJob]] = defaultdict(list)
    for row in session.execute(chosen.order_by(JobRow.series_uid, JobRow.protocol)):
        jobs[row.study_uid].append(
            WorklistJob(
                job_key=row.job_key,
                protocol=row.protocol,
                protocol_version=row.protocol_version,
                questions=tuple(row.questions),
                answers=tuple(AnswerRecord.from_json(answer) for answer in row.answers),
                state=row.state,
                reason=row.reason,
                failure=row.failure,
                priority=row.priority,
                terms=PredictorDescription(**row.model).terms,
                changed_at=row.changed_at,
            )
        )
    return jobs


def _reviews(session: Session, study_uids: Sequence[str]) -> dict[str, Review]:
    """The latest review of each study that was not withdrawn."""
    chosen = (ReviewRow.study_uid.in_(study_uids), ReviewRow.state != ReviewState.WITHDRAWN)
    rows = session.scalars(select(ReviewRow).where(*chosen).order_by(ReviewRow.number))
    return {row.study_uid: row.record() for row in rows}


def _signed(session: Session, reviews: Mapping[str, Review]) -> dict[str, Mapping[str, Any]]:
    """Of each study whose last review is written its answers by job key, as they were signed."""
    numbers = {uid: one.number for uid, one in reviews.items() if one.state is ReviewState.WRITTEN}
    chosen = select(ReviewRow.study_uid, ReviewRow.number, ReviewRow.results).where(ReviewRow.study_uid.in_(numbers))
    return {uid: results for uid, number, results in session.execute(chosen) if numbers[uid] == number}


def _as_signed(jobs: Sequence[WorklistJob], signed: Mapping[str, Any]) -> Iterable[WorklistJob]:
    for job in jobs:
        answers = signed.get(job.job_key)
        yield job if answers is None else replace(job, answers=tuple(map(AnswerRecord.from_json, answers)))


def _patients(session: Session, study_uids: Sequence[str]) -> dict[str, list[Patient]]:
    """Whom each study's headers name, whom most name first."""
    named = (InstanceRow.patient_id, InstanceRow.patient_name)
    grouped = select(InstanceRow.study_uid, *named).where(InstanceRow.study_uid.in_(study_uids))
    grouped = grouped.where(InstanceRow.patient_id.is_not(None)).group_by(InstanceRow.study_uid, *named)
    patients: dict[str, list[Patient]] = defaultdict(list)
    for uid, patient_id, name in session.execute(grouped.order_by(func.count().desc(), *named)):
        if len(patients[uid]) < _MOST_PATIENTS:
            patients[uid].append(Patient(patient_id or "", name=name or ""))
    return patients


def _modalities(session: Session, study_uids: Sequence[str]) -> dict[str, list[str]]:
    chosen = select(SeriesRow.study_uid, SeriesRow.modality).where(SeriesRow.study_uid.in_(study_uids)).distinct()
    modalities: dict[str, list[str]] = defaultdict(list)
    for uid, modality in session.execute(chosen.order_by(SeriesRow.modality)):
        modalities[uid].append(modality)
    return modalities


def _first_images(session: Session, study_uids: Sequence[str]) -> dict[str, Instance]:
    """Of each study an image whose header there is: its file, or the kept header of its series."""
    there = (InstanceRow.study_uid.in_(study_uids), InstanceRow.lost_at.is_(None))
    classes = session.scalars(select(InstanceRow.sop_class_uid).where(*there).distinct())
    images = InstanceRow.sop_class_uid.in_([uid for uid in classes if holds_images(uid)])
    paths = select(func.min(InstanceRow.path)).where(*there, images).group_by(InstanceRow.study_uid)
    rows = session.scalars(
        select(InstanceRow).where(*there, images, InstanceRow.path.in_(session.scalars(paths).all()))
    )
    return {row.study_uid: row.record() for row in rows}
