"""Reading protocols that are and were in service, byte for byte: a result can name what asked it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from workflows.errors import ProtocolMistake
from workflows.state.rule_tables import ProtocolsInServiceRow, ProtocolVersionRow
from workflows.state.tables import JobRow
from workflows.state.transactions import Transactions

__all__ = ["ProtocolSet", "ProtocolVersion", "RefusedEdit", "Rules"]


@dataclass(frozen=True)
class ProtocolVersion:
    """A file of a reading protocol as it was in service. `digest`: SHA-256 of `contents`. `file`: its name then."""

    digest: str
    name: str
    version: str
    title: str
    file: str
    contents: bytes
    first_used_at: datetime | None = None

    @property
    def named(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class ProtocolSet:
    """What is in service. `digest`: of the whole folder. `versions`: its files, in order of their names."""

    digest: str
    taken_at: datetime
    versions: tuple[ProtocolVersion, ...]


@dataclass(frozen=True)
class RefusedEdit:
    """A folder that was not taken, with all of its mistakes; what was in service before still is."""

    digest: str
    refused_at: datetime
    mistakes: tuple[ProtocolMistake, ...]


class Rules(Transactions):
    """Transactions of the reading protocols in service."""

    def protocols_in_service(self) -> ProtocolSet | None:
        """The set that was taken last, with the text of each file; None: none ever was."""
        with self._reading() as session:
            row = session.get_one(ProtocolsInServiceRow, 1)
            if row.taken_at is None:
                return None
            held = {one.digest: one for one in _versions(session, list(row.files.values()))}
            versions = tuple(_record(held[digest], file) for file, digest in sorted(row.files.items()))
            return ProtocolSet(row.digest, row.taken_at, versions)

    def refused_edit(self) -> RefusedEdit | None:
        """The folder that was refused last; None: none was since a set was taken, or the edit was undone."""
        with self._reading() as session:
            row = session.get_one(ProtocolsInServiceRow, 1)
            if row.refused_at is None:
                return None
            mistakes = (ProtocolMistake(Path(one["file"]), one["line"], one["message"]) for one in row.mistakes)
            return RefusedEdit(row.refused_digest, row.refused_at, tuple(mistakes))

    def take_protocols(self, digest: str, versions: Sequence[ProtocolVersion]) -> bool:
        """Put a set into service and keep each of its versions. False: it was already, by another process."""
        now = self._clock()
        with self._writing() as session:
            row = session.get_one(ProtocolsInServiceRow, 1, with_for_update=True)
            known = {one.digest for one in _versions(session, [one.digest for one in versions])}
            session.add_all(_row(one, now) for one in versions if one.digest not in known)
            row.refused_digest, row.refused_at, row.mistakes = "", None, []
            if row.taken_at is not None and row.digest == digest:
                return False
            row.digest, row.taken_at = digest, now
            row.files = {one.file: one.digest for one in versions}
            return True

    def refuse_protocols(self, digest: str, mistakes: Sequence[ProtocolMistake]) -> bool:
        """Keep that a folder was refused, and why. False: it is known already."""
        now = self._clock()
        with self._writing() as session:
            row = session.get_one(ProtocolsInServiceRow, 1, with_for_update=True)
            if row.refused_at is not None and row.refused_digest == digest:
                return False
            row.refused_digest, row.refused_at = digest, now
            row.mistakes = [{"file": str(one.file), "line": one.line, "message": one.message} for one in mistakes]
            return True

    def forget_refused_edit(self) -> None:
        """The folder holds again what is in service."""
        with self._writing() as session:
            row = session.get_one(ProtocolsInServiceRow, 1, with_for_update=True)
            row.refused_digest, row.refused_at, row.mistakes = "", None, []

    def protocol_version(self, digest: str) -> ProtocolVersion | None:
        """One version with its text, by digest, as a job keeps it; None: it was never in service."""
        with self._reading() as session:
            row = session.get(ProtocolVersionRow, digest)
            return None if row is None else _record(row)

    def protocol_versions(self, name: str | None = None) -> list[ProtocolVersion]:
        """Every version that was ever in service, of one protocol or of all, by name, the latest first."""
        chosen = select(ProtocolVersionRow).order_by(
            ProtocolVersionRow.name, ProtocolVersionRow.first_used_at.desc(), ProtocolVersionRow.digest
        )
        if name is not None:
            chosen = chosen.where(ProtocolVersionRow.name == name)
        with self._reading() as session:
            return [_record(row) for row in session.scalars(chosen)]

    def planned_with(self, digests: Collection[str]) -> set[str]:
        """Those of some versions, by digest, that a job was planned with."""
        with self._reading() as session:
            chosen = select(JobRow.protocol_digest).where(JobRow.protocol_digest.in_(digests)).distinct()
            return set(session.scalars(chosen))


def _versions(session: Session, digests: Sequence[str]) -> Sequence[ProtocolVersionRow]:
    return session.scalars(select(ProtocolVersionRow).where(ProtocolVersionRow.digest.in_(digests))).all()


def _row(version: ProtocolVersion, now: datetime) -> ProtocolVersionRow:
    return ProtocolVersionRow(
        digest=version.digest,
        name=version.name,
        version=version.version,
        title=version.title,
        file=version.file,
        contents=version.contents,
        first_used_at=now,
    )


def _record(row: ProtocolVersionRow, file: str | None = None) -> ProtocolVersion:
    return ProtocolVersion(
        digest=row.digest,
        name=row.name,
        version=row.version,
        title=row.title,
        file=file or row.file,
        contents=row.contents,
        first_used_at=row.first_used_at,
    )
