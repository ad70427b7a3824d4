"""Written examples: headers as a person writes them in a protocol file -> kept studies, or what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.coded import parse_code
from dicom_node.headers.keywords import is_sequence
from inference.suggestions import similar_name
from workflows.protocols.condition_reader import no_keyword
from workflows.protocols.nodes import Loc, kind_of
from workflows.protocols.values import ENOUGH, Part, Reads, Text, Texts, Yes, fault, wrong

__all__ = ["ATTRIBUTES", "ExampleDocument"]

ATTRIBUTES: dict[str, Any] = {"description": "attributes by DICOM keyword"}
"""Stands in pydantic's schema where `document_schema.py` puts what attributes are."""
_MOST_INSTANCES = 10_000_000


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise wrong(f"{{what}} is {kind_of(value)}; write a moment with its zone, 2026-11-02T08:00:00+01:00")
    return moment


def _study(value: Any) -> dict[str, Any]:
    faults: list[InitErrorDetails] = []
    _check_attributes(value, (), faults)
    if faults:
        raise ValidationError.from_exception_data("study", faults)
    return dict(value)


def _series(value: Any) -> tuple[dict[str, Any], ...]:
    """Each: `attributes`, `instances`, and `sop_class` where it is written."""
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise wrong("{what} is an empty list; write at least one: {Modality: CT, instances: 120}")
    faults: list[InitErrorDetails] = []
    found = []
    for index, entry in enumerate(entries):
        loc: Loc = (index,) if isinstance(value, list) else ()
        series = {"attributes": {}, "instances": 1}
        if isinstance(entry, dict):
            attributes = {key: one for key, one in entry.items() if key not in ("instances", "sop_class")}
            _check_attributes(attributes, loc, faults)
            series["attributes"] = attributes
            series["instances"] = _instances(entry.get("instances", "1"), (*loc, "instances"), faults)
            if "sop_class" in entry:
                series["sop_class"] = _sop_classes(entry["sop_class"], (*loc, "sop_class"), faults)
        else:
            faults.append(fault(loc, f"a series is {kind_of(entry)}; write attributes, such as Modality: CT"))
        found.append(series)
    if faults:
        raise ValidationError.from_exception_data("series", faults)
    return tuple(found)


def _instances(value: Any, loc: Loc, faults: list[InitErrorDetails]) -> int:
    said = value.strip() if isinstance(value, str) else ""
    if said.isascii() and said.isdigit() and len(said) < 9 and 1 <= int(said) <= _MOST_INSTANCES:
        return int(said)
    faults.append(fault(loc, f"instances is {kind_of(value)}; write how many images the series has, 1 or more"))
    return 1


def _sop_classes(value: Any, loc: Loc, faults: list[InitErrorDetails]) -> list[str]:
    uids = [str(one).strip() for one in (value if isinstance(value, list) else [value])]
    if not uids or not all(uid.replace(".", "").isdigit() for uid in uids):
        faults.append(fault(loc, f"sop_class is {kind_of(value)}; write a SOP Class UID: 1.2.840.10008.5.1.4.1.1.2"))
    return uids


def _check_attributes(value: Any, loc: Loc, faults: list[InitErrorDetails]) -> None:
    if not isinstance(value, dict):
        faults.append(
            fault(loc, f"{{what}} is {kind_of(value)}; write attributes, such as StudyDescription: CT Abdomen")
        )
        return
    for keyword, entry in value.items():
        if len(faults) >= ENOUGH:
            return
        place = (*loc, keyword)
        if told := no_keyword(keyword):
            faults.append(fault(place, told, of_key=True))
            continue
        for index, one in enumerate(entry if isinstance(entry, list) else [entry]):
            at = (*place, index) if isinstance(entry, list) else place
            if is_sequence(keyword):
                _check_item(keyword, one, at, faults)
            elif isinstance(one, list | dict):
                faults.append(fault(at, f"{keyword} is {kind_of(one)} here; write a text or a list of texts"))


def _check_item(keyword: str, item: Any, loc: Loc, faults: list[InitErrorDetails]) -> None:
    if isinstance(item, dict):
        _check_attributes(item, loc, faults)
        return
    try:
        parse_code(item if isinstance(item, str) else "")
    except ValueError:
        remedy = "write a mapping of attributes, or a code: SCT:818981001 Abdomen"
        faults.append(fault(loc, f"an item of {keyword} is {kind_of(item)}; {remedy}"))


class ExampleDocument(Part):
    """Headers that the protocol must, or must not, match."""

    to_write: ClassVar[Mapping[str, str]] = {
        "match": "match: true", "series": "series: [{Modality: CT, instances: 120}]",
    }  # fmt: skip

    title: Annotated[Text, Field(description="what it shows")] = ""
    match: Annotated[Yes, Field(description="whether the protocol must ask it")]
    asks: Annotated[
        Texts | None, Field(description="the series that it must ask, and no others: descriptions or numbers from 1")
    ] = None
    calling_ae: Annotated[Texts, Field(description="AE titles that sent it")] = ()
    received: Annotated[
        datetime | None, Reads(_moment, {"type": "string"}), Field(description="when its last image came")
    ] = None
    study: Annotated[dict[str, Any], Reads(_study, ATTRIBUTES), Field(description="of all series")] = Field(
        default_factory=dict
    )
    series: Annotated[
        tuple[dict[str, Any], ...],
        Reads(_series, {"type": "array", "minItems": 1, "items": ATTRIBUTES}),
        Field(description="of each series; besides attributes it has `instances` and `sop_class`"),
    ]

    @model_validator(mode="after")
    def _asks_what_is_there(self) -> ExampleDocument:
        if self.asks is None:
            return self
        if not self.match:
            message = "asks stands where match is false; leave it out, or write match: true"
            raise ValidationError.from_exception_data("example", [fault(("asks",), message)])
        descriptions = [str(one["attributes"].get("SeriesDescription", "")).strip() for one in self.series]
        numbers = {str(number) for number in range(1, len(self.series) + 1)}
        faults = []
        for index, asked in enumerate(self.asks):
            if asked not in descriptions and asked not in numbers:
                near = similar_name(asked, [one for one in descriptions if one])
                hint = f"did you mean {near!r}?" if near else f"write a Series Description, or 1 to {len(self.series)}"
                faults.append(fault(("asks", index), f"asks: the example has no series {asked!r}; {hint}"))
        if faults:
            raise ValidationError.from_exception_data("example", faults)
        return self

    def kept(self) -> KeptStudy:
        """The study that it describes. Raises ValueError."""
        series = [{**one, "attributes": {**self.study, **one["attributes"]}} for one in self.series]
        entry: dict[str, Any] = {"series": series}
        if self.calling_ae:
            entry["calling_ae"] = list(self.calling_ae)
        if self.received is not None:
            entry["received"] = self.received.isoformat()
        return KeptStudy.from_json(entry)
