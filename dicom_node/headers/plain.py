"""Texts that others wrote, as a log line, a database and a terminal can hold them."""

from __future__ import annotations

import unicodedata

__all__ = ["plain"]

_LEFT_OUT = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of writing round (Unicode UAX 9)."""
_LOOKED_AT = 64
"""So many times the length that is kept is looked at: the rest of megabytes would only be thrown away."""


def plain(text: str, most: int | None = None) -> str:
    """A text in one line, of at most so many characters.

    Controls (NUL, which PostgreSQL does not take, line ends, ESC), halves of letters and what turns the direction of
    writing round become spaces; no two spaces follow each other.
    """
    looked_at = text if most is None else text[: _LOOKED_AT * most]
    if not looked_at.isprintable():
        looked_at = "".join(" " if _left_out(letter) else letter for letter in looked_at)
    line = " ".join(looked_at.split())
    return line if most is None else line[:most].rstrip()


def _left_out(letter: str) -> bool:
    return letter in _TURNS or unicodedata.category(letter) in _LEFT_OUT
