"""Truth: yes, no, or unknown because a header does not say (Kleene's strong logic). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = ["Truth", "all_of", "any_of"]


class Truth(Enum):
    """Whether a condition holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"

    def __invert__(self) -> Truth:
        return _NO if self is _YES else _YES if self is _NO else self


_YES, _NO, _UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN


def all_of(truths: Iterable[Truth]) -> Truth:
    """NO if one is NO, else UNKNOWN if one is UNKNOWN; YES of none."""
    found = _YES
    for truth in truths:
        if truth is _NO:
            return truth
        if truth is _UNKNOWN:
            found = truth
    return found


def any_of(truths: Iterable[Truth]) -> Truth:
    """YES if one is YES, else UNKNOWN if one is UNKNOWN; NO of none."""
    found = _NO
    for truth in truths:
        if truth is _YES:
            return truth
        if truth is _UNKNOWN:
            found = truth
    return found
