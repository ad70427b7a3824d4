"""CodedHeader: a coded concept as a header gives it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CodedHeader"]


@dataclass(frozen=True)
class CodedHeader:
    """A coded concept as it stands in a header (PS3.3 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str = ""
