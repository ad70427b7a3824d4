"""The worklist's rows: a view that may be deleted at any time and is made again. Only `workflows.state` imports it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from dicom_node.headers.study_facts import StudyFacts
from workflows.state.columns import JSON, Key, String, Text
from workflows.state.records import Priority
from workflows.state.tables import Base, EnumColumn, UtcDateTime
from workflows.state.worklist_records import Chip, ShownState, Tab, WorklistRow

__all__ = ["WorklistEntry", "joined", "split", "values_of"]

_BETWEEN = "|"


def joined(values: tuple[str, ...]) -> str:
    """Several values in one column, each between bars, so that one of them is found by what is around it."""
    named = [value.replace(_BETWEEN, "/") for value in values if value]
    return f"{_BETWEEN}{_BETWEEN.join(named)}{_BETWEEN}" if named else ""


def split(column: str) -> tuple[str, ...]:
    """The inverse of `joined`."""
    return tuple(column.strip(_BETWEEN).split(_BETWEEN)) if column else ()


class WorklistEntry(Base):
    """A study as the worklist shows, filters and orders it. It refers to nothing: a study that is purged leaves it.

    `routine`, `unchanged`: 0 comes first. `shown`: what is only shown.
    """

    __tablename__ = "worklist"

    study_uid: Mapped[str] = mapped_column(Key(), primary_key=True)
    stamp: Mapped[str] = mapped_column(String(64))
    generation: Mapped[int]
    state: Mapped[ShownState] = mapped_column(EnumColumn(ShownState))
    tab: Mapped[Tab] = mapped_column(EnumColumn(Tab))
    needs_attention: Mapped[bool]
    overdue_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    routine: Mapped[int]
    unchanged: Mapped[int]
    first_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    reviewer: Mapped[str] = mapped_column(String(128), default="")
    review_state: Mapped[str] = mapped_column(String(16), default="")
    modalities: Mapped[str] = mapped_column(String(256), default="")
    protocols: Mapped[str] = mapped_column(String(512), default="")
    search: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    shown: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (
        Index("ix_worklist_order", "tab", "routine", "unchanged", "first_received_at", "study_uid"),
        Index("ix_worklist_reviewed_at", "tab", "reviewed_at", "study_uid"),
        Index("ix_worklist_overdue_at", "overdue_at"),
        Index(
            "ix_worklist_counts",
            "tab", "needs_attention", "overdue_at", "state", "routine", "unchanged", "first_received_at", "reviewer",
            "review_state", "modalities", "protocols",
        ),
    )  # fmt: skip

    def record(self) -> WorklistRow:
        shown = dict(self.shown)
        chips = tuple(Chip(**chip) for chip in shown.pop("chips"))
        moments = {name: _moment(shown.pop(name)) for name in _MOMENTS}
        asked = tuple(shown.pop("asked"))
        return WorklistRow(
            study_uid=self.study_uid,
            stamp=self.stamp,
            generation=self.generation,
            search=self.search,
            modalities=split(self.modalities),
            protocols=split(self.protocols),
            asked=asked,
            chips=chips,
            state=self.state,
            tab=self.tab,
            overdue_at=self.overdue_at,
            priority=Priority.ROUTINE if self.routine else Priority.STAT,
            changed=not self.unchanged,
            first_received_at=self.first_received_at,
            reviewed_at=self.reviewed_at,
            answered_at=self.answered_at,
            reviewer=self.reviewer,
            review_state=self.review_state,
            facts=StudyFacts.from_json(self.facts),
            last_received_at=moments["last_received_at"] or self.first_received_at,
            acquired_at=moments["acquired_at"],
            **shown,
        )


_MOMENTS = ("last_received_at", "acquired_at")
_SHOWN = (
    "patient", "patient_id", "accession", "description", "study_date", "study_time", "sex", "age", "not_seen",
    "not_assessed", "answered", "questions", "attention", "remedy", "waits_for", "minutes", "reviewer_name",
    "proposals", "research",
)  # fmt: skip


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def values_of(row: WorklistRow) -> dict[str, Any]:
    """A row's columns."""
    moments = {name: getattr(row, name) for name in _MOMENTS}
    return {
        "study_uid": row.study_uid,
        "stamp": row.stamp,
        "generation": row.generation,
        "state": row.state,
        "tab": row.tab,
        "needs_attention": bool(row.attention),
        "overdue_at": row.overdue_at,
        "routine": int(row.priority is Priority.ROUTINE),
        "unchanged": int(not row.changed),
        "first_received_at": row.first_received_at,
        "reviewed_at": row.reviewed_at,
        "answered_at": row.answered_at,
        "reviewer": row.reviewer,
        "review_state": row.review_state,
        "modalities": joined(row.modalities),
        "protocols": joined(row.protocols),
        "search": row.search,
        "facts": row.facts.as_json(),
        "shown": {
            **{name: getattr(row, name) for name in _SHOWN},
            **{name: None if at is None else at.isoformat() for name, at in moments.items()},
            "asked": list(row.asked),
            "chips": [dict(vars(chip)) for chip in row.chips],
            "verdicts": dict(row.verdicts),
        },
    }
