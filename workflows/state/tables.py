"""The tables, as SQLAlchemy sees them. Changes go through a migration in `migrations/`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, ForeignKeyConstraint, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from workflows.state.states import DeliveryState, JobState, StudyState

__all__ = ["Base", "DeliveryRow", "InstanceRow", "JobRow", "SeriesRow", "StudyRow"]


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StateColumn(TypeDecorator[Any]):
    """One of our Enums, stored as its value so that a person can read the table."""

    impl = String(16)
    cache_ok = True

    def __init__(self, kind: type[StudyState] | type[JobState] | type[DeliveryState]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self.kind(value)


class Base(DeclarativeBase):
    """Root of the tables, with names for every constraint so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


UID = String(64)


class StudyRow(Base):
    """A study, its current generation and state."""

    __tablename__ = "studies"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    generation: Mapped[int] = mapped_column(default=1)
    state: Mapped[StudyState] = mapped_column(StateColumn(StudyState), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    accession_number: Mapped[str] = mapped_column(String(64), default="")
    source_ae_title: Mapped[str] = mapped_column(String(16), default="")
    plan_reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    first_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wake_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SeriesRow(Base):
    """A series of a study."""

    __tablename__ = "series"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    modality: Mapped[str] = mapped_column(String(16), default="")
    series_description: Mapped[str] = mapped_column(String(256), default="")


class InstanceRow(Base):
    """A stored instance; `path` is relative to the instance store."""

    __tablename__ = "instances"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    path: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    calling_ae_title: Mapped[str] = mapped_column(String(16), default="")
    generation: Mapped[int]
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    lost_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # found without its file

    __table_args__ = (ForeignKeyConstraint(["study_uid", "series_uid"], ["series.study_uid", "series.series_uid"]),)


class JobRow(Base):
    """One series asked the questions of one protocol. The key says what it was asked with."""

    __tablename__ = "jobs"

    job_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    generation: Mapped[int]
    protocol: Mapped[str] = mapped_column(String(128))
    protocol_version: Mapped[str] = mapped_column(String(32))
    questions: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    inputs: Mapped[list[str]] = mapped_column(JSON)  # SOP Instance UID and digest of each input instance
    model: Mapped[dict[str, Any]] = mapped_column(JSON)  # name, version, digest, terms
    profile: Mapped[str] = mapped_column(String(16))
    state: Mapped[JobState] = mapped_column(StateColumn(JobState), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    predecessor_key: Mapped[str | None] = mapped_column(String(64), default=None)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wake_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DeliveryRow(Base):
    """One result object, saved, and how its delivery stands."""

    __tablename__ = "deliveries"

    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    job_key: Mapped[str] = mapped_column(ForeignKey("jobs.job_key"))
    ordinal: Mapped[int]  # SEG before the SR that references it
    kind: Mapped[str] = mapped_column(String(16))
    sop_class_uid: Mapped[str] = mapped_column(UID)
    path: Mapped[str] = mapped_column(Text)  # relative to the data directory
    digest: Mapped[str] = mapped_column(String(64))
    archive: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[DeliveryState] = mapped_column(StateColumn(DeliveryState))
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (Index("ix_deliveries_job_key", "job_key"),)
