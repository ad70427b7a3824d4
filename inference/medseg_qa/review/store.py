"""The review queue in one SQLite file: items, verdicts, and the history of every change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from inference.medseg_qa.errors import ReviewError
from inference.medseg_qa.records import RECORDS_FILE, Conversation, Record, Turn, record_from_json, turn_from_json
from inference.medseg_qa.review.agreement import cohens_kappa

__all__ = ["Decision", "Item", "ReviewStore", "Summary"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL, byte_offset INTEGER NOT NULL,
    readers INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdict (
    item TEXT NOT NULL REFERENCES item(id), reader TEXT NOT NULL, decision TEXT NOT NULL, reason TEXT NOT NULL,
    turns TEXT, at TEXT NOT NULL, PRIMARY KEY (item, reader));
CREATE TABLE IF NOT EXISTS history (
    number INTEGER PRIMARY KEY, item TEXT NOT NULL, reader TEXT NOT NULL, decision TEXT NOT NULL, reason TEXT NOT NULL,
    before TEXT, after TEXT, at TEXT NOT NULL);
"""


class Decision(Enum):
    """A reader's verdict."""

    ACCEPT = "accept"
    EDIT = "edit"
    REJECT = "reject"


@dataclass(frozen=True)
class Item:
    """A conversation in the queue with its record; `own` is this reader's verdict so far."""

    position: int
    id: str
    record: Record
    conversation: Conversation
    readers: int
    own: Decision | None
    reason: str


@dataclass(frozen=True)
class Summary:
    """Where the review stands; kappa over items that two readers judged."""

    items: int
    finished: int
    accepted: int
    rejected: int
    disputed: int
    kappa: float | None


class ReviewStore:
    """Queue and verdicts; each call opens its own connection, so that threads may share a store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=10)
        except sqlite3.Error as error:
            raise ReviewError(f"cannot open {self._path}: {error}") from error
        try:
            with connection:
                yield connection
        except sqlite3.Error as error:
            raise ReviewError(f"{self._path}: {error}") from error
        finally:
            connection.close()

    def queue(self, directory: Path, *, readers: int = 1, limit: int | None = None) -> int:
        """Queue conversations that are not in it yet; returns how many. Raises SourceError for a broken set."""
        added = 0
        with self._connected() as connection, (directory / RECORDS_FILE).open("rb") as lines:
            known = {row[0] for row in connection.execute("SELECT id FROM item")}
            position, offset = len(known), 0
            for line in lines:
                record = record_from_json(line.decode())
                for conversation in record.conversations:
                    if conversation.id in known or (limit is not None and added >= limit):
                        continue
                    row = (position, conversation.id, record.id, offset, readers)
                    connection.execute("INSERT INTO item VALUES (?, ?, ?, ?, ?)", row)
                    position, added = position + 1, added + 1
                offset += len(line)
        return added

    def next_position(self, reader: str, after: int = -1) -> int | None:
        """The next item that still needs this reader, after a position, or from the start if none follows."""
        query = """SELECT position FROM item WHERE position > ?
            AND NOT EXISTS (SELECT 1 FROM verdict WHERE item = item.id AND reader = ?)
            AND (SELECT count(*) FROM verdict WHERE item = item.id) < readers ORDER BY position LIMIT 1"""
        with self._connected() as connection:
            row = connection.execute(query, (after, reader)).fetchone()
            if row is None and after >= 0:
                row = connection.execute(query, (-1, reader)).fetchone()
        return None if row is None else int(row[0])

    def item(self, directory: Path, position: int, reader: str) -> Item:
        """The item at a position with this reader's changes; raises ReviewError if there is none."""
        query = """SELECT item.id, byte_offset, readers, decision, reason, turns FROM item
            LEFT JOIN verdict ON verdict.item = item.id AND verdict.reader = ? WHERE position = ?"""
        with self._connected() as connection:
            row = connection.execute(query, (reader, position)).fetchone()
        if row is None:
            raise ReviewError(f"no item at position {position}")
        identifier, offset, readers, decision, reason, turns = row
        record = _record_at(directory, offset)
        conversation = next((c for c in record.conversations if c.id == identifier), None)
        if conversation is None:
            raise ReviewError(f"{identifier} is no longer in the set; the set was built anew after it was queued")
        if turns:
            conversation = Conversation(conversation.id, conversation.annotator, _turns(turns))
        own = None if decision is None else Decision(decision)
        return Item(position, identifier, record, conversation, readers, own, reason or "")

    def decide(
        self, item: Item, reader: str, decision: Decision, reason: str, turns: tuple[Turn, ...] | None = None
    ) -> None:
        """Record a verdict and its history; a reader may change their mind.

        Raises ReviewError for a reject without reason, an edit without turns, an unnamed reader, or an item that has
        its readers already.
        """
        if not reader.strip():
            raise ReviewError("a verdict needs the reader's name")
        if decision is Decision.REJECT and not reason.strip():
            raise ReviewError("a reject needs a reason")
        if (decision is Decision.EDIT) != (turns is not None):
            raise ReviewError("an edit, and only an edit, brings new turns")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = _turns_json(item.conversation.turns)
        after = None if turns is None else _turns_json(turns)
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            others = connection.execute(
                "SELECT count(*) FROM verdict WHERE item = ? AND reader != ?", (item.id, reader)
            ).fetchone()[0]
            if others >= item.readers:
                raise ReviewError(f"{item.id} has its {item.readers} readers already")
            connection.execute(
                "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?)",
                (item.id, reader, decision.value, reason, after, now),
            )
            connection.execute(
                "INSERT INTO history (item, reader, decision, reason, before, after, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (item.id, reader, decision.value, reason, before, after, now),
            )

    def history(self, identifier: str) -> list[dict[str, str | None]]:
        """Every change of an item, oldest first."""
        names = ("reader", "decision", "reason", "before", "after", "at")
        query = f"SELECT {', '.join(names)} FROM history WHERE item = ? ORDER BY number"
        with self._connected() as connection:
            return [dict(zip(names, row, strict=True)) for row in connection.execute(query, (identifier,))]

    def accepted(self) -> dict[str, tuple[Turn, ...] | None]:
        """Items that all their readers accepted, with the turns of the last edit or None if nobody edited."""
        found: dict[str, tuple[Turn, ...] | None] = {}
        for identifier, verdicts, readers in self._verdicts():
            if len(verdicts) < readers or any(decision is Decision.REJECT for _, decision, _ in verdicts):
                continue
            edits = [turns for _, _, turns in verdicts if turns]
            found[identifier] = _turns(edits[-1]) if edits else None
        return found

    def summary(self) -> Summary:
        """Counts and Cohen's kappa over accept, edit and reject."""
        with self._connected() as connection:
            items = connection.execute("SELECT count(*) FROM item").fetchone()[0]
        judged = list(self._verdicts())
        finished = [verdicts for _, verdicts, readers in judged if len(verdicts) >= readers]
        rejects = [sum(decision is Decision.REJECT for _, decision, _ in verdicts) for verdicts in finished]
        both = [sorted(found, key=lambda verdict: verdict[0])[:2] for _, found, _ in judged if len(found) >= 2]
        return Summary(
            items=int(items),
            finished=len(finished),
            accepted=sum(count == 0 for count in rejects),
            rejected=sum(count == len(verdicts) for count, verdicts in zip(rejects, finished, strict=True)),
            disputed=sum(0 < count < len(verdicts) for count, verdicts in zip(rejects, finished, strict=True)),
            kappa=cohens_kappa([(first[1].value, second[1].value) for first, second in both]),
        )

    def _verdicts(self) -> Iterator[tuple[str, list[tuple[str, Decision, str | None]], int]]:
        query = """SELECT item.id, readers, reader, decision, turns FROM verdict JOIN item ON item.id = verdict.item
            ORDER BY position, verdict.at, reader"""
        found: dict[str, tuple[list[tuple[str, Decision, str | None]], int]] = {}
        with self._connected() as connection:
            for identifier, readers, reader, decision, turns in connection.execute(query):
                found.setdefault(identifier, ([], readers))[0].append((reader, Decision(decision), turns))
        return ((identifier, verdicts, readers) for identifier, (verdicts, readers) in found.items())


def _record_at(directory: Path, offset: int) -> Record:
    with (directory / RECORDS_FILE).open("rb") as lines:
        lines.seek(offset)
        return record_from_json(lines.readline().decode())


def _turns_json(turns: tuple[Turn, ...]) -> str:
    rows = [{**asdict(turn), "kind": turn.kind.value} for turn in turns]
    return json.dumps(rows, sort_keys=True, ensure_ascii=False)


def _turns(text: str) -> tuple[Turn, ...]:
    return tuple(turn_from_json(row) for row in json.loads(text))
