"""Keywords: which attributes the standard has (PS3.6), how people know them, and what a wrong one may have meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

__all__ = ["is_keyword", "is_sequence", "near_keywords", "sequences_by_keyword", "tag_told"]


def is_keyword(name: str) -> bool:
    """Whether the standard has an attribute of this keyword."""
    return name in sequences_by_keyword()


def is_sequence(keyword: str) -> bool:
    """Whether an attribute holds items (VR SQ) and not values."""
    return sequences_by_keyword().get(keyword, False)


def near_keywords(name: str, most: int = 3) -> tuple[str, ...]:
    """Keywords that may have been meant, the nearest first; none where nothing is alike."""
    by_small = _by_small_letters()
    small = "".join(letter for letter in name.casefold() if letter.isalnum())
    if small in by_small:
        return (by_small[small],)
    return tuple(by_small[one] for one in get_close_matches(small, by_small, n=most, cutoff=0.75))


@cache
def tag_told(keyword: str) -> str:
    """An attribute as people know it: `Slice Thickness (0018,0050)`; a keyword that the standard lacks as it is."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        return keyword
    return f"{DicomDictionary[tag][2]} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@cache
def sequences_by_keyword() -> Mapping[str, bool]:
    """Every keyword, and whether it is one of a sequence."""
    return {keyword: vr == "SQ" for vr, _vm, _name, _retired, keyword in DicomDictionary.values() if keyword}


@cache
def _by_small_letters() -> Mapping[str, str]:
    return {keyword.casefold(): keyword for keyword in sequences_by_keyword()}
