"""The tables of the audit: rows, the end of their chain, what the receiver has. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.auditing import NO_DIGEST, AuditEntry, AuditHead, Outcome, ReceiverState
from workflows.state.columns import JSON, Key, String, Text
from workflows.state.tables import Base, UtcDateTime

__all__ = ["AuditHeadRow", "AuditReceiverRow", "AuditRow"]


class AuditRow(Base):
    """What a person had done, for ever. `subject`: UIDs or names of things; never whose images they are."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str] = mapped_column(String(256))
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(Text)
    counts: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    outcome: Mapped[int] = mapped_column(default=0)
    address: Mapped[str] = mapped_column(String(256), default="")
    study_uid: Mapped[str | None] = mapped_column(Key(), default=None)
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    previous: Mapped[str] = mapped_column(Key(), default=NO_DIGEST)
    digest: Mapped[str] = mapped_column(Key(), default=NO_DIGEST)

    __table_args__ = (
        Index("ix_audit_at", "at"),
        Index("ix_audit_who", "who", "number"),
        Index("ix_audit_action", "action", "number"),
        Index("ix_audit_study_uid", "study_uid", "number"),
    )

    def record(self) -> AuditEntry:
        return AuditEntry(
            number=self.number,
            at=self.at,
            who=self.who,
            action=self.action,
            subject=self.subject,
            counts=dict(self.counts),
            outcome=Outcome(self.outcome),
            address=self.address,
            study_uid=self.study_uid,
            details=dict(self.details),
            previous=self.previous,
            digest=self.digest,
        )


class AuditHeadRow(Base):
    """The one row that says how many rows the audit has, and the digest of the last: so a cut end is found."""

    __tablename__ = "audit_head"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[int]
    digest: Mapped[str] = mapped_column(Key())

    def record(self) -> AuditHead:
        return AuditHead(self.count, self.digest)


class AuditReceiverRow(Base):
    """The one row that says how far the audit record repository is."""

    __tablename__ = "audit_receiver"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sent: Mapped[int] = mapped_column(default=0)
    told: Mapped[str] = mapped_column(Text, default="")
    tried_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    def record(self) -> ReceiverState:
        return ReceiverState(self.sent, self.told, self.tried_at, self.sent_at)
