"""Errors of the workflows.

WorkflowError
├── CallError            wrong call: an argument that names nothing that can be worked on (exit code 2)
├── SettingsError        wrong configuration; the message lists every mistake (exit code 2)
├── ProtocolErrors       reading protocols with mistakes; `.mistakes` has them all (exit code 2)
└── DatabaseUnavailable  the database does not answer; trying again later may help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CallError", "DatabaseUnavailable", "ProtocolErrors", "ProtocolMistake", "SettingsError", "WorkflowError"]


class WorkflowError(Exception):
    """Root of everything `workflows` raises on purpose."""


class CallError(WorkflowError):
    """The command was called with something that it cannot work on; another call is needed."""


class SettingsError(WorkflowError):
    """The configuration cannot be used; the message names each setting and the remedy."""


class DatabaseUnavailable(WorkflowError):
    """The database does not answer, or broke off; nothing was changed, and trying again later may help."""


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
