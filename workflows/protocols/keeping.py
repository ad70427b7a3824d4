"""Keeping: a real study's headers as an example of a protocol, without whose they are. Pure.

What is kept of a header, and nothing else:

- plain attributes (codes, sizes, numbers of the technique) that a rule of the folder asks, and some ordinary ones;
- texts that people write, places and devices: only if a rule of this protocol asks them, but for Series Description;
  names and numbers that the header itself holds elsewhere, dates, long numbers and words after titles become X;
- accession numbers only if a rule of this protocol asks them, with 0 for each digit;
- ages, from 90 years on as 90; the weekday and hour of receipt, in a week of long ago, if a rule asks them;
- no name, ID, birth date or address, no UID, no date, whatever a rule asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dicom_node.headers.attributes import Attributes, KeptSeries, KeptStudy
from dicom_node.headers.keywords import is_sequence, tag_told
from dicom_node.headers.sensitivity import Sensitivity, sensitivity
from dicom_node.headers.study import study_header
from dicom_node.sop_classes import ordinary_class
from workflows.protocols.asking_for import asked_fields, asked_keywords
from workflows.protocols.reading_back import asked_series, mistake_of, study_of_example
from workflows.protocols.schema import Order, ReadingProtocol

__all__ = ["KeptExample", "Note", "keep"]

_ORDINARY = """
Modality SeriesDescription SeriesNumber ImageType BodyPartExamined Manufacturer SliceThickness ImageOrientationPatient
Rows Columns NumberOfFrames PatientSex PatientAge Laterality ImageLaterality ViewPosition PresentationIntentType
"""
_OF_STUDY = """
StudyDescription AccessionNumber PatientAge PatientSex PatientSize PatientWeight ProcedureCodeSequence
RequestedProcedureCodeSequence RequestAttributesSequence RequestedProcedureDescription RequestedProcedurePriority
ReasonForStudy ReasonForTheRequestedProcedure InstitutionName InstitutionalDepartmentName StationName
"""
_LONGEST = 256
_OLDEST = 89
_MONDAY = (2026, 1, 5)
_OUT = "X"
# Dates, long numbers, addresses of mail, and a name after a title: "MR Kopf" and "DR Thorax" have none.
_TELLING = re.compile(
    r"\b\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})\b|\b(?:19|20)\d\d([./-])\d{1,2}\2\d{1,2}\b|\b\d{6,}\b|\S+@\S+"
    r"|\b(?:(?:Dr|Prof)\.?|(?:Mr|Mrs|Ms|Hr|Fr)\.|Herr|Frau)(?:\s*med\.)?\s*[A-ZÄÖÜ][\w'-]+"
)


@dataclass(frozen=True)
class Note:
    """What became of an attribute, and why. `kept`: whether anything of it stands in the example."""

    attribute: str
    kept: bool
    told: str


@dataclass(frozen=True)
class KeptExample:
    """`example`: as an item of a file's `examples`. `notes`: what was replaced or left out though a rule asks it.

    `left_out`: how many attributes no rule asks. `mistake`: why the protocol decides otherwise about the example than
    about the study; "" where it does not.
    """

    example: dict[str, Any]
    notes: tuple[Note, ...]
    left_out: int
    mistake: str


def keep(
    study: KeptStudy,
    protocol: ReadingProtocol,
    folder: Iterable[ReadingProtocol] = (),
    *,
    matches: bool = True,
    title: str = "",
    identity: Iterable[str] = (),
) -> KeptExample:
    """An example of `protocol`. `folder`: all protocols that lie beside it. `matches`: whether it must match.

    `identity`: names, IDs and dates of the patient and of others, which stand in no kept header; where a text repeats
    them, they become X.
    """
    protocol = replace(protocol, off_because="")  # what is off has examples too
    reducing = _Reducing(study, protocol, folder, identity)
    series = [reducing.series(one) for one in study.series]
    order = sorted(range(len(series)), key=lambda number: (_number(study.series[number].attributes), number))
    listed = [series[number] for number in order]
    of_study = set(_OF_STUDY.split())
    common = {
        keyword: value
        for keyword, value in (listed[0].items() if listed else ())
        if keyword in of_study and all(one.get(keyword) == value for one in listed)
    }
    example: dict[str, Any] = {"title": title or _title(study, matches), "match": matches}
    asked = asked_series(study, protocol)
    if matches:
        example["asks"] = _named(asked, listed, order)
    example.update(reducing.circumstances())
    if common:
        example["study"] = common
    example["series"] = [
        {
            **{keyword: one[keyword] for keyword in sorted(one, key=_place) if keyword not in common},
            **_storage(study.series[number]),
        }
        for number, one in zip(order, listed, strict=True)
    ]
    rebuilt = study_of_example(example)
    mistake = mistake_of(asked_series(rebuilt, protocol), {order.index(number) for number in asked}, matches)
    return KeptExample(example, tuple(reducing.notes.values()), len(reducing.left_out), mistake)


class _Reducing:
    """One study's attributes, reduced to what may be kept."""

    def __init__(
        self,
        study: KeptStudy,
        protocol: ReadingProtocol,
        folder: Iterable[ReadingProtocol],
        identity: Iterable[str],
    ) -> None:
        self.study = study
        self.fields = asked_fields(protocol)
        self.own = asked_keywords((protocol,))
        self.any = asked_keywords((*folder, protocol)) | set(_ORDINARY.split())
        self.names = _names(study, identity)
        self.notes: dict[str, Note] = {}
        self.left_out: set[str] = set()
        latest = Order.LATEST in protocol.series.prefer
        self.moments = sorted({_moment(one.attributes) for one in study.series} - {""}) if latest else []

    def series(self, series: KeptSeries) -> dict[str, Any]:
        """What is kept of one series, as YAML has it."""
        kept = self._attributes(series.attributes, frozenset())
        if "PatientAge" in self.any and "PatientAge" not in kept and (age := _age(self.study)) is not None:
            kept["PatientAge"] = age
            self._note("PatientAge", True, "from the dates of birth and study, which are not kept")
        if (moment := _moment(series.attributes)) in self.moments:
            kept["SeriesDate"] = "20260105"
            kept["SeriesTime"] = f"{self.moments.index(moment):02d}0000"
            self._note("SeriesTime", True, "only which series came first")
        return kept

    def circumstances(self) -> dict[str, Any]:
        """Calling AE titles and the time of receipt, where a rule asks them."""
        told: dict[str, Any] = {}
        if "calling_ae" in self.fields and self.study.sources:
            told["calling_ae"] = list(self.study.sources)
            self.notes["calling AE"] = Note("calling AE title", True, "a rule of this protocol asks it")
        if "received" in self.fields and self.study.received_at is not None:
            here = self.study.received_at.astimezone()
            year, month, day = _MONDAY
            then = datetime(year, month, day + here.weekday(), here.hour, here.minute).astimezone()
            told["received"] = then.isoformat()
            self.notes["received"] = Note("time of receipt", True, "only the weekday, hour and minute")
        return told

    def _attributes(self, attributes: Attributes, within: frozenset[str]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for keyword, values in attributes.items():
            value = (
                self._sequence(keyword, values, within)
                if is_sequence(keyword)
                else self._value(keyword, values, within)
            )
            if value is not None and value != []:
                kept[keyword] = value
        return kept

    def _sequence(self, keyword: str, values: Sequence[Any], within: frozenset[str]) -> Any:
        if sensitivity(keyword) is Sensitivity.IDENTITY:
            if keyword in self.any:
                self._note(keyword, False, "says who a person is")
            return None
        wanted = within | ({keyword} if keyword in self.any else set())
        items = [self._attributes(item, wanted) for item in values if isinstance(item, Mapping)]
        told = [_coded(item) for item in items if item]
        if not told and keyword not in self.any:
            self.left_out.add(keyword)
        schemes = {str(item.get("CodingSchemeDesignator", "")) for item in items} - _SCHEMES
        if schemes := schemes - {""}:
            told_schemes = ", ".join(sorted(schemes))
            self._note(keyword, True, f"a rule asks it; {told_schemes} is a coding scheme of one site: look at it")
        return told

    def _value(self, keyword: str, values: Sequence[Any], within: frozenset[str]) -> Any:
        kind = sensitivity(keyword)
        texts = [value for value in values if isinstance(value, str)]
        if within and keyword in _CODE:  # of a coded item that a rule asks
            return _plain(texts)
        if keyword not in self.any:
            self.left_out.add(keyword)
            return None
        if keyword == "PatientAge":
            return _plain([self._limited(text) for text in texts])
        if kind is Sensitivity.PLAIN:
            return _plain(texts)
        asked = keyword in self.own
        if kind in (Sensitivity.IDENTITY, Sensitivity.UID, Sensitivity.TIME):
            if asked:
                self._note(keyword, False, f"a rule asks it, but it is {_a(kind)}")
            return None
        if not asked and keyword != "SeriesDescription":
            self.left_out.add(keyword)
            return None
        if kind is Sensitivity.NUMBER:
            self._note(keyword, True, "a rule of this protocol asks it; each digit is 0")
            return _plain([re.sub(r"\d", "0", text) for text in texts])
        if kind is Sensitivity.PLACE:
            self._note(keyword, True, f"a rule of this protocol asks it; it {kind.value}")
            return _plain(texts)
        return _plain([self._scrubbed(keyword, text) for text in texts])

    def _limited(self, age: str) -> str:
        if age[:-1].isdigit() and age[-1:].upper() == "Y" and int(age[:-1]) > _OLDEST:
            self._note("PatientAge", True, "90 stands for every age from 90 years on")
            return "090Y"
        return age

    def _scrubbed(self, keyword: str, text: str) -> str:
        short = " ".join(text[:_LONGEST].split())
        clean = _TELLING.sub(_OUT, self.names.sub(_OUT, short) if self.names is not None else short)
        why = "a rule of this protocol asks it" if keyword in self.own else "it names the series"
        cut = "; cut" if len(text) > _LONGEST else ""
        if clean != short:
            self._note(keyword, True, f"{why}; X stands for what may be a name, a number or a date{cut}")
        elif keyword not in self.notes:
            self._note(keyword, True, f"{why}; a text that people write: look at it{cut}")
        return clean

    def _note(self, keyword: str, kept: bool, told: str) -> None:
        self.notes[keyword] = Note(tag_told(keyword), kept, told)


_SCHEMES_OF_ALL = """
99SDM ACR BI C4 C5 CD4 DCM FMA HPC I10 I10P I11 I9 I9C IBSI LN MSH NCIt NDC RADELEMENT RADLEX RADPRFM RXNORM SCT SNM3
SRT UCUM UMLS UNS
"""
_SCHEMES = frozenset(_SCHEMES_OF_ALL.split())
"""Coding schemes of the world (PS3.16 table 8-1): they say nothing of who uses them."""
_CODE = frozenset({"CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodeMeaning"})


def _names(study: KeptStudy, identity: Iterable[str]) -> re.Pattern[str] | None:
    """Words of all names, IDs and numbers that are known, or stand anywhere in the study's headers."""
    known = set(identity)
    for series in study.series:
        for keyword, text in _texts_of(series.attributes):
            if sensitivity(keyword) in (Sensitivity.IDENTITY, Sensitivity.NUMBER):
                known.add(text)
    words = {word for text in known for word in (text.strip(), *re.split(r"[\^=\s,;:/\\-]+", text)) if len(word) > 2}
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, ordered)) + r")(?!\w)", re.IGNORECASE) if words else None


def _texts_of(attributes: Attributes) -> Iterable[tuple[str, str]]:
    for keyword, values in attributes.items():
        for value in values:
            if isinstance(value, str):
                yield keyword, value
            else:
                yield from _texts_of(value)


def _age(study: KeptStudy) -> str | None:
    """Patient's Age (PS3.5 6.2, VR AS) where only dates tell it."""
    years = study_header(study).patient_age_years
    if years is None:
        return None
    return f"{min(int(years), 90):03d}Y" if years >= 2 else f"{int(years * 12):03d}M"


def _moment(attributes: Attributes) -> str:
    date, time = (attributes.get(keyword, ("",))[0] for keyword in ("SeriesDate", "SeriesTime"))
    return f"{date}{time}" if date else ""


def _number(attributes: Attributes) -> int:
    number = attributes.get("SeriesNumber", ("",))[0]
    return int(number) if isinstance(number, str) and re.fullmatch(r"\d{1,9}", number.strip()) else 10**9


def _plain(texts: Sequence[str]) -> Any:
    """As YAML has values: one alone, a number where its text is the same."""
    values = [_as_number(text) for text in texts]
    return values[0] if len(values) == 1 else values or None


def _as_number(text: str) -> Any:
    for kind in (int, float):
        try:
            if str(kind(text)) == text and text not in ("nan", "inf", "-inf"):
                return kind(text)
        except ValueError:
            continue
    return text


def _coded(item: dict[str, Any]) -> Any:
    """A coded item as `SCT:818981001 Abdomen`; any other as it is."""
    value, scheme, meaning = (item.get(key, "") for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
    short = set(item) <= {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"} and value != "" and scheme != ""
    plain = not re.search(r"[\s:]", f"{value}{scheme}")
    return f"{scheme}:{value} {meaning}".strip() if short and plain else item


def _storage(series: KeptSeries) -> dict[str, Any]:
    """How many instances there are, and of which classes, where that is not the ordinary one."""
    told: dict[str, Any] = {"instances": series.instances}
    modality = series.attributes.get("Modality", ("",))[0]
    if series.sop_class_uids != (ordinary_class(str(modality)),):
        classes = list(series.sop_class_uids)
        told["sop_class"] = classes[0] if len(classes) == 1 else classes
    return told


def _place(keyword: str) -> int:
    """What people look at first comes first."""
    first = _ORDINARY.split()
    return first.index(keyword) if keyword in first else len(first)


def _named(asked: set[int], series: Sequence[Mapping[str, Any]], order: Sequence[int]) -> list[Any]:
    """The series that are asked by their descriptions, where these tell them apart, else by number from 1."""
    descriptions = [one.get("SeriesDescription", "") for one in series]
    places = sorted(order.index(number) for number in asked)
    named = [descriptions[place] for place in places]
    if all(isinstance(name, str) and name for name in named) and all(descriptions.count(name) == 1 for name in named):
        return named
    return [place + 1 for place in places]


def _title(study: KeptStudy, matches: bool) -> str:
    modalities = sorted({str(one.attributes.get("Modality", ("",))[0]) for one in study.series} - {""})
    return f"a real study: {', '.join(modalities) or 'no modality'}{'' if matches else ', not asked'}"


def _a(kind: Sensitivity) -> str:
    return {Sensitivity.UID: "a UID", Sensitivity.TIME: "a date or a time"}.get(kind, "part of who a person is")
