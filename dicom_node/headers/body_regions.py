"""Which parts of the body a header names, by codes and by words in English and German; the table is body_regions.yaml.

Body Part Examined is wrong in about one study in seven: it never decides alone, and never against a word or a code. It
only narrows a word that leaves the region open, such as "CT body".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydicom.dataset import Dataset

from dicom_node.headers.attribute_values import Attributes, coded_values, first_frame_groups, first_text, sub_items
from dicom_node.headers.coded import CodedHeader, canonical
from dicom_node.headers.elements import codes, items, text
from dicom_node.headers.functional_groups import functional_group_items

__all__ = [
    "NO_REGIONS", "BodyRegions", "body_regions", "body_regions_of", "regions_exclude", "regions_in",
    "regions_of_body_part", "regions_of_code", "words_of",
]  # fmt: skip

_TABLE = Path(__file__).with_name("body_regions.yaml")
_INSIDE, _AROUND = "bowel seen from inside", "abdomen"
_SERIES_TEXTS = ("SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription")
_STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription")
_SERIES_CODES = (
    ("AnatomicRegionSequence",), ("PrimaryAnatomicStructureSequence",), ("PerformedProtocolCodeSequence",),
    ("RequestAttributesSequence", "ScheduledProtocolCodeSequence"),
)  # fmt: skip
_STUDY_CODES = (
    ("ProcedureCodeSequence",), ("RequestedProcedureCodeSequence",),
    ("RequestAttributesSequence", "RequestedProcedureCodeSequence"),
)  # fmt: skip


@dataclass(frozen=True)
class BodyRegions:
    """`regions`: names of the table; none: nothing says it. `contradicted`: what says it excludes each other.

    `by_body_part_alone`: what Body Part Examined says where neither a word nor a code says anything.
    """

    regions: frozenset[str] = frozenset()
    contradicted: bool = False
    by_body_part_alone: frozenset[str] = frozenset()


NO_REGIONS = BodyRegions()


def body_regions(header: Dataset, *, from_inside: bool = False) -> BodyRegions:
    """The regions that the header of an image names. `from_inside`: it is a camera's picture, as of an endoscope.

    What the series says counts before what the study says, where a study of several regions has a series of one.
    """
    series_codes = [code for place in _SERIES_CODES for code in codes(header, *place)]
    for item in functional_group_items(header, 0, "FrameAnatomySequence"):
        series_codes += codes(item, "AnatomicRegionSequence")
    requests = [text(item, "RequestedProcedureDescription") for item in items(header, "RequestAttributesSequence")]
    return _regions(
        tuple(filter(None, (text(header, keyword) for keyword in _SERIES_TEXTS))),
        tuple(filter(None, (*(text(header, keyword) for keyword in _STUDY_TEXTS), *requests))),
        tuple(series_codes),
        tuple(code for place in _STUDY_CODES for code in codes(header, *place)),
        text(header, "BodyPartExamined"),
        from_inside,
    )


def body_regions_of(attributes: Attributes, *, from_inside: bool = False) -> BodyRegions:
    """The same as `body_regions`, of attributes."""
    series_codes = [code for place in _SERIES_CODES for code in coded_values(attributes, *place)]
    for item in first_frame_groups(attributes, "FrameAnatomySequence"):
        series_codes += coded_values(item, "AnatomicRegionSequence")
    requests = sub_items(attributes, "RequestAttributesSequence")
    requested = [first_text(item, "RequestedProcedureDescription") for item in requests]
    return _regions(
        tuple(filter(None, (first_text(attributes, keyword) for keyword in _SERIES_TEXTS))),
        tuple(filter(None, (*(first_text(attributes, keyword) for keyword in _STUDY_TEXTS), *requested))),
        tuple(series_codes),
        tuple(code for place in _STUDY_CODES for code in coded_values(attributes, *place)),
        first_text(attributes, "BodyPartExamined"),
        from_inside,
    )


@lru_cache(maxsize=4096)
def _regions(
    series: tuple[str, ...],
    study: tuple[str, ...],
    series_codes: tuple[CodedHeader, ...],
    study_codes: tuple[CodedHeader, ...],
    body_part: str,
    from_inside: bool,
) -> BodyRegions:
    """The regions by texts and codes of series and study. Cached: the studies of a day say the same again and again."""
    table = _table()
    own = [*_named(table, series, series_codes, from_inside)]
    whole = [*_named(table, study, study_codes, from_inside)]
    named, of_study = frozenset[str]().union(*own), frozenset[str]().union(*whole)
    if any(table.exclude(one, other) for one, other in combinations([*own, *whole], 2)):
        return BodyRegions(named | of_study, contradicted=True)
    if named or of_study:
        open_ones = _open(table, series)
        return BodyRegions(named or (of_study & open_ones if open_ones else of_study) or of_study)
    part = table.body_parts.get(body_part.upper().replace(" ", ""), frozenset())
    open_ones = _open(table, [*series, *study])
    if open_ones is None:
        return BodyRegions(by_body_part_alone=part)
    return BodyRegions((open_ones & part or open_ones) if open_ones else part)


def regions_in(description: str) -> frozenset[str]:
    """The regions that a text names."""
    return _table().of_text(description)[0]


def regions_of_body_part(body_part_examined: str) -> frozenset[str]:
    """The regions that a value of Body Part Examined stands for; none: the table does not know it."""
    return _table().body_parts.get(body_part_examined.upper().replace(" ", ""), frozenset())


def regions_of_code(code: CodedHeader) -> frozenset[str]:
    """The regions that a code stands for; none: the table does not know it."""
    return _table().of_code(code)


def regions_exclude(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether images of the one cannot be of the other: they share no region and none lies beside another."""
    return _table().exclude(one, other)


# --- What a header says -----------------------------------------------------------------------------------------------


def _named(
    table: _Table, texts: Iterable[str], coded: Iterable[CodedHeader], from_inside: bool
) -> Iterator[frozenset[str]]:
    """What each text and each code names, those that name nothing left out."""
    named = [table.of_text(said)[0] for said in texts]
    named += [table.of_code(code) or table.of_text(code.meaning)[0] for code in coded]
    for regions in filter(None, named):
        if _INSIDE in regions and not from_inside:  # "CT colonoscopy" shows the bowel from outside
            yield (regions - {_INSIDE}) | {_AROUND}
        else:
            yield regions


def _open(table: _Table, texts: Iterable[str]) -> frozenset[str] | None:
    """Between which regions the words of texts leave open; None: there is no such word, none: between all."""
    opened = [found for said in texts if (found := table.of_text(said)[1]) is not None]
    return frozenset[str]().union(*opened) if opened else None


# --- The table --------------------------------------------------------------------------------------------------------

_Words = tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """`words`: side by side; the last may end in *. `regions`: what they name; `is_open`: they leave it open."""

    words: _Words
    regions: frozenset[str]
    is_open: bool = False

    def matches(self, said: Sequence[str], at: int) -> bool:
        there = said[at : at + len(self.words)]
        return len(there) == len(self.words) and all(map(_is_word, self.words, there))


@dataclass(frozen=True)
class _Table:
    entries: tuple[_Entry, ...]
    codes: Mapping[str, frozenset[str]]
    body_parts: Mapping[str, frozenset[str]]
    neighbours: frozenset[frozenset[str]]
    denials: tuple[_Words, ...]

    def of_text(self, description: str) -> tuple[frozenset[str], frozenset[str] | None]:
        """What a text names, and between which regions its words leave open; None: no such word, (): between all."""
        said = words_of(description)
        named: set[str] = set()
        opened: set[str] | None = None
        at = 0
        while at < len(said):
            entry = next((one for one in _beginning_with(said[at]) if one.matches(said, at)), None)
            if entry is not None and entry.is_open:
                opened = (opened or set()) | entry.regions
            elif entry is not None and not self._denied(said, at):
                named |= entry.regions
            at += 1 if entry is None else len(entry.words)
        return frozenset(named), None if opened is None else frozenset(opened)

    def _denied(self, said: Sequence[str], at: int) -> bool:
        """Whether the words just before a place say that what stands there is not shown: "CT Thorax ohne Abdomen"."""
        return any(tuple(said[at - len(words) : at]) == words for words in self.denials if at >= len(words))

    def of_code(self, code: CodedHeader) -> frozenset[str]:
        concept = canonical(code)
        return self.codes.get(concept.value, frozenset()) if concept.scheme == "SCT" else frozenset()

    def exclude(self, one: frozenset[str], other: frozenset[str]) -> bool:
        """Whether images of the one cannot be of the other: they share no region and none lies beside another."""
        beside = any(frozenset({first, second}) in self.neighbours for first in one for second in other)
        return not one & other and not beside


@cache
def _table() -> _Table:
    read: dict[str, Any] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    entries: list[_Entry] = [_Entry(_entry(words), frozenset()) for words in read["ignored"]["words"]]
    coded: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for region, said in read["regions"].items():
        entries += [_Entry(_entry(words), frozenset({region})) for words in said["words"]]
        for value in said["codes"]:
            coded.setdefault(value, set()).add(region)
        for part in said["body_parts"]:
            parts.setdefault(part, set()).add(region)
    for kind in ("several", "vague"):
        for group in read[kind]:
            regions = frozenset(group["regions"])
            entries += [_Entry(_entry(words), regions, kind == "vague") for words in group["words"]]
    entries.sort(key=lambda entry: (-len(entry.words), entry.words[-1].endswith("*")))  # the longest, and whole words
    return _Table(
        tuple(entries),
        {value: frozenset(regions) for value, regions in coded.items()},
        {part: frozenset(regions) for part, regions in parts.items()},
        frozenset(frozenset(pair) for pair in read["neighbours"]),
        tuple(map(_entry, read["denied"]["after"])),
    )


@lru_cache(maxsize=8192)
def _beginning_with(word: str) -> tuple[_Entry, ...]:
    """The entries whose first word this one is, in their order."""
    return tuple(entry for entry in _table().entries if _is_word(entry.words[0], word))


def _entry(words: str) -> _Words:
    return tuple(words.split())


def words_of(description: str) -> list[str]:
    """A text as the table has it: small letters without accents; whatever is no letter parts words."""
    plain = unicodedata.normalize("NFKD", description.casefold())
    return re.findall(r"[a-z]+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


def _is_word(wanted: str, said: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("*") else said == wanted
