"""The chain of the audit: each row carries the SHA-256 of the row before it and of its own content.

    digest = SHA-256(previous digest, in hexadecimal digits + line feed + content)
    content = JSON of the row with sorted keys, without spaces, in ASCII; the time in UTC with microseconds

There is one chain. A row is appended under the lock of the one row that tells its end, as the last thing that a
transaction does: so there is neither gap nor fork however many processes append, and nobody waits in a circle. What a
savepoint that was rolled back had appended stays: record nothing within one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from workflows.state.audit_tables import AuditHeadRow, AuditRow
from workflows.state.auditing import ASKED_FROM, NO_DIGEST, AuditEntry, AuditEvent, AuditHead, ChainFault
from workflows.state.columns import clean_json, clean_text

__all__ = ["append_at_commit", "content_of", "digest_of", "faults_in"]

_WAITING = "medseg_audit"


def content_of(entry: AuditEntry) -> str:
    """What of a row the chain covers: all but its two digests."""
    values = {
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "who": entry.who,
        "action": entry.action,
        "subject": entry.subject,
        "counts": dict(entry.counts),
        "outcome": entry.outcome.value,
        "address": entry.address,
        "study_uid": entry.study_uid,
        "details": dict(entry.details),
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(previous: str, entry: AuditEntry) -> str:
    """The digest of a row that follows one with the digest `previous`: 64 hexadecimal digits."""
    return hashlib.sha256(f"{previous}\n{content_of(entry)}".encode()).hexdigest()


def append_at_commit(session: Session, at: datetime, happened: AuditEvent, action: str | None = None) -> None:
    """Append a row when the session's transaction is committed. `action`: one that `AuditAction` does not name."""
    session.info.setdefault(_WAITING, []).append((at, happened, action or happened.action.value))


@event.listens_for(Session, "before_commit")
def _append(session: Session) -> None:
    if session.in_nested_transaction():
        return
    waiting: list[tuple[datetime, AuditEvent, str]] = session.info.pop(_WAITING, [])
    if not waiting:
        return
    head = _locked_head(session)
    for at, happened, action in waiting:
        entry = _entry(head.count + 1, at, happened, action)
        digest = digest_of(head.digest, entry)
        session.add(_row(entry, head.digest, digest))
        head.count, head.digest = entry.number, digest


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_WAITING, None)


def _locked_head(session: Session) -> AuditHeadRow:
    head = session.get(AuditHeadRow, 1, with_for_update=True, populate_existing=True)
    if head is None:  # somebody removed it: verification cannot tell a cut end from before, but work goes on
        last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
        count, digest = (0, NO_DIGEST) if last is None else (last.number, last.digest)
        head = AuditHeadRow(number=1, count=count, digest=digest)
        session.add(head)
    return head


def _entry(number: int, at: datetime, happened: AuditEvent, action: str) -> AuditEntry:
    """The row as the database gives it back: what its columns would cut or clean is cut and clean already."""
    return AuditEntry(
        number=number,
        at=at.astimezone(UTC),
        who=clean_text(happened.who, 256),
        action=clean_text(action, 32),
        subject=clean_text(happened.subject),
        counts=clean_json(dict(happened.counts)),
        outcome=happened.outcome,
        address=clean_text(happened.address or ASKED_FROM.get(), 256),
        study_uid=happened.study_uid,
        details=clean_json(dict(happened.details)),
    )


def _row(entry: AuditEntry, previous: str, digest: str) -> AuditRow:
    return AuditRow(
        number=entry.number,
        at=entry.at,
        who=entry.who,
        action=entry.action,
        subject=entry.subject,
        counts=dict(entry.counts),
        outcome=entry.outcome.value,
        address=entry.address,
        study_uid=entry.study_uid,
        details=dict(entry.details),
        previous=previous,
        digest=digest,
    )


def faults_in(
    entries: Iterable[AuditEntry], head: AuditHead | None, checkpoints: Iterable[AuditHead] = ()
) -> Iterator[ChainFault]:
    """Where rows, in order of their numbers, are not the chain that was recorded up to `head`.

    `checkpoints`: ends of the chain as they were told earlier; they find what was recorded anew from some row on.
    """
    number, digest = 0, NO_DIGEST
    known = {point.count: point.digest for point in checkpoints}
    for entry in entries:
        gap = entry.number - number - 1
        if gap > 0:
            yield ChainFault(number + 1, f"{_numbers(number + 1, entry.number - 1)} gone: removed")
        if head is not None and entry.number > head.count:
            yield ChainFault(entry.number, f"number {entry.number} stands behind the recorded end: inserted")
        if digest_of(entry.previous, entry) != entry.digest:
            yield ChainFault(entry.number, f"number {entry.number} is not as it was recorded: changed, or moved")
        elif not gap and entry.previous != digest:
            yield ChainFault(
                entry.number,
                f"number {entry.number} does not follow number {number}: one of them was changed, moved or inserted",
            )
        if known.pop(entry.number, entry.digest) != entry.digest:
            yield ChainFault(entry.number, f"number {entry.number} is not what the checkpoint says: recorded anew")
        number, digest = entry.number, entry.digest
    yield from _at_the_end(number, digest, head, known)


def _at_the_end(number: int, digest: str, head: AuditHead | None, missed: dict[int, str]) -> Iterator[ChainFault]:
    if head is None:
        yield ChainFault(number, "the record of the chain's end is gone: whether rows were cut off cannot be told")
    elif head.count > number:
        yield ChainFault(number + 1, f"{_numbers(number + 1, head.count)} gone: the end was cut off")
    elif head.count == number and head.digest != digest:
        yield ChainFault(number, f"number {number} is not the row that the recorded end names: changed")
    for point in sorted(missed):
        if point and (head is None or head.count < point):
            yield ChainFault(point, f"number {point}, which the checkpoint names, is gone: the end was cut off")


def _numbers(first: int, last: int) -> str:
    return f"number {first} is" if first == last else f"numbers {first} to {last} are"
