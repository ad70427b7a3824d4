"""What the header of a result says of its making: the description of its series, dates and times."""

from __future__ import annotations

from datetime import datetime, tzinfo

from pydicom.dataset import Dataset

from dicom_node.results.equipment import MANUFACTURER
from dicom_node.results.finding import ResultContext

__all__ = ["series_description", "stamp"]


def series_description(kind: str, context: ResultContext) -> str:
    """At most 64 characters (LO), with the terms first, so that no column of a worklist cuts them off."""
    terms = f"{context.terms.upper()}: " if context.terms else ""
    return f"{terms}{MANUFACTURER} {kind} {context.protocol}"[:64]


def stamp(dataset: Dataset, source: Dataset, context: ResultContext) -> None:
    """Dates and times of the object's making: the job's creation, never the clock.

    In the time zone that the source says its dates are in (PS3.3 C.12.1.1.8), which the result then says too; else in
    the node's own, as DICOM means a time without a zone.
    """
    created = context.created
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
