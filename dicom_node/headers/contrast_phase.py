"""Contrast phase: when after an injection a series was taken, as its words and codes say it in English and German."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from dicom_node.headers.attribute_values import Attributes, coded_values, first_frame_groups, first_text, sub_items
from dicom_node.headers.body_regions import words_of
from dicom_node.headers.coded import CodedHeader, canonical

__all__ = ["PHASES", "contrast_phase"]

PHASES = ("native", "arterial", "portal", "venous", "delayed")

_MODALITIES = frozenset({"CT", "MR", "PT", "NM", "US", ""})
"""Elsewhere the words mean something else: a portal image of radiotherapy, a plain film."""
# Contrast/Bolus Agent Phase (PS3.3 C.7.6.16.2.12).
_BY_ATTRIBUTE = {
    "PRE_CONTRAST": "native", "ARTERIAL": "arterial", "PORTAL_VENOUS": "portal", "VENOUS": "venous",
    "DELAYED": "delayed",
}  # fmt: skip
_BY_CODE = {
    ("SCT", "399331006"): "native",  # CT without contrast
    ("RADLEX", "RID11081"): "delayed",  # Delayed phase
    ("DCM", "122664"): "delayed",  # Late Contrast Enhancement
}
# Words as `words_of` has them; the first that fits at a place is taken, so what is longer stands before.
_SAID = (
    ("", r"portal vein|vena portae?|pfortader\w*|plain film|w w ?o|with and without|mit und ohne"),
    ("portal", r"portal ?ven[oe]\w*|porto ?ven[oe]\w*|portal\w*|pvp|pv(?= phase| abd)"),
    ("arterial", r"arterial|arteriell\w*|art|cortico ?medullary|kortiko ?medullar\w*"),
    ("native", r"nativ\w{0,2}|nat|unenhanced|non ?contrast\w*|(?:without|w ?o|no) contrast|plain|ncct|pre ?contrast|"
               r"(?:prae|pra|vor|ohne|o) ?(?:km|kontrast\w*)"),
    ("delayed", r"delay(?:ed)?|late (?:phase|enhancement|gadolinium)|lge|spae?te?r?|"
                r"spae?t(?:phase|ven|aufnahme)\w*|equilibrium|excret\w*|urographic|ausscheidung\w*|washout"),
    ("venous", r"ven|venous|venoe?s\w{0,2}|nephrographic"),
)  # fmt: skip
_WORDS = re.compile(
    r"\b(?:" + "|".join(f"(?P<p{number}>{words})" for number, (_phase, words) in enumerate(_SAID)) + r")\b"
)


def contrast_phase(attributes: Attributes) -> str:
    """One of PHASES, or "" where nothing says it or what says it names several.

    Contrast/Bolus Agent Phase counts first, then the description of the series, then codes, then the protocol's name.
    """
    if first_text(attributes, "Modality").upper() not in _MODALITIES:
        return ""
    for found in _named(attributes):
        if found:
            return next(iter(found)) if len(found) == 1 else ""
    return ""


def _named(attributes: Attributes) -> Iterator[frozenset[str]]:
    """What each place names, in order."""
    usage = first_frame_groups(attributes, "ContrastBolusUsageSequence")
    stated = (_BY_ATTRIBUTE.get(first_text(item, "ContrastBolusAgentPhase").upper(), "") for item in usage)
    yield frozenset(filter(None, stated))
    yield _in_words(first_text(attributes, "SeriesDescription"))
    yield frozenset().union(*map(_of_code, _codes(attributes)))
    yield _in_words(first_text(attributes, "ProtocolName"))


def _codes(attributes: Attributes) -> Iterator[CodedHeader]:
    yield from coded_values(attributes, "PerformedProtocolCodeSequence")
    for request in sub_items(attributes, "RequestAttributesSequence"):
        yield from coded_values(request, "ScheduledProtocolCodeSequence")


def _of_code(code: CodedHeader) -> frozenset[str]:
    concept = canonical(code)
    known = _BY_CODE.get((concept.scheme, concept.value))
    return frozenset({known}) if known else _in_words(code.meaning)


@lru_cache(maxsize=4096)
def _in_words(description: str) -> frozenset[str]:
    said = " ".join(words_of(description))
    found = {_SAID[int(str(match.lastgroup)[1:])][0] for match in _WORDS.finditer(said)}
    return frozenset(found - {""})
