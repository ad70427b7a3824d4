"""How much each reading protocol asks, counted from jobs."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import func, select

from workflows.state.states import JobState
from workflows.state.tables import JobRow
from workflows.state.transactions import Transactions

__all__ = ["Asked"]


class Asked(Transactions):
    """What pages of reading protocols count."""

    def series_asked(self, since: datetime) -> Counter[str]:
        """How many series each protocol has asked since then, by name, whoever answers; replaced jobs do not count."""
        asked = (JobRow.created_at >= since, JobRow.state != JobState.SUPERSEDED, JobRow.question.is_(None))
        counts: Counter[str] = Counter()
        with self._reading() as session:
            series = func.count(JobRow.series_uid.distinct())
            for name, count in session.execute(select(JobRow.protocol, series).where(*asked).group_by(JobRow.protocol)):
                own = name.partition("@")[0]  # NAME@PREDICTOR asks the same series
                counts[own] = max(counts[own], count)
        return counts
