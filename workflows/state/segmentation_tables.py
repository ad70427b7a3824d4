"""The table of segmentations that came in. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.columns import Key, Text
from workflows.state.tables import Base, UtcDateTime

__all__ = ["ReceivedSegmentationRow"]


class ReceivedSegmentationRow(Base):
    """A SEG of another source that came in. `wake_at`: when it is due to be looked at, None: it was, as `told` says."""

    __tablename__ = "received_segmentations"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    seg_uid: Mapped[str] = mapped_column(Key(), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wake_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    told: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (Index("ix_received_segmentations_wake_at", "wake_at"),)
