"""The audit: what persons had done to what, each in the transaction that does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from workflows.state.keeping import AuditEntry
from workflows.state.tables import AuditRow
from workflows.state.transactions import Transactions

__all__ = ["Audit", "add_audit"]


def add_audit(
    session: Session, at: datetime, who: str, action: str, subject: str, counts: Mapping[str, int] | None = None
) -> None:
    """Record within a transaction what is done in it. `subject`: UIDs or names of things, never a patient's."""
    session.add(AuditRow(at=at, who=who[:256], action=action, subject=subject, counts=dict(counts or {})))


class Audit(Transactions):
    """Transactions of the audit."""

    def record_audit(self, who: str, action: str, subject: str, counts: Mapping[str, int] | None = None) -> None:
        """Record what a person had done where no transaction of ours does it. `subject`: as `add_audit` has it."""
        with self._writing() as session:
            add_audit(session, self._clock(), who, action, subject, counts)

    def audit_entries(self, action: str | None = None) -> list[AuditEntry]:
        """All that was recorded, or all of one action, the oldest first."""
        with self._reading() as session:
            chosen = select(AuditRow).order_by(AuditRow.number)
            if action is not None:
                chosen = chosen.where(AuditRow.action == action)
            return [row.record() for row in session.scalars(chosen)]
