"""CodedHeader: a coded concept as a header gives it, and when two of them are the same concept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

__all__ = ["CodedHeader", "canonical", "concepts_called", "known_meaning", "parse_code", "same_concept"]

_SNOMED_RT = frozenset({"SRT", "SNM3", "99SDM"})
"""Schemes of SNOMED RT, which SNOMED CT has replaced (PS3.16, table 8-1)."""
_WRITTEN = re.compile(r"([^\s:]+):(\S+)(?:\s+(.*\S))?\s*", re.DOTALL)


@dataclass(frozen=True)
class CodedHeader:
    """A coded concept as it stands in a header (PS3.3 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str = ""


def canonical(code: CodedHeader) -> CodedHeader:
    """The concept itself: without its meaning, and in SNOMED CT where it stands in SNOMED RT (PS3.16 8.1). For sets."""
    return _canonical(code.value, code.scheme)


def same_concept(one: CodedHeader, other: CodedHeader) -> bool:
    """Whether two codes mean one concept: same value and scheme, or synonyms in SNOMED RT and CT."""
    return _canonical(one.value, one.scheme) == _canonical(other.value, other.scheme)


def parse_code(written: str) -> CodedHeader:
    """A code as people write it: `SCT:818981001`, or with its meaning, `SCT:818981001 Abdomen`. Raises ValueError."""
    match = _WRITTEN.fullmatch(written.strip())
    if match is None:
        raise ValueError(f"{written[:64]!r} is no code: write SCHEME:VALUE, such as SCT:818981001")
    scheme, value, meaning = match.groups()
    return CodedHeader(value, scheme, meaning or "")


def known_meaning(code: CodedHeader) -> str | None:
    """What the standard's tables (PS3.16) call the concept; None: they do not have it, which does not make it wrong."""
    found = canonical(code)
    return _meanings().get((found.scheme, found.value))


def concepts_called(meaning: str) -> frozenset[CodedHeader]:
    """The concepts that the standard's tables call so, case ignored; none: a name that they do not have."""
    return _by_meaning().get(meaning.strip().casefold(), frozenset())


@lru_cache(maxsize=16384)
def _canonical(value: str, scheme: str) -> CodedHeader:
    value, scheme = value.strip(), scheme.strip().upper()
    if scheme in _SNOMED_RT:
        known = _of_snomed_rt().get(value)
        return CodedHeader(value, "SRT") if known is None else CodedHeader(known, "SCT")
    return CodedHeader(value, scheme)


@cache
def _of_snomed_rt() -> Mapping[str, str]:
    from pydicom.sr._snomed_dict import mapping  # 16,000 entries: for those who need them

    return mapping["SRT"]


@cache
def _meanings() -> Mapping[tuple[str, str], str]:
    from pydicom.sr import _concepts_dict

    concepts: Any = _concepts_dict.concepts  # by scheme and keyword: meaning and context groups of each value
    found: dict[tuple[str, str], str] = {}
    for scheme, by_keyword in concepts.items():
        for of_keyword in by_keyword.values():
            for value, (meaning, *_contexts) in of_keyword.items():
                found.setdefault((scheme.upper(), str(value)), str(meaning))
    return found


@cache
def _by_meaning() -> Mapping[str, frozenset[CodedHeader]]:
    found: dict[str, set[CodedHeader]] = {}
    for (scheme, value), meaning in _meanings().items():
        found.setdefault(meaning.casefold(), set()).add(_canonical(value, scheme))
    return {meaning: frozenset(concepts) for meaning, concepts in found.items()}
