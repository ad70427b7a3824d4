"""What is due next, one piece at a time: how lanes find their work. The claim decides who does it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import DeliveryRow, JobRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions, changed_one

__all__ = ["DueWork"]


class DueWork(Transactions):
    """Looks at what is due. `archive`: work for this one alone; None: for any that is not among `others`."""

    def take_plan(self) -> str | None:
        """The study that has waited longest to be planned; nobody else is told of it until `rewake_s` have passed."""
        now = self._clock()
        due = (StudyRow.state == StudyState.COMPLETE, StudyRow.wake_at <= now)
        with self._reading() as session:
            studies = session.scalars(select(StudyRow.study_uid).where(*due).order_by(StudyRow.wake_at).limit(8)).all()
        for study_uid in studies:
            with self._writing() as session:
                mine = update(StudyRow).where(StudyRow.study_uid == study_uid, *due).values(wake_at=now + self._rewake)
                if changed_one(session.execute(mine)):
                    return study_uid
        return None

    def next_delivery(self, archive: str | None, others: Collection[str] = ()) -> tuple[str, str] | None:
        """Job and archive of the delivery that has waited longest."""
        current = and_(JobRow.state == JobState.DELIVERING, JobRow.generation == StudyRow.generation)
        due = (DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.wake_at <= self._clock())
        with self._reading() as session:
            return _pair(
                session.execute(
                    select(DeliveryRow.job_key, DeliveryRow.archive)
                    .join(JobRow, JobRow.job_key == DeliveryRow.job_key)
                    .join(StudyRow, StudyRow.study_uid == JobRow.study_uid)
                    .where(*due, _at(DeliveryRow.archive, archive, others))
                    .where(or_(current, DeliveryRow.independent.is_(True)))
                    .order_by(DeliveryRow.wake_at)
                    .limit(1)
                ).first()
            )

    def next_confirmation(self, archive: str | None, others: Collection[str] = ()) -> tuple[str, str] | None:
        """Job and archive of the object that has waited longest to be asked about."""
        with self._reading() as session:
            return _pair(
                session.execute(
                    select(DeliveryRow.job_key, DeliveryRow.archive)
                    .where(DeliveryRow.confirm_at <= self._clock(), _at(DeliveryRow.archive, archive, others))
                    .order_by(DeliveryRow.confirm_at)
                    .limit(1)
                ).first()
            )

    def next_retraction(self, archive: str | None, others: Collection[str] = ()) -> tuple[str, str] | None:
        """Study and archive of what has waited longest to be taken back."""
        due = (RetractionRow.state == RetractionState.WANTED, RetractionRow.wake_at <= self._clock())
        with self._reading() as session:
            return _pair(
                session.execute(
                    select(RetractionRow.study_uid, RetractionRow.archive)
                    .where(*due, _at(RetractionRow.archive, archive, others))
                    .order_by(RetractionRow.wake_at)
                    .limit(1)
                ).first()
            )


def _at(column: InstrumentedAttribute[str], archive: str | None, others: Collection[str]) -> ColumnElement[bool]:
    return column.not_in(list(others)) if archive is None else column == archive


def _pair(row: Any) -> tuple[str, str] | None:
    return None if row is None else (row[0], row[1])
