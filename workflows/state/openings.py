"""Who has a study open: a page says so again and again, and is forgotten soon after it stops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from workflows.state.review_tables import OpeningRow
from workflows.state.reviewing import Opening
from workflows.state.tables import StudyRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["OPEN_FOR", "Openings"]

OPEN_FOR = timedelta(seconds=30)
"""A page beats every ten seconds; one that was closed without a word counts for so long."""


class Openings(Transactions):
    """Transactions of open pages."""

    def open_study(self, study_uid: str, account: str, name: str) -> bool:
        """An account's page of a study is open now. True: it was not before, so others may be told."""
        now = self._clock()
        key = (study_uid, account[:128])
        with self._writing() as session:
            row = session.get(OpeningRow, key)
            if row is None:
                if session.get(StudyRow, study_uid) is None:
                    raise LookupError("this study is not known here any more: it was deleted")
                try:
                    with session.begin_nested():
                        session.add(OpeningRow(study_uid=study_uid, account=key[1], name=name, seen_at=now))
                except IntegrityError:  # another page of the same account was quicker
                    return False
                return True
            before, row.seen_at, row.name = row.seen_at, now, name
            return before + OPEN_FOR < now

    def close_study(self, study_uid: str, account: str) -> None:
        """An account has closed its page of a study."""
        mine = (OpeningRow.study_uid == study_uid, OpeningRow.account == account[:128])
        with self._writing() as session:
            session.execute(delete(OpeningRow).where(*mine))

    def openings(self, study_uids: Collection[str]) -> Mapping[str, list[Opening]]:
        """Who has each of the studies open now, the one seen last first; studies that nobody has open have no entry."""
        since = self._clock() - OPEN_FOR
        found: dict[str, list[Opening]] = defaultdict(list)
        with self._reading() as session:
            for portion in in_portions(sorted(study_uids)):
                chosen = select(OpeningRow).where(OpeningRow.study_uid.in_(portion), OpeningRow.seen_at >= since)
                for row in session.scalars(chosen.order_by(OpeningRow.seen_at.desc(), OpeningRow.account)):
                    found[row.study_uid].append(row.record())
        return dict(found)

    def forget_closed(self) -> None:
        """Delete what was open long ago."""
        long_ago = self._clock() - 20 * OPEN_FOR
        with self._writing() as session:
            session.execute(delete(OpeningRow).where(OpeningRow.seen_at < long_ago))
