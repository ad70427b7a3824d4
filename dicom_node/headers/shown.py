"""StudyFacts: what a page says of whose images it shows, from one header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.patient import PATIENT_KEYWORDS, patient_of

__all__ = ["StudyFacts", "read_study_facts"]

_KEYWORDS = (
    *PATIENT_KEYWORDS, "SpecificCharacterSet", "PatientSex", "PatientAge", "StudyDescription", "StudyDate", "StudyTime",
    "AccessionNumber", "Modality",
)  # fmt: skip


@dataclass(frozen=True)
class StudyFacts:
    """Of one image; "" where its header does not say. `date`: ISO; `time`: HH:MM. `age`: such as "63 y"."""

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    age: str = ""
    description: str = ""
    date: str = ""
    time: str = ""
    accession: str = ""
    modality: str = ""


def read_study_facts(path: Path) -> StudyFacts:
    """The facts of a file. Raises UnparseableInstance and OSError."""
    _, header = read_file_header(path, _KEYWORDS)
    patient = patient_of(header)
    date = _iso(text(header, "StudyDate"))
    time = text(header, "StudyTime")
    born = _iso(patient.birth_date)
    return StudyFacts(
        name=patient.name,
        patient_id=patient.patient_id,
        birth_date=born,
        sex=text(header, "PatientSex"),
        age=_stated_age(text(header, "PatientAge")) or _age_between(born, date),
        description=text(header, "StudyDescription"),
        date=date,
        time=f"{time[:2]}:{time[2:4]}" if len(time) >= 4 and time[:4].isdigit() else "",
        accession=text(header, "AccessionNumber"),
        modality=text(header, "Modality"),
    )


def _iso(date: str) -> str:
    plain = date.replace(".", "").replace("-", "")
    return f"{plain[:4]}-{plain[4:6]}-{plain[6:8]}" if len(plain) == 8 and plain.isdigit() else ""


def _stated_age(age: str) -> str:
    """An age string (PS3.5 6.2, VR AS) as people write it."""
    if len(age) == 4 and age[:3].isdigit() and age[3] in "DWMY":
        return f"{int(age[:3])} {age[3].lower()}"
    return ""


def _age_between(born: str, day: str) -> str:
    if not born or not day:
        return ""
    years = int(day[:4]) - int(born[:4]) - (day[5:] < born[5:])
    return f"{years} y" if 0 <= years < 130 else ""
