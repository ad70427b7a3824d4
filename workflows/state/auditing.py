"""What the audit records, as frozen records: who did what to which study, from where, and with which outcome. Pure.

No record names a patient: `subject` and `details` hold UIDs, names of things and numbers. Whose study it was is looked
up when a message for the audit record repository is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

__all__ = [
    "ASKED_FROM", "NO_DIGEST", "AuditAction", "AuditEntry", "AuditEvent", "AuditFilter", "AuditHead", "ChainFault",
    "Detail", "Outcome", "ReceiverState", "StudyFacts", "study_named",
]  # fmt: skip

Detail = str | int | bool | list[str] | Mapping[str, int]
"""What a detail may be: no fraction, whose digits two databases could keep otherwise."""

NO_DIGEST = "0" * 64
"""What the first row follows."""

ASKED_FROM: ContextVar[str] = ContextVar("asked_from", default="")
"""From where the request comes that is being answered: it stands in each row that names no address of its own."""


class AuditAction(Enum):
    """What was done. `audit_messages.EVENTS` says which message of PS3.15 A.5.3 each becomes."""

    LOOK = "look"
    SEARCH = "search"
    VERDICT = "verdict"
    TAKE_OVER = "take-over"
    WITHDRAW = "withdraw"
    AMEND = "amend"
    REOPEN = "reopen"
    SIGN = "sign"
    UNDO = "undo"
    CORRECT = "correct"
    CONFIRM_CORRECTION = "confirm-correction"
    DISMISS_CORRECTION = "dismiss-correction"
    CORRECTION_REFUSED = "correction-refused"
    ASK = "ask"
    KEEP_ANSWER = "keep-answer"
    DROP_ANSWER = "drop-answer"
    EXPORT = "export"
    LOGIN = "sign-in"
    LOGIN_REFUSED = "sign-in refused"
    LOGOUT = "sign-out"
    FORBIDDEN = "forbidden"
    ACCOUNT_ADDED = "account added"
    ACCOUNT_CHANGED = "account changed"
    LINK_MADE = "link made"
    PASSWORD = "password"
    PURGE = "purge"
    REREAD = "reread"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    RESEND = "resend"
    PULL = "pull"
    QUARANTINE_RELEASE = "quarantine-release"
    QUARANTINE_DISCARD = "quarantine-discard"
    AUDIT_READ = "audit-read"
    AUDIT_VERIFY = "audit-verify"
    AUDIT_EXPORT = "audit-export"
    START = "start"
    STOP = "stop"


class Outcome(Enum):
    """Event Outcome Indicator (PS3.15 A.5.1): what was wanted was done, refused, or failed."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True)
class AuditEvent:
    """Something that a person did or had done.

    `who`: an account, or a user of the operating system. `subject`: UIDs or names of things, never a patient's.
    `address`: from where: an IP address or a host's name; "": not known. `counts`: how much of what.
    """

    who: str
    action: AuditAction
    subject: str = ""
    study_uid: str | None = None
    outcome: Outcome = Outcome.SUCCESS
    address: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditEntry:
    """A row of the audit. `number`: from 1, without gaps. `previous`, `digest`: of the chain, see `audit_chain`."""

    number: int
    at: datetime
    who: str
    action: str
    subject: str
    counts: Mapping[str, int]
    outcome: Outcome = Outcome.SUCCESS
    address: str = ""
    study_uid: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)
    previous: str = NO_DIGEST
    digest: str = NO_DIGEST


@dataclass(frozen=True)
class AuditFilter:
    """Which rows of the audit are meant; what is None does not restrict. `since`, `until`: `until` is not in it."""

    who: str | None = None
    action: str | None = None
    study_uid: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class AuditHead:
    """The end of the chain: how many rows there are, and the digest of the last. It serves as a checkpoint."""

    count: int
    digest: str

    @property
    def text(self) -> str:
        """As commands print and take it: `COUNT:DIGEST`."""
        return f"{self.count}:{self.digest}"

    @staticmethod
    def parse(text: str) -> AuditHead:
        """The inverse of `text`. Raises ValueError."""
        matched = re.fullmatch(r"(\d+):([0-9a-f]{64})", text.strip())
        if matched is None:
            raise ValueError("a checkpoint is NUMBER:DIGEST, as `audit verify` prints it")
        return AuditHead(int(matched[1]), matched[2])


@dataclass(frozen=True)
class ChainFault:
    """Where the chain is broken, and how, in words for a person."""

    number: int
    what: str


@dataclass(frozen=True)
class ReceiverState:
    """How far the audit record repository is. `number`: of the last row that it has. `told`: what went wrong, or ""."""

    number: int = 0
    told: str = ""
    tried_at: datetime | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True)
class StudyFacts:
    """What a message says of a study: whose it is, and how many instances of which SOP class."""

    patient_ids: tuple[str, ...] = ()
    sop_classes: Mapping[str, int] = field(default_factory=dict)


def study_named(subject: str) -> str | None:
    """The study's UID with which a subject begins: alone, or before a slash and the key of a job; or None."""
    uid = subject.partition("/")[0]
    return uid if len(uid) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid) else None
