"""Errors of the workflows.

WorkflowError
├── CallError            wrong call: an argument that names nothing that can be worked on (exit code 2)
├── SettingsError        wrong configuration; the message lists every mistake (exit code 2)
├── ProtocolErrors       reading protocols with mistakes; `.mistakes` has them all (exit code 2)
├── DatabaseUnavailable  the database does not answer; trying again later may help
├── RowRefused           the database will not keep this, however often it is asked
├── AccountRefused       an account that is not there, or that may not be changed so
├── ReviewRefused        a verdict, a signature or a decision that cannot be taken as it is; nothing was changed
├── NotShown             a picture that cannot be shown now; `.why` says whether it may come
├── QuestionRefused      a question about a study that cannot be asked, or an answer that cannot be kept
├── CommissioningStopped the archive does not take, show or give back the synthetic body
└── NotThisWorker        a job that this worker cannot take up, and another or a later one may
    ├── OtherWeights         it was planned for other weights than this worker's
    └── FilesUnreadable      its files cannot be read here
"""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AccountRefused", "CallError", "CommissioningStopped", "DatabaseUnavailable", "FilesUnreadable", "NotShown",
    "NotThisWorker", "OtherWeights", "ProtocolErrors", "ProtocolMistake", "QuestionRefused", "ReviewRefused",
    "RowRefused", "SettingsError", "WorkflowError", "defect",
]  # fmt: skip


class WorkflowError(Exception):
    """Root of everything `workflows` raises on purpose."""


class CallError(WorkflowError):
    """The command was called with something that it cannot work on; another call is needed."""


class SettingsError(WorkflowError):
    """The configuration cannot be used; the message names each setting and the remedy."""


class DatabaseUnavailable(WorkflowError):
    """The database does not answer, or broke off; nothing was changed, and trying again later may help."""


class RowRefused(WorkflowError):
    """The database will not keep what it was given; nothing was changed. The message has no value of a row."""


class AccountRefused(WorkflowError):
    """An account that is not there, is disabled, or may not be changed so; the message says what to do."""


class ReviewRefused(WorkflowError):
    """What a reviewer wants cannot be done as things are; nothing was changed. The message says why and what to do."""


class NotShown(WorkflowError):
    """A picture cannot be shown; the message says what to do. `why`: "fetching", "gone", "damaged" or "refused"."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


class CommissioningStopped(WorkflowError):
    """The synthetic body went no further with an archive; the message says where, why, and what to look at."""


class NotThisWorker(WorkflowError):
    """A job that this worker cannot take up; the message says why, and what helps."""


class OtherWeights(NotThisWorker):
    """The job was planned for other weights than those that this worker holds."""


class FilesUnreadable(NotThisWorker):
    """Files of the job cannot be read on this host."""


def defect(error: BaseException) -> str:
    """An error that nobody foresaw, told as what it is: kind and place, never its text, which may quote headers."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGES.search(frame.filename)]
    frames = frames or list(traceback.extract_tb(error.__traceback__))
    where = "an unknown place"
    if frames:
        file = Path(frames[-1].filename)
        where = f"{'/'.join(file.parts[-3:])} line {frames[-1].lineno} ({frames[-1].name})"
    return f"the program failed: {type(error).__name__} in {where}; please report it"


_PACKAGES = re.compile(r"[/\\](dicom_node|inference|workflows)[/\\]")


@dataclass(frozen=True)
class ProtocolMistake:
    """One mistake in a protocol file. `line` counts from 1; 0 means the file or folder as a whole."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class QuestionRefused(WorkflowError):
    """A question that cannot be asked, or an answer that cannot be kept; the message says why and what to do."""


class ProtocolErrors(WorkflowError):
    """All mistakes of all protocol files at once."""

    def __init__(self, mistakes: tuple[ProtocolMistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes
