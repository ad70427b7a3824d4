"""The table of questions: who asked what of which study, and who decided. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.columns import String
from workflows.state.tables import Base, UtcDateTime

__all__ = ["QuestionRow"]


class QuestionRow(Base):
    """A job that a person has asked for. Its text, answer and state stand in the job."""

    __tablename__ = "questions"

    job_key: Mapped[str] = mapped_column(ForeignKey("jobs.job_key"), primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"))
    part: Mapped[int]
    asked_by: Mapped[str] = mapped_column(String(128))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str] = mapped_column(String(128), default="")
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (
        Index("ix_questions_study_uid", "study_uid", "asked_at"),
        Index("ix_questions_asked_by", "asked_by", "asked_at"),
    )
