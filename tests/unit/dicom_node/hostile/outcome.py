"""Where a hostile input comes in, and what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum

_MARK = "outcome "
"""What begins a line with an outcome: the rest of what a process prints is its log."""


class Way(Enum):
    """Where an input comes in."""

    SERIES = "a series that is read"
    INTAKE = "an instance that is received"
    REPORT = "an earlier report that is read back"
    COMMITMENT = "an archive's answer to storage commitment"
    PROTOCOL = "a reading protocol"


@dataclass(frozen=True)
class Outcome:
    """`told`: the refusal, "" where it was read; `failure`: an error that is no refusal, "" where there was none."""

    told: str
    failure: str
    seconds: float
    peak_mb: int

    def line(self) -> str:
        return _MARK + json.dumps(asdict(self))

    @staticmethod
    def of_line(line: str) -> Outcome | None:
        return Outcome(**json.loads(line.removeprefix(_MARK))) if line.startswith(_MARK) else None
