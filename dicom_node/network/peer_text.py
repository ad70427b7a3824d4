"""What a peer says in its own words: before it reaches a log, a database or a terminal it goes through here."""

from __future__ import annotations

from dicom_node.errors import IdentifierMismatch
from dicom_node.headers.plain import plain
from dicom_node.identifiers import checked_uid

__all__ = ["LONGEST_COMMENT", "peer_ae_title", "peer_text", "peer_uid"]

LONGEST_COMMENT = 64
"""Characters of Error Comment (0000,0902), an LO."""
_LONGEST = 200
_LONGEST_AE_TITLE = 16


def peer_text(text: str, most: int = _LONGEST) -> str:
    """A peer's text in one line without controls, of at most so many characters.

    It may still hold a patient's name, so that it goes to whom `explain` tells, and never into a log.
    """
    return plain(text, most)


def peer_ae_title(title: object) -> str:
    """A peer's AE title (PS3.5 6.2, AE) without padding and controls."""
    return plain(str(title), _LONGEST_AE_TITLE)


def peer_uid(value: object) -> str:
    """A UID that a peer gives, for a log; where it is none, not what it is: it may be a name in the wrong place."""
    try:
        return checked_uid(str(value), "UID")
    except IdentifierMismatch:
        return "(no UID)"
