"""Code checks: codes that the standard does not know or has retired, or that mean something else than is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dicom_node.headers.body_regions import regions_exclude, regions_in, regions_of_code
from dicom_node.headers.coded import CodedHeader, canonical, concepts_called, known_meaning, parse_code
from workflows.protocols.nodes import Loc, Written

__all__ = ["code_warnings"]

_CHECKED = frozenset({"SCT", "DCM", "SRT", "SNM3", "99SDM"})
"""Schemes whose codes PS3.16 lists as far as DICOM uses them; of others nothing is known here."""
_RETIRED = frozenset({"SRT", "SNM3", "99SDM"})
_LONGEST_MEANING = 5
"""Words of a comment that may be what a code is called; a longer one is a remark."""


def code_warnings(written: Written) -> Iterator[tuple[Loc, str]]:
    """Place and message of each code in a file that deserves a look."""
    values = written.values if isinstance(written.values, dict) else {}
    for key in ("when", "series", "select", "questions", "examples"):
        for loc, code, said in _codes(values.get(key), (key,), written):
            if told := _told(code, said):
                yield loc, told


def _codes(value: Any, loc: Loc, written: Written) -> Iterator[tuple[Loc, CodedHeader, str]]:
    """Every code beneath a value, and what is said of it: behind it, or in a comment on its line."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _codes(entry, (*loc, index), written)
    elif isinstance(value, dict):
        code, scheme, meaning = (_text(value.get(key)) for key in ("value", "scheme", "meaning"))
        if code and scheme:
            yield loc, CodedHeader(code, scheme), meaning
        for key, entry in value.items():
            if key not in ("pattern", "text", "ask", "title"):
                yield from _codes(entry, (*loc, key), written)
    elif isinstance(value, str) and ":" in value:
        try:
            code_said = parse_code(value)
        except ValueError:
            return
        if code_said.scheme.upper() in _CHECKED:
            yield loc, code_said, code_said.meaning or _first_clause(written.comment(loc))


def _told(code: CodedHeader, said: str) -> str:
    scheme = code.scheme.upper()
    if scheme not in _CHECKED:
        return ""
    meaning = known_meaning(code)
    named = f"{code.scheme}:{code.value}"
    if meaning is None:
        return f"{named} is not among the codes of PS3.16: check the value"
    if said and _contradicts(said, code, meaning):
        return f"{named} means {meaning!r} in PS3.16, and {said!r} is said of it here: check the value"
    if scheme in _RETIRED:
        now = canonical(code)
        told = f"{named} is retired; write {now.scheme}:{now.value} ({meaning})"
        return f"{told}: images that still have the old one meet it, too"
    return ""


def _first_clause(comment: str) -> str:
    """What a comment calls a code; "" for a remark."""
    clause = re.split(r"[,;:.(]", comment, maxsplit=1)[0].strip()
    return clause if len(clause.split()) <= _LONGEST_MEANING else ""


def _contradicts(said: str, code: CodedHeader, meaning: str) -> bool:
    """Whether what is said of a code is something else: another part of the body, or another concept's name."""
    if not _words(said) or _words(said) & _words(meaning):
        return False
    said_regions, regions = regions_in(said), regions_of_code(code)
    if said_regions and regions:
        return regions_exclude(said_regions, regions)
    others = concepts_called(said)
    return bool(others) and canonical(code) not in others


def _words(text: str) -> set[str]:
    """Beginnings of words, so that plurals and adjectives count."""
    return {word[:5] for word in re.findall(r"\w{3,}", text.casefold()) if word not in ("and", "the", "structure")}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
