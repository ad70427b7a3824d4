"""The tables of reviews: verdicts, corrections, proposals, and who has what open. Only `workflows.state` imports it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from dicom_node.identifiers import StudyUID
from workflows.state.columns import JSON, BigInteger, Key, String, Text
from workflows.state.reviewing import (
    Correction,
    FindingPlace,
    FindingVerdict,
    Missed,
    Opening,
    Proposal,
    ProposalState,
    Review,
    ReviewState,
    WrongWords,
)
from workflows.state.tables import Base, EnumColumn, UtcDateTime

__all__ = ["CorrectionRow", "OpeningRow", "ProposalRow", "ReviewRow"]


class ReviewRow(Base):
    """One review of a study. `write_at`: when it is written. `attempts`: how often that was begun since.

    `settled`: why a person had to look at the study until it was signed. `results`: by job key, the answers that were
    signed; of a written review, as the reviewer has them. `lease_owner`, `lease_until`: who is writing it, and until
    when nobody else may. `verdicts`: those on findings, then answers whose words are wrong.
    """

    __tablename__ = "reviews"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int]
    state: Mapped[ReviewState] = mapped_column(EnumColumn(ReviewState))
    version: Mapped[int] = mapped_column(default=1)
    reviewer: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(Text, default="")
    verdicts: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    missed: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    settled: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    signed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    write_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    written_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    lease_owner: Mapped[str | None] = mapped_column(String(128), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    results: Mapped[dict[str, list[dict[str, Any]]]] = mapped_column(JSON, default=dict)

    __table_args__ = (
        Index("ix_reviews_due", "state", "write_at"),
        Index("ix_reviews_changed_at", "changed_at"),
        Index("ix_reviews_reviewer", "reviewer", "state"),
    )

    def record(self) -> Review:
        return Review(
            study_uid=StudyUID(self.study_uid),
            number=self.number,
            generation=self.generation,
            state=self.state,
            version=self.version,
            reviewer=self.reviewer,
            name=self.name,
            verdicts=tuple(FindingVerdict.from_json(entry) for entry in self.verdicts if "place" in entry),
            missed=tuple(Missed.from_json(entry) for entry in self.missed),
            reason=self.reason,
            started_at=self.started_at,
            changed_at=self.changed_at,
            signed_at=self.signed_at,
            write_at=self.write_at,
            written_at=self.written_at,
            words=tuple(WrongWords.from_json(entry) for entry in self.verdicts if "place" not in entry),
        )

    def say(self, verdicts: Sequence[FindingVerdict], missed: Sequence[Missed], words: Sequence[WrongWords]) -> None:
        """Have it say this, and nothing else."""
        self.verdicts = [*(one.as_json() for one in verdicts), *(one.as_json() for one in words)]
        self.missed = [one.as_json() for one in missed]


class CorrectionRow(Base):
    """A corrected mask; the same mask for the same part is the same row."""

    __tablename__ = "corrections"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    digest: Mapped[str] = mapped_column(Key(), primary_key=True)
    job_key: Mapped[str] = mapped_column(Key())
    part: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    made_by: Mapped[str] = mapped_column(String(128))
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    voxels: Mapped[int] = mapped_column(BigInteger)
    proposal: Mapped[str | None] = mapped_column(Key(), default=None)

    def record(self) -> Correction:
        return Correction(
            study_uid=StudyUID(self.study_uid),
            digest=self.digest,
            job_key=self.job_key,
            part=self.part,
            path=Path(self.path),
            made_by=self.made_by,
            made_at=self.made_at,
            voxels=self.voxels,
            proposal=self.proposal,
        )


class ProposalRow(Base):
    """A segment of a foreign SEG that corrects a result of ours."""

    __tablename__ = "proposals"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    seg_uid: Mapped[str] = mapped_column(Key(), primary_key=True)
    segment: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_key: Mapped[str] = mapped_column(Key())
    part: Mapped[int]
    place: Mapped[str | None] = mapped_column(String(96), default=None)
    label: Mapped[str] = mapped_column(String(64), default="")
    author: Mapped[str] = mapped_column(Text, default="")
    matched_by: Mapped[str] = mapped_column(Text, default="")
    correction: Mapped[str] = mapped_column(Key())
    state: Mapped[ProposalState] = mapped_column(EnumColumn(ProposalState))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str] = mapped_column(String(128), default="")
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    def record(self) -> Proposal:
        return Proposal(
            sop_instance_uid=self.seg_uid,
            segment=self.segment,
            study_uid=StudyUID(self.study_uid),
            job_key=self.job_key,
            part=self.part,
            place=None if self.place is None else FindingPlace.parse(self.place),
            label=self.label,
            author=self.author,
            matched_by=self.matched_by,
            correction=self.correction,
            state=self.state,
            received_at=self.received_at,
            decided_by=self.decided_by,
            decided_at=self.decided_at,
        )


class OpeningRow(Base):
    """A study that an account has open in a page."""

    __tablename__ = "openings"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    account: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(Text, default="")
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)

    def record(self) -> Opening:
        return Opening(StudyUID(self.study_uid), self.account, self.name, self.seen_at)
