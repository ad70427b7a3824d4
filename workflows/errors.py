"""Errors of the workflows.

WorkflowError
├── CallError            wrong call: an argument that names nothing that can be worked on (exit code 2)
├── SettingsError        wrong configuration; the message lists every mistake (exit code 2)
├── ProtocolErrors       reading protocols with mistakes; `.mistakes` has them all (exit code 2)
├── DatabaseUnavailable  the database does not answer; trying again later may help
├── RowRefused           the database will not keep this, however often it is asked
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
    "CallError", "CommissioningStopped", "DatabaseUnavailable", "FilesUnreadable", "NotThisWorker", "OtherWeights",
    "ProtocolErrors", "ProtocolMistake", "RowRefused", "SettingsError", "WorkflowError", "defect",
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


class ProtocolErrors(WorkflowError):
    """All mistakes of all protocol files at once."""

    def __init__(self, mistakes: tuple[ProtocolMistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes
