"""Kept headers: what each study was planned from, so that rules can be tried on it when its images are gone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dicom_node.headers.attributes import KeptStudy
from workflows.state.header_tables import KeptHeadersRow
from workflows.state.states import StudyState
from workflows.state.tables import StudyRow
from workflows.state.transactions import Transactions

__all__ = ["KeptHeaders", "PlannedStudy", "keep_headers_of"]

_PLANNED = (
    StudyState.PLANNED, StudyState.PREDICTING, StudyState.DELIVERING, StudyState.DELIVERED, StudyState.UNMATCHED,
    StudyState.FAILED,
)  # fmt: skip


@dataclass(frozen=True)
class PlannedStudy:
    """A study that was planned. `kept`: what from; None where that was not kept yet or cannot be read any more.

    `received_at`: when its last instance came.
    """

    study_uid: str
    accession_number: str
    received_at: datetime
    kept: KeptStudy | None


class KeptHeaders(Transactions):
    """Reading of kept headers; planning writes them with its plan."""

    def kept_study(self, study_uid: str) -> KeptStudy | None:
        """What a study was last planned from; None: it was not kept."""
        with self._reading() as session:
            row = session.get(KeptHeadersRow, study_uid)
            return None if row is None else _unpacked(row.kept)

    def kept_studies(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        at_once: int = 100,
    ) -> Iterator[PlannedStudy]:
        """Studies that were planned, the newest first, by when their last instance came (`until` excluded).

        `at_once` are held at a time; each is as it is when it is reached.
        """
        left, after = limit, None
        while left is None or left > 0:
            portion = self._portion(since, until, after, at_once if left is None else min(left, at_once))
            yield from portion
            if len(portion) < at_once:
                return
            left = None if left is None else left - len(portion)
            after = (portion[-1].received_at, portion[-1].study_uid)

    def _portion(
        self, since: datetime | None, until: datetime | None, after: tuple[datetime, str] | None, most: int
    ) -> list[PlannedStudy]:
        place = (StudyRow.last_received_at, StudyRow.study_uid)
        chosen = select(StudyRow.study_uid, StudyRow.accession_number, StudyRow.last_received_at, KeptHeadersRow.kept)
        chosen = chosen.outerjoin(KeptHeadersRow, KeptHeadersRow.study_uid == StudyRow.study_uid)
        chosen = chosen.where(or_(KeptHeadersRow.study_uid.is_not(None), StudyRow.state.in_(_PLANNED)))
        if since is not None:
            chosen = chosen.where(StudyRow.last_received_at >= since)
        if until is not None:
            chosen = chosen.where(StudyRow.last_received_at < until)
        if after is not None:
            chosen = chosen.where(or_(place[0] < after[0], (place[0] == after[0]) & (place[1] < after[1])))
        with self._reading() as session:
            rows = session.execute(chosen.order_by(*(column.desc() for column in place)).limit(most)).all()
        return [
            PlannedStudy(uid, number, at, None if kept is None else _unpacked(kept)) for uid, number, at, kept in rows
        ]


def keep_headers_of(session: Session, study: StudyRow, kept: KeptStudy, now: datetime) -> None:
    """Keep what a study is planned from, instead of what its last plan was made from."""
    contents = zlib.compress(json.dumps(kept.as_json(), separators=(",", ":")).encode())
    received = kept.received_at or study.last_received_at
    session.merge(KeptHeadersRow(
        study_uid=study.study_uid, generation=study.generation, kept=contents, received_at=received, planned_at=now,
    ))  # fmt: skip


def _unpacked(contents: bytes) -> KeptStudy | None:
    """None for what another version has written and this one cannot read."""
    try:
        return KeptStudy.from_json(json.loads(zlib.decompress(contents)))
    except (ValueError, zlib.error):
        return None
