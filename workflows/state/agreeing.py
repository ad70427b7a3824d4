"""How a reviewer judged one finding, as a frozen record without a trace of the patient. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

__all__ = ["AgreementCase", "AgreementFilter", "CaseKind", "Grouping"]


class CaseKind(Enum):
    """What a reviewer said: a verdict on a finding, or that one was missed."""

    ACCEPT = "accept"
    OUTLINE = "outline"
    NAME = "name"
    NOT_THERE = "not-there"
    MISSED = "missed"


class Grouping(Enum):
    """By what cases are put together."""

    QUESTION = "question"
    FINDING = "finding"
    PROTOCOL = "protocol"
    WEIGHTS = "weights"
    SCANNER = "scanner"


@dataclass(frozen=True)
class AgreementCase:
    """One finding of a written review.

    `review`: a number that tells reviews apart and says nothing else. `question`: its text where a protocol asks it.
    `finding`: a label that the node has codes for, or "other". `protocol`: with its version. `weights`: name, version,
    digest. `scanner`: manufacturer, model and station. `dice`: of the corrected mask and ours; `before_ml`, `after_ml`:
    their volumes; None where nothing was corrected, or the grid has no volume.
    """

    review: int
    written_at: datetime
    question: str
    finding: str
    protocol: str
    weights: str
    scanner: str
    kind: CaseKind
    dice: float | None = None
    before_ml: float | None = None
    after_ml: float | None = None

    def of(self, grouping: Grouping) -> str:
        """In which group it is."""
        return str(getattr(self, grouping.value))


@dataclass(frozen=True)
class AgreementFilter:
    """Which cases are meant; what is None does not restrict. `until` is not in it."""

    question: str | None = None
    finding: str | None = None
    protocol: str | None = None
    weights: str | None = None
    scanner: str | None = None
    since: datetime | None = None
    until: datetime | None = None
