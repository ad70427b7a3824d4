"""Columns that take whatever comes from outside: nothing in a header closes intake, and no caller can forget it.

Texts are cut to their column's length and lose what a database cannot hold or a terminal would obey; integers are
bounded. The file keeps the original. UIDs and keys are never cut, since two that were cut could become one: one that is
too long is refused with RowRefused, and its instance is set aside.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from dicom_node.headers.patient import Patient
from workflows.errors import RowRefused

__all__ = [
    "JSON", "LARGEST_BIG_INTEGER", "LARGEST_INTEGER", "LONGEST_TEXT", "BigInteger", "Float", "Integer", "Key",
    "String", "Text",
    "clean_json", "clean_text", "patient_for_columns", "patient_id_column", "text_column",
]  # fmt: skip

LONGEST_TEXT = 100_000
"""Characters of a column without a length of its own, and of each text in JSON."""
LARGEST_INTEGER = 2**31 - 1
LARGEST_BIG_INTEGER = 2**63 - 1

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_BREAK = re.compile(r"[\t\n\r]+")
_ID = 64
_ID_DIGEST = 16


def clean_text(text: str, most: int = LONGEST_TEXT) -> str:
    """A text without control characters, but for tabs and line feeds, and without lone surrogates; cut to its length.

    NUL closes a PostgreSQL transaction, a lone surrogate has no UTF-8, an escape sequence could redraw a terminal.
    """
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub("", text).encode("utf-8", "replace").decode()
    return text[:most]


def text_column(text: str, most: int = LONGEST_TEXT) -> str:
    """A value of a header as a column holds it: `clean_text` on one line."""
    return clean_text(_BREAK.sub(" ", text), most)


def patient_for_columns(patient: Patient) -> Patient:
    """A patient as columns can hold it. The file keeps all of it."""
    others = (text_column(value) for value in (patient.issuer, patient.name, patient.birth_date))
    return Patient(patient_id_column(patient.patient_id), *others)


def patient_id_column(patient_id: str) -> str:
    """A Patient ID in its indexed column; one longer than VR LO allows ends with a digest of all of it.

    So two that differ only behind their first characters stay two.
    """
    clean = text_column(patient_id, len(patient_id))
    if len(clean) <= _ID:
        return clean
    return clean[: _ID - _ID_DIGEST] + hashlib.sha256(clean.encode()).hexdigest()[:_ID_DIGEST]


class String(TypeDecorator[str]):
    """A text of at most `length` characters: longer ones are cut."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(str(value), self.length)


class Key(TypeDecorator[str]):
    """A UID, a key or a digest: kept whole, or refused. In a comparison one that is too long equals nothing."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int = 64) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        text = str(value)
        if len(text) > self.length:
            raise RowRefused(f"a UID or key has {len(text)} characters; it may have {self.length}")
        if clean_text(text) != text:
            raise RowRefused("a UID or key has characters that no database holds")
        return text

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return Text()


class Text(TypeDecorator[str]):
    """A text without a length of its own."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(str(value))


class Integer(TypeDecorator[int]):
    """An integer of 32 bits; one beyond becomes the largest or the smallest there is."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else max(-LARGEST_INTEGER, min(LARGEST_INTEGER, value))


class BigInteger(TypeDecorator[int]):
    """An integer of 64 bits, as sizes are."""

    impl = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # which has 64 bits anyway
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else max(-LARGEST_BIG_INTEGER, min(LARGEST_BIG_INTEGER, value))


class Float(TypeDecorator[float]):
    """A number with a fraction; not-a-number and infinity become NULL."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return value if value is not None and math.isfinite(value) else None


class JSON(TypeDecorator[Any]):
    """JSON whose texts are clean, and whose numbers JSON knows: not-a-number and infinity become null."""

    impl = sa.JSON
    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self.impl_instance.coerce_compared_value(op, value)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return clean_json(value)


def clean_json(value: Any) -> Any:
    """A value as a column of JSON holds it."""
    match value:
        case str():
            return clean_text(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {clean_text(str(key)): clean_json(one) for key, one in value.items()}
        case list() | tuple():
            return [clean_json(one) for one in value]
    return value
