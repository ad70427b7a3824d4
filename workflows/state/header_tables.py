"""The table of kept headers. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.tables import Base, UtcDateTime

__all__ = ["KeptHeadersRow"]


class KeptHeadersRow(Base):
    """What the last plan of a study was made from. `kept`: KeptStudy as JSON, compressed (zlib)."""

    __tablename__ = "kept_headers"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    generation: Mapped[int]
    kept: Mapped[bytes] = mapped_column(sa.LargeBinary)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    planned_at: Mapped[datetime] = mapped_column(UtcDateTime)
