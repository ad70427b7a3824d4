"""Names that may have been meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["similar_name"]


def similar_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like one that is not known, or None where none is alike."""
    matches = get_close_matches(name, list(known), n=1)
    return matches[0] if matches else None
