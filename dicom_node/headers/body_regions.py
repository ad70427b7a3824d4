"""Which parts of the body a header names, by codes and by words in English and German; the table is body_regions.yaml.

Body Part Examined is wrong in about one study in seven: it never decides alone, and never against a word or a code. It
only narrows a word that leaves the region open, such as "CT body".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.elements import codes, items, text
from dicom_node.headers.functional_groups import functional_group_items

__all__ = ["BodyRegions", "body_regions", "regions_in"]

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


def body_regions(header: Dataset, *, from_inside: bool = False) -> BodyRegions:
    """The regions that the header of an image names. `from_inside`: it is a camera's picture, as of an endoscope.

    What the series says counts before what the study says, where a study of several regions has a series of one.
    """
    table = _table()
    series = [*_texts(header, _SERIES_TEXTS)]
    study = [*_texts(header, _STUDY_TEXTS), *_requested(header)]
    own = [*_named(table, series, _codes(header, _SERIES_CODES, frames=True), from_inside)]
    whole = [*_named(table, study, _codes(header, _STUDY_CODES), from_inside)]
    named, of_study = frozenset[str]().union(*own), frozenset[str]().union(*whole)
    if any(table.exclude(one, other) for one, other in combinations([*own, *whole], 2)):
        return BodyRegions(named | of_study, contradicted=True)
    if named or of_study:
        open_ones = _open(table, series)
        return BodyRegions(named or (of_study & open_ones if open_ones else of_study) or of_study)
    part = table.body_parts.get(text(header, "BodyPartExamined").upper().replace(" ", ""), frozenset())
    open_ones = _open(table, [*series, *study])
    if open_ones is None:
        return BodyRegions(by_body_part_alone=part)
    return BodyRegions((open_ones & part or open_ones) if open_ones else part)


def regions_in(description: str) -> frozenset[str]:
    """The regions that a text names."""
    return _table().of_text(description)[0]


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


def _texts(header: Dataset, keywords: Sequence[str]) -> list[str]:
    return [said for keyword in keywords if (said := text(header, keyword))]


def _requested(header: Dataset) -> list[str]:
    requests = items(header, "RequestAttributesSequence")
    return [said for item in requests if (said := text(item, "RequestedProcedureDescription"))]


def _codes(header: Dataset, places: Sequence[tuple[str, ...]], *, frames: bool = False) -> list[CodedHeader]:
    found = [code for place in places for code in codes(header, *place)]
    if frames:
        for item in functional_group_items(header, 0, "FrameAnatomySequence"):
            found += codes(item, "AnatomicRegionSequence")
    return found


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

    def of_text(self, description: str) -> tuple[frozenset[str], frozenset[str] | None]:
        """What a text names, and between which regions its words leave open; None: no such word, (): between all."""
        said = _words(description)
        named: set[str] = set()
        opened: set[str] | None = None
        at = 0
        while at < len(said):
            entry = next((one for one in self.entries if one.matches(said, at)), None)
            if entry is not None and entry.is_open:
                opened = (opened or set()) | entry.regions
            elif entry is not None:
                named |= entry.regions
            at += 1 if entry is None else len(entry.words)
        return frozenset(named), None if opened is None else frozenset(opened)

    def of_code(self, code: CodedHeader) -> frozenset[str]:
        if code.scheme == "SCT":
            return self.codes.get(code.value, frozenset())
        if code.scheme in ("SRT", "SNM3", "99SDM"):
            written = Code(code.value, code.scheme, code.meaning)
            known = (regions for value, regions in self.codes.items() if Code(value, "SCT", "") == written)
            return next(known, frozenset())
        return frozenset()

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
    )


def _entry(words: str) -> _Words:
    return tuple(words.split())


def _words(description: str) -> list[str]:
    """A text as the table has it: small letters without accents; whatever is no letter parts words."""
    plain = unicodedata.normalize("NFKD", description.casefold())
    return re.findall(r"[a-z]+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


def _is_word(wanted: str, said: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("*") else said == wanted
