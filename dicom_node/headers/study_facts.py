"""StudyFacts: what a list of studies shows of one, read from the header of one of its instances."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.headers.elements import read_file_header, text

__all__ = ["STUDY_FACTS_KEYWORDS", "StudyFacts", "read_study_facts", "study_facts"]

STUDY_FACTS_KEYWORDS = (
    "StudyDescription", "StudyDate", "StudyTime", "PatientSex", "PatientAge", "PatientBirthDate",
    "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime", "ContentDate",
    "ContentTime", "TimezoneOffsetFromUTC", "SeriesDescription", "RequestedProcedureDescription",
)  # fmt: skip
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_UNITS = {"D": "d", "W": "w", "M": "m", "Y": "y"}


@dataclass(frozen=True)
class StudyFacts:
    """What one header says of its study; "" and None: it does not say.

    `date`: ISO, `time`: such as 08:12, both as the hospital's clock had them. `age`: such as "63 y" (Patient's Age, VR
    AS, PS3.5 6.2; else from birth to study). `acquired_at`: when its images were taken, aware; without Timezone Offset
    From UTC (PS3.3 C.12.1) this host's zone is taken.
    """

    description: str = ""
    date: str = ""
    time: str = ""
    sex: str = ""
    age: str = ""
    acquired_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        at = self.acquired_at
        return {**asdict(self), "acquired_at": None if at is None else at.isoformat()}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> StudyFacts:
        """The inverse of `as_json`."""
        at = entry.get("acquired_at")
        return StudyFacts(**{**entry, "acquired_at": None if at is None else datetime.fromisoformat(at)})


def read_study_facts(path: Path) -> StudyFacts:
    """The facts of a study from one of its files. Raises UnparseableInstance and OSError."""
    return study_facts(read_file_header(path, STUDY_FACTS_KEYWORDS)[1])


def study_facts(header: Dataset) -> StudyFacts:
    """The facts of a study from a header that was read with STUDY_FACTS_KEYWORDS."""
    described = (text(header, key) for key in ("StudyDescription", "RequestedProcedureDescription"))
    day = _date(text(header, "StudyDate"))
    clock = text(header, "StudyTime").replace(":", "")
    return StudyFacts(
        description=next(filter(None, described), ""),
        date="" if day is None else day.isoformat(),
        time=f"{clock[:2]}:{clock[2:4]}" if re.match(r"([01]\d|2[0-3])[0-5]\d", clock) else "",
        sex=text(header, "PatientSex"),
        age=_age(text(header, "PatientAge").upper(), _date(text(header, "PatientBirthDate")), day),
        acquired_at=_acquired_at(header),
    )


def _age(stated: str, born: date | None, studied: date | None) -> str:
    match = _AGE.fullmatch(stated)
    if match is not None:
        return f"{int(match[1])} {_UNITS[match[2]]}"
    if born is None or studied is None or studied < born:
        return ""
    before_birthday = (studied.month, studied.day) < (born.month, born.day)
    return f"{studied.year - born.year - before_birthday} y"


def _date(value: str) -> date | None:
    try:
        return datetime.strptime(value.replace(".", ""), "%Y%m%d").date()
    except ValueError:
        return None


def _acquired_at(header: Dataset) -> datetime | None:
    """The first of acquisition, content, series and study that has a date and a time."""
    both = text(header, "AcquisitionDateTime")
    stated = [(both[:8], both[8:14])]
    stated += [(text(header, f"{what}Date"), text(header, f"{what}Time")) for what in _MOMENTS]
    zone = _zone(both[14:].lstrip(".0123456789") or text(header, "TimezoneOffsetFromUTC"))
    return next((moment for one in stated if (moment := _moment(*one, zone)) is not None), None)


_MOMENTS = ("Acquisition", "Content", "Series", "Study")


def _moment(day: str, clock: str, zone: timezone | None) -> datetime | None:
    try:
        plain = datetime.strptime(day.replace(".", "") + clock.replace(":", "")[:6], "%Y%m%d%H%M%S")
        return plain.astimezone() if zone is None else plain.replace(tzinfo=zone)
    except (ValueError, OverflowError, OSError):
        return None


def _zone(offset: str) -> timezone | None:
    match = _OFFSET.fullmatch(offset)
    if match is None:
        return None
    away = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-away if match[1] == "-" else away) if away < timedelta(hours=24) else None
