"""What the header of a result says of its making: the description of its series, dates and times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from anyascii import anyascii
from pydicom.dataset import Dataset

from dicom_node.results.finding import Finding, ReadPart, ResultContext

__all__ = ["series_description", "stamp", "stamp_at"]

_AT_MOST = 64


def series_description(kind: str, context: ResultContext, parts: Sequence[ReadPart]) -> str:
    """What the object is, then the terms, then its kind if there is room: at most 64 characters (LO).

    Such as "AI abdominal-ct: liver, spleen; research use only; SEG". Where that is too long findings are left out from
    the end and counted ("liver +3"), then all of them, then the protocol's name is cut; the terms stay whole.
    """
    protocol, _, version = context.protocol.rpartition(" ")
    name = (protocol if version[:1].isdigit() else context.protocol).replace("\\", "/")  # it would part two values
    findings = list(dict.fromkeys(_named(finding) for part in parts for finding in part.findings))
    tails = list(dict.fromkeys([_joined(context.terms, kind), _joined(context.terms)]))
    for count in range(len(findings), 0, -1):
        left_out = len(findings) - count
        what = ", ".join(findings[:count]) + (f" +{left_out}" if left_out else "")
        for tail in tails if count == len(findings) else tails[-1:]:
            if _length(text := f"AI {name}: {what}{tail}") <= _AT_MOST:
                return text
    what = "" if findings else ": nothing marked"
    for text in (*(f"AI {name}{what}{tail}" for tail in tails), f"AI {name}{tails[-1]}"):
        if _length(text) <= _AT_MOST:
            return text
    room = max(0, _AT_MOST - _length(f"AI {tails[-1]}"))
    cut = next(name[:end] for end in range(len(name), -1, -1) if _length(name[:end]) <= room)
    return f"AI {cut}{tails[-1]}"[:_AT_MOST]


def _named(finding: Finding) -> str:
    """The side first, as people say it; what holds of all of it beside its name."""
    words = finding.concept.label.split()
    sides = [word for word in words if word in ("left", "right")]
    name = " ".join([*sides, *(word for word in words if word not in sides)])
    return f"{name} (low confidence)" if finding.low_confidence else name


def _joined(*said: str | None) -> str:
    return "".join(f"; {one}" for one in said if one)


def _length(text: str) -> int:
    """Of the text as it may come to be written: transliterated, it may be longer."""
    return max(len(text), len(anyascii(text)))


def stamp(dataset: Dataset, source: Dataset, context: ResultContext) -> None:
    """Dates and times of the object's making: the job's creation, never the clock.

    In the time zone that the source says its dates are in (PS3.3 C.12.1.1.8), which the result then says too; else in
    the node's own, as DICOM means a time without a zone.
    """
    stamp_at(dataset, source, context.created)


def stamp_at(dataset: Dataset, source: Dataset, created: datetime) -> None:
    """The same for an object of which nothing but its time is known."""
    zone = _zone(source.get("TimezoneOffsetFromUTC"))
    if created.tzinfo is not None:
        created = created.astimezone(zone)
    if zone is not None:
        dataset.TimezoneOffsetFromUTC = source.TimezoneOffsetFromUTC
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    for keyword in ("InstanceCreationDate", "ContentDate", "SeriesDate"):
        setattr(dataset, keyword, date)
    for keyword in ("InstanceCreationTime", "ContentTime", "SeriesTime"):
        setattr(dataset, keyword, time)
    # Nothing else in the file may tell one run from another; when the source was acquired, its own header says.
    for item in dataset.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)


def _zone(offset: str | None) -> tzinfo | None:
    try:
        return datetime.strptime(str(offset), "%z").tzinfo
    except ValueError:
        return None
