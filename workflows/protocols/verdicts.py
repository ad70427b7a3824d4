"""Verdict: what one reading protocol says of one series, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether a protocol asks a series, and the reason.

    `protocol`: name and version, or the name alone where it does not ask. `series_uid`: None where the verdict speaks
    of the whole study.
    """

    asked: bool
    protocol: str
    series_uid: str | None
    reason: str
