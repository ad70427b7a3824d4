"""The tables of agreement: what was written in reviews, ready to be counted. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.agreeing import CaseKind
from workflows.state.columns import Float, String
from workflows.state.tables import Base, EnumColumn, UtcDateTime

__all__ = ["AgreementReviewRow", "AgreementRow"]


class AgreementReviewRow(Base):
    """A written review that was counted; the last of its study."""

    __tablename__ = "agreement_reviews"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    number: Mapped[int]
    counted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AgreementRow(Base):
    """A finding of such a review. It names no patient; the study's UID is there so that a purge takes it along."""

    __tablename__ = "agreement"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    written_at: Mapped[datetime] = mapped_column(UtcDateTime)
    question: Mapped[str] = mapped_column(String(512))
    finding: Mapped[str] = mapped_column(String(64))
    protocol: Mapped[str] = mapped_column(String(192))
    weights: Mapped[str] = mapped_column(String(256))
    scanner: Mapped[str] = mapped_column(String(256))
    kind: Mapped[CaseKind] = mapped_column(EnumColumn(CaseKind))
    dice: Mapped[float | None] = mapped_column(Float, default=None)
    before_ml: Mapped[float | None] = mapped_column(Float, default=None)
    after_ml: Mapped[float | None] = mapped_column(Float, default=None)

    __table_args__ = (Index("ix_agreement_written_at", "written_at"),)
