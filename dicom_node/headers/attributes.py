"""Attributes: what a header says, as plain values that a rule can ask, a database can keep and a person can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dicom_node.headers.attribute_reading import attributes_in, read_attributes
from dicom_node.headers.attribute_values import Attributes, first_text
from dicom_node.headers.coded import known_meaning, parse_code
from dicom_node.headers.keywords import near_keywords, sequences_by_keyword
from dicom_node.sop_classes import ordinary_class

__all__ = ["Attributes", "KeptSeries", "KeptStudy", "attributes_in", "read_attributes"]


@dataclass(frozen=True)
class KeptSeries:
    """What rules may ask of one series: the attributes of one of its instances, and what only all of them tell."""

    attributes: Attributes
    sop_class_uids: tuple[str, ...]
    instances: int


@dataclass(frozen=True)
class KeptStudy:
    """All that matching gets of a study, so that it gives the same again at any time.

    `sources`: calling AE titles. `received_at`: when its last image came, aware.
    """

    series: tuple[KeptSeries, ...]
    sources: tuple[str, ...] = ()
    received_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it and an example is written: the shape that `from_json` describes."""
        entry: dict[str, Any] = {"series": [_series_json(series) for series in self.series]}
        if self.sources:
            entry["calling_ae"] = list(self.sources)
        if self.received_at is not None:
            entry["received"] = self.received_at.isoformat()
        return entry

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> KeptStudy:
        """The inverse of `as_json`; also takes what a person has written. Raises ValueError, naming the key.

        `{series: [{attributes: {KEYWORD: value}, instances: N, sop_class: UID or a list}], calling_ae: [AE title],
        received: ISO}`; of these `series` alone must be there. Without `instances` a series has one. Without
        `sop_class` it is SOPClassUID, or else the ordinary class of its Modality. A time without a zone is this host's.

        Values of attributes: a text, a number, or a list of them; a value alone stands for a list of one. True and
        False are YES and NO, as YAML has them. A date is YYYYMMDD, an age that is a number one in years. A sequence
        takes mappings, or for a coded item `SCT:818981001` or `SCT:818981001 Abdomen`. What is empty is left out.
        """
        if not isinstance(entry, Mapping):
            raise ValueError("a study is no mapping; write series, and calling_ae and received if they matter")
        _require_keys(entry, _STUDY_KEYS, "a study")
        series = _listed(entry.get("series"))
        if not series:
            raise ValueError("series: missing; a study needs at least one series")
        return KeptStudy(
            tuple(_series(one, f"series {number}") for number, one in enumerate(series, start=1)),
            tuple(str(title).strip() for title in _listed(entry.get("calling_ae"))),
            _moment(entry.get("received")),
        )


_STUDY_KEYS = ("series", "calling_ae", "received")
_SERIES_KEYS = ("attributes", "instances", "sop_class")


def _series_json(series: KeptSeries) -> dict[str, Any]:
    return {
        "attributes": _attributes_json(series.attributes),
        "instances": series.instances,
        "sop_class": list(series.sop_class_uids),
    }


def _attributes_json(attributes: Attributes) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for keyword, values in attributes.items():
        told = [value if isinstance(value, str) else _attributes_json(value) for value in values]
        entry[keyword] = told[0] if len(told) == 1 else told
    return entry


def _series(entry: Any, place: str) -> KeptSeries:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: not a mapping; write attributes by keyword, such as Modality: CT")
    _require_keys(entry, _SERIES_KEYS, place)
    attributes = _attributes(entry.get("attributes") or {}, place)
    instances = entry.get("instances", 1)
    if not isinstance(instances, int) or isinstance(instances, bool) or instances < 1:
        raise ValueError(f"{place}: instances: {instances!r} is no number of images; write 1 or more")
    if "sop_class" in entry:
        classes = tuple(str(one).strip() for one in _listed(entry["sop_class"]))
    else:
        classes = (first_text(attributes, "SOPClassUID") or ordinary_class(first_text(attributes, "Modality")),)
    return KeptSeries(attributes, tuple(filter(None, classes)), instances)


def _attributes(entry: Any, place: str) -> Attributes:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: not a mapping; write attributes by keyword, such as Modality: CT")
    sequences = sequences_by_keyword()
    found: dict[str, tuple[str | Attributes, ...]] = {}
    for keyword, value in entry.items():
        is_sequence = sequences.get(keyword)
        if is_sequence is None:
            raise ValueError(f"{place}: {_no_keyword(str(keyword))}")
        if is_sequence:
            items = tuple(_item(one, f"{place}: {keyword}") for one in _listed(value))
            if items:
                found[keyword] = items
        elif type(value) is str:  # most of them
            if text := value.strip():
                found[keyword] = (text,)
        else:
            values = tuple(_text(one, f"{place}: {keyword}") for one in _listed(value))
            if any(values):
                found[keyword] = values
    return found


def _item(value: Any, place: str) -> Attributes:
    if not isinstance(value, str):
        return _attributes(value, place)
    try:
        code = parse_code(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    item: dict[str, tuple[str | Attributes, ...]] = {
        "CodeValue": (code.value,),
        "CodingSchemeDesignator": (code.scheme,),
    }
    if meaning := code.meaning or known_meaning(code):
        item["CodeMeaning"] = (meaning,)
    return item


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if type(value) is int and place.endswith(": PatientAge"):
        return f"{value:03d}Y"
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, datetime):
        return value.strftime("%Y%m%d%H%M%S")
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise ValueError(f"{place}: items stand here, but it is no sequence; write a text, a number or a list of them")


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _moment(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        example = "2026-11-02T08:00:00+01:00"
        raise ValueError(f"received: {str(value)[:64]!r} is no time; write it as {example}") from error
    return moment.astimezone() if moment.tzinfo is None else moment


def _require_keys(entry: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in entry:
        if key not in keys:
            raise ValueError(f"{place}: {str(key)[:64]!r} is no key here; there are {', '.join(keys)}")


def _no_keyword(keyword: str) -> str:
    near = near_keywords(keyword[:64])
    remedy = f"did you mean {' or '.join(near)}?" if near else "see PS3.6 for the keywords, such as SeriesDescription"
    return f"{keyword[:64]!r} is no DICOM keyword; {remedy}"
