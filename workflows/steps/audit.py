"""Audit messages on their way out: to a file that an administrator wants, and to the audit record repository."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from io import StringIO
from typing import Any, TextIO

import structlog

from dicom_node.audit.message import as_xml
from dicom_node.audit.syslog import SyslogReceiver, send_messages, syslog_frame
from dicom_node.errors import PeerUnreachable
from workflows.state.auditing import AuditEntry, Outcome, StudyFacts
from workflows.state.repository import Repository
from workflows.steps.audit_messages import message_of

__all__ = ["AuditExport", "AuditFormat", "AuditSender", "Naming", "entry_as_json", "write_entries"]

log = structlog.get_logger()

_AT_ONCE = 200


@dataclass(frozen=True)
class Naming:
    """How messages name the node. `source_id`: Audit Source ID. `host`: the machine, for syslog."""

    source_id: str
    ae_title: str
    host: str


class AuditFormat(Enum):
    """How rows of the audit are written to a file."""

    XML = "xml"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class AuditExport:
    """What rows are written with: how the node is named, and what is known of studies."""

    naming: Naming
    facts: Callable[[str], StudyFacts]


def entry_as_json(entry: AuditEntry) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "who": entry.who,
        "action": entry.action,
        "subject": entry.subject,
        "study_uid": entry.study_uid,
        "outcome": entry.outcome.name.lower().replace("_", " "),
        "address": entry.address,
        "counts": dict(entry.counts),
        "details": dict(entry.details),
        "previous": entry.previous,
        "digest": entry.digest,
    }


def write_entries(entries: Iterable[AuditEntry], form: AuditFormat, file: TextIO, export: AuditExport) -> int:
    """Write rows and return how many. XML: one `AuditMessages` element with a message each, which name the patient.

    JSON Lines and CSV have the rows as they are: they name no patient.
    """
    lines = {AuditFormat.XML: _xml_lines, AuditFormat.JSONL: _json_lines, AuditFormat.CSV: _csv_lines}
    head, *rest = {
        AuditFormat.XML: ('<?xml version="1.0" encoding="utf-8"?>\n<AuditMessages>\n', "</AuditMessages>\n"),
        AuditFormat.JSONL: ("",),
        AuditFormat.CSV: (_csv_line(_COLUMNS),),
    }[form]
    count = 0
    file.write(head)
    for line in lines[form](entries, export):
        file.write(line)
        count += 1
    file.writelines(rest)
    return count


_COLUMNS = (
    "number", "at", "who", "action", "subject", "study_uid", "outcome", "address", "counts", "details", "previous",
    "digest",
)  # fmt: skip


def _xml_lines(entries: Iterable[AuditEntry], export: AuditExport) -> Iterator[str]:
    for message in _messages(entries, lru_cache(maxsize=1000)(export.facts), export.naming):
        yield message.partition(b"?>")[2].decode() + "\n"


def _json_lines(entries: Iterable[AuditEntry], _export: AuditExport) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(entry_as_json(entry), ensure_ascii=False) + "\n"


def _csv_lines(entries: Iterable[AuditEntry], _export: AuditExport) -> Iterator[str]:
    for entry in entries:
        row = entry_as_json(entry)
        yield _csv_line([_cell(row[column]) for column in _COLUMNS])


def _csv_line(values: Iterable[str]) -> str:
    line = StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()


def _cell(value: Any) -> str:
    """A value as CSV has it. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _messages(entries: Iterable[AuditEntry], facts: Callable[[str], StudyFacts], naming: Naming) -> Iterator[bytes]:
    for entry in entries:
        known = StudyFacts() if entry.study_uid is None else facts(entry.study_uid)
        yield as_xml(message_of(entry, known, naming.source_id, naming.ae_title))


class AuditSender:
    """Sends every row to the audit record repository, in order, at least once; where it got to stands in the database.

    A repository that is away blocks nobody: the rows wait, and only this sender waits for it.
    """

    def __init__(self, repository: Repository, receiver: SyslogReceiver, naming: Naming) -> None:
        self._repository, self._receiver, self._naming = repository, receiver, naming
        self._told = ""

    def send_waiting(self) -> int:
        """Send what waits, portion by portion; return how many rows were taken. A repository that is away: 0.

        The receiver's state says what went wrong; the log says it once.
        """
        sent = 0
        while entries := self._repository.audit_unsent(_AT_ONCE):
            try:
                send_messages(self._receiver, self._frames(entries))
            except PeerUnreachable as error:
                self._away(str(error))
                return sent
            self._repository.note_sent(entries[-1].number)
            sent += len(entries)
            if self._told:
                log.warning("audit_receiver_back", receiver=self._receiver.name, sent=sent)
                self._told = ""
        return sent

    def _frames(self, entries: list[AuditEntry]) -> Iterator[bytes]:
        facts = lru_cache(maxsize=None)(self._repository.study_facts)
        for entry, xml in zip(entries, _messages(entries, facts, self._naming), strict=True):
            failed = entry.outcome is not Outcome.SUCCESS
            yield syslog_frame(xml, entry.at, self._naming.host, failed=failed)

    def _away(self, told: str) -> None:
        self._repository.note_sent(None, told)
        if told != self._told:
            log.warning("audit_receiver_away", reason=told)
        self._told = told
