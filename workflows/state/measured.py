"""Measured: how long the model took for jobs that were answered, and when studies came: what a replay needs to know."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from workflows.protocols.costing import MeasuredAnswer
from workflows.state.tables import JobRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Measured"]


class Measured(Transactions):
    """What is known of the model's time, and of the times of receipt."""

    def measured_answers(self, since: datetime | None = None, most: int = 2000) -> list[MeasuredAnswer]:
        """Those of the newest jobs whose time is known, planned since then; older versions measured none."""
        query = select(JobRow.model_s, JobRow.parts, JobRow.questions).where(JobRow.model_s.is_not(None))
        if since is not None:
            query = query.where(JobRow.created_at >= since)
        with self._reading() as session:
            rows = session.execute(query.order_by(JobRow.changed_at.desc()).limit(most)).all()
        return [
            MeasuredAnswer(seconds, sum(int(part.get("slices", 0)) for part in parts), len(questions))
            for seconds, parts, questions in rows
        ]

    def times_of_receipt(self, since: datetime | None = None, until: datetime | None = None) -> list[datetime]:
        """When the last instance of each study came (`until` excluded), in order."""
        query = select(StudyRow.last_received_at).order_by(StudyRow.last_received_at)
        if since is not None:
            query = query.where(StudyRow.last_received_at >= since)
        if until is not None:
            query = query.where(StudyRow.last_received_at < until)
        with self._reading() as session:
            return list(session.scalars(query))
