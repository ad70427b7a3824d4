"""One line of the matrix's report: what was done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Line"]


@dataclass(frozen=True)
class Line:
    """`told`: counts, or which promise was broken."""

    name: str
    stage: str
    fault: str
    database: str
    broker: str
    kept: bool = False
    told: str = ""
    seconds: float = 0.0
