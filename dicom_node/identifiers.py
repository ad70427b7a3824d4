"""UIDs as types, and UIDs that are derived instead of invented."""

from __future__ import annotations

import re
import uuid
from typing import NewType

from dicom_node.errors import IdentifierMismatch

__all__ = ["SOPInstanceUID", "SeriesUID", "StudyUID", "checked_uid", "derived_uid"]

StudyUID = NewType("StudyUID", str)
SeriesUID = NewType("SeriesUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)

_NAMESPACE = uuid.UUID("6f2f6a3e-5f0c-5d2b-9a52-8a35c7f4d9e1")
# PS3.5 9.1 forbids leading zeros; archives are full of them, so reading tolerates what a path can hold.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def checked_uid(value: str | None, attribute: str) -> str:
    """Return `value` if it can serve as a UID (PS3.5 9.1: digits and dots, at most 64), else raise.

    Raises IdentifierMismatch naming `attribute`, never the value: it may be a name that stands in the wrong place.
    """
    text = "" if value is None else str(value)
    if not text:
        raise IdentifierMismatch(f"{attribute} is missing or empty")
    if len(text) > 64:
        raise IdentifierMismatch(f"{attribute} has {len(text)} characters; a UID has at most 64")
    if _UID.fullmatch(text) is None:
        raise IdentifierMismatch(f"{attribute} is not a UID: {len(text)} characters, not only digits and dots")
    return text


def derived_uid(*parts: str) -> str:
    """A UID that the same parts always give: 2.25.<uuid5> (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(parts)).int}"
