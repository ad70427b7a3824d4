"""The tables of reading protocols: every version that was in service, and the set that is.

Only `workflows.state` imports it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.columns import JSON, Key, String, Text
from workflows.state.tables import Base, UtcDateTime

__all__ = ["ProtocolVersionRow", "ProtocolsInServiceRow"]


class ProtocolVersionRow(Base):
    """A file of a reading protocol as it once was in service, byte for byte. `digest`: its SHA-256."""

    __tablename__ = "protocol_versions"

    digest: Mapped[str] = mapped_column(Key(), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(Text, default="")
    file: Mapped[str] = mapped_column(Text)
    contents: Mapped[bytes] = mapped_column(LargeBinary)
    first_used_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_protocol_versions_name", "name", "version"),)


class ProtocolsInServiceRow(Base):
    """The set in service, and the edit that was refused last, if it still stands: one row, which a migration makes.

    `files`: digest of each file of the set, by its name. `mistakes`: those of the refused edit.
    """

    __tablename__ = "protocols_in_service"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # always 1
    digest: Mapped[str] = mapped_column(Key(), default="")
    files: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    taken_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    refused_digest: Mapped[str] = mapped_column(Key(), default="")
    refused_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    mistakes: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
