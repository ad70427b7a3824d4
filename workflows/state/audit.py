"""The audit: what persons had done to what, each in the transaction that does it, chained so that a change is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from workflows.state.audit_chain import append_at_commit, faults_in
from workflows.state.audit_tables import AuditHeadRow, AuditReceiverRow, AuditRow
from workflows.state.auditing import (
    AuditAction,
    AuditEntry,
    AuditEvent,
    AuditFilter,
    AuditHead,
    ChainFault,
    ReceiverState,
    StudyFacts,
    study_named,
)
from workflows.state.tables import InstanceRow
from workflows.state.transactions import Transactions

__all__ = ["Audit", "add_audit", "add_event", "sop_class_counts"]

_ALL = AuditFilter()
_AT_ONCE = 500


def add_event(session: Session, at: datetime, happened: AuditEvent) -> None:
    """Record within a transaction what is done in it; the row is written as the last thing before the commit."""
    append_at_commit(session, at, happened)


def add_audit(
    session: Session, at: datetime, who: str, action: str, subject: str, counts: Mapping[str, int] | None = None
) -> None:
    """`add_event` in short. `subject`: UIDs or names of things, never a patient's; a study's UID names the study."""
    event, named = _event(who, action, subject, counts)
    append_at_commit(session, at, event, named)


def _event(who: str, action: str, subject: str, counts: Mapping[str, int] | None) -> tuple[AuditEvent, str]:
    known = next((one for one in AuditAction if one.value == action), AuditAction.START)
    return AuditEvent(who, known, subject, study_named(subject), counts=dict(counts or {})), action


class Audit(Transactions):
    """Transactions of the audit."""

    def record_audit(self, who: str, action: str, subject: str, counts: Mapping[str, int] | None = None) -> None:
        """Record what a person had done where no transaction of ours does it. `subject`: as `add_audit` has it."""
        with self._writing() as session:
            add_audit(session, self._clock(), who, action, subject, counts)

    def record_event(self, happened: AuditEvent) -> None:
        """Record what a person did where no transaction of ours does it."""
        with self._writing() as session:
            add_event(session, self._clock(), happened)

    def audit_entries(self, action: str | None = None) -> list[AuditEntry]:
        """All that was recorded, or all of one action, the oldest first."""
        return list(self.audit_rows(AuditFilter(action=action)))

    def audit_rows(self, chosen: AuditFilter = _ALL) -> Iterator[AuditEntry]:
        """The rows of a filter, the oldest first, read in portions."""
        last = 0
        while True:
            with self._reading() as session:
                rows = _filtered(select(AuditRow), chosen).where(AuditRow.number > last)
                portion = [row.record() for row in session.scalars(rows.order_by(AuditRow.number).limit(_AT_ONCE))]
            yield from portion
            if len(portion) < _AT_ONCE:
                return
            last = portion[-1].number

    def latest_audit(self, chosen: AuditFilter, limit: int, before: int | None = None) -> list[AuditEntry]:
        """The last rows of a filter, the newest first; `before`: only those with a smaller number."""
        with self._reading() as session:
            rows = _filtered(select(AuditRow), chosen).order_by(AuditRow.number.desc()).limit(limit)
            rows = rows if before is None else rows.where(AuditRow.number < before)
            return [row.record() for row in session.scalars(rows)]

    def audit_head(self) -> AuditHead:
        """The end of the chain as it is recorded: a checkpoint, which somebody else may keep."""
        with self._reading() as session:
            row = session.get(AuditHeadRow, 1)
            return AuditHead(0, "0" * 64) if row is None else row.record()

    def verify_audit(self, checkpoints: Iterable[AuditHead] = ()) -> list[ChainFault]:
        """Every place at which the audit is not the chain that was recorded; none: it is whole."""
        with self._snapshot() as session:
            head = session.get(AuditHeadRow, 1)
            rows = session.scalars(select(AuditRow).order_by(AuditRow.number).execution_options(yield_per=_AT_ONCE))
            return list(faults_in((row.record() for row in rows), None if head is None else head.record(), checkpoints))

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        """A session that sees one moment, whatever is written meanwhile."""
        with self._reading() as session:
            if self._engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    # --- What is sent to the audit record repository ------------------------------------------------------------------

    def audit_receiver(self) -> ReceiverState:
        """How far the audit record repository is."""
        with self._reading() as session:
            row = session.get(AuditReceiverRow, 1)
            return ReceiverState() if row is None else row.record()

    def audit_unsent(self, limit: int) -> list[AuditEntry]:
        """The next rows that the repository has not, in order."""
        with self._reading() as session:
            row = session.get(AuditReceiverRow, 1)
            rows = select(AuditRow).where(AuditRow.number > (0 if row is None else row.sent))
            return [entry.record() for entry in session.scalars(rows.order_by(AuditRow.number).limit(limit))]

    def note_sent(self, number: int | None, told: str = "") -> None:
        """The repository has all rows up to a number; None: it took nothing, and `told` says why."""
        now = self._clock()
        with self._writing() as session:
            row = session.get(AuditReceiverRow, 1, with_for_update=True)
            if row is None:
                row = AuditReceiverRow(number=1, sent=0)
                session.add(row)
            row.tried_at, row.told = now, told
            if number is not None:
                row.sent, row.sent_at = max(row.sent, number), now

    def study_facts(self, study_uid: str) -> StudyFacts:
        """What messages say of a study, as far as it is known here; nothing once it was purged."""
        of_study = InstanceRow.study_uid == study_uid
        with self._reading() as session:
            return StudyFacts(_patients(session, of_study), sop_class_counts(session, of_study))


def sop_class_counts(session: Session, of_study: Any) -> dict[str, int]:
    """How many instances of which SOP class there are."""
    counted = select(InstanceRow.sop_class_uid, func.count()).where(of_study).group_by(InstanceRow.sop_class_uid)
    return {str(uid): int(count) for uid, count in sorted((uid, count) for uid, count in session.execute(counted))}


def _patients(session: Session, of_study: Any) -> tuple[str, ...]:
    named = select(InstanceRow.patient_id).where(of_study, InstanceRow.patient_id.is_not(None)).distinct()
    return tuple(sorted(str(one) for one in session.scalars(named)))


def _filtered(rows: Select[Any], chosen: AuditFilter) -> Select[Any]:
    wanted = {AuditRow.who: chosen.who, AuditRow.action: chosen.action, AuditRow.study_uid: chosen.study_uid}
    for column, value in wanted.items():
        if value is not None:
            rows = rows.where(column == value)
    if chosen.since is not None:
        rows = rows.where(AuditRow.at >= chosen.since)
    if chosen.until is not None:
        rows = rows.where(AuditRow.at < chosen.until)
    return rows
