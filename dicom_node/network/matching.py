"""Rows of a query's answer: keys are compared again, since an archive may pass over a key that it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dicom_node.errors import IdentifierMismatch
from dicom_node.identifiers import checked_uid
from dicom_node.network.peer_text import peer_text
from dicom_node.network.records import FoundInstance, FoundSeries, FoundStudy

__all__ = [
    "INSTANCE_KEYWORDS", "MOST_ROWS", "SERIES_KEYWORDS", "STUDY_KEYWORDS", "TextOf", "asked_value", "date_matches",
    "found_instances", "found_series", "found_studies", "study_keys",
]  # fmt: skip

MOST_ROWS = 50_000
"""Rows beyond which a query is refused: an answer in part would be taken for the whole."""
_LONGEST_TEXT = 1024
"""Characters of a name or description that are kept (PS3.5 6.2: PN and LO have fewer)."""

TextOf = Callable[[str], str]
"""A row: the text of an attribute by its keyword, "" where there is none."""

STUDY_KEYWORDS = (
    "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyDate",
    "AccessionNumber", "StudyDescription",
)  # fmt: skip
SERIES_KEYWORDS = (
    "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "Manufacturer", "SeriesDate",
    "SeriesTime",
)  # fmt: skip
INSTANCE_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def asked_value(value: str) -> str:
    """The value as a key. A backslash would divide it in two; `?` stands for it, and the row's value is compared."""
    return value.strip().replace("\\", "?")


_STUDY_KEYS = {
    "patient_id": "PatientID",
    "accession_number": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
    "study_date": "StudyDate",
}


def study_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """A query for studies by the keywords of its keys; without any, ValueError: nobody wants the whole archive."""
    if not any(keys.values()):
        raise ValueError("a query for studies needs a key")
    return {_STUDY_KEYS[name]: value for name, value in keys.items()}


def found_studies(rows: Iterable[TextOf], **keys: str) -> list[FoundStudy]:
    """The studies among `rows` that have every key (patient_id, accession_number, study_uid, study_date), each once."""
    found: dict[str, FoundStudy] = {}
    for row in rows:
        uid = _uid(row("StudyInstanceUID"))
        study = FoundStudy(
            study_uid=uid,
            patient_id=row("PatientID"),
            patient_id_issuer=row("IssuerOfPatientID"),
            patient_name=row("PatientName")[:_LONGEST_TEXT],
            patient_birth_date=row("PatientBirthDate")[:_LONGEST_TEXT],
            study_date=row("StudyDate")[:_LONGEST_TEXT],
            accession_number=row("AccessionNumber"),
            study_description=peer_text(row("StudyDescription"), _LONGEST_TEXT),
        )
        if uid and all(_has(study, key, value) for key, value in keys.items()):
            found.setdefault(uid, study)
    return list(found.values())


def _has(study: FoundStudy, key: str, value: str) -> bool:
    if not value:
        return True
    told: str = getattr(study, key)
    return date_matches(value, told) if key == "study_date" else told == value.strip()


def date_matches(asked: str, date: str) -> bool:
    """Whether a date (YYYYMMDD) is the one asked for, or in the range: "A-B", "A-", "-B" (PS3.4 C.2.2.2.5)."""
    begin, dash, end = asked.strip().partition("-")
    if not dash:
        return date == begin
    return bool(date) and begin <= date and (not end or date <= end)


def found_series(rows: Iterable[TextOf], study_uid: str, modality: str) -> list[FoundSeries]:
    """The series of the study among `rows`, each once."""
    found: dict[str, FoundSeries] = {}
    for row in rows:
        uid = _uid(row("SeriesInstanceUID"))
        if not uid or row("StudyInstanceUID") not in ("", study_uid) or modality not in ("", row("Modality")):
            continue
        found.setdefault(
            uid,
            FoundSeries(
                study_uid,
                uid,
                modality=peer_text(row("Modality"), 16),
                series_description=peer_text(row("SeriesDescription"), _LONGEST_TEXT),
                manufacturer=peer_text(row("Manufacturer")),
                made=_digits(row("SeriesDate"), 8) + _digits(row("SeriesTime"), 6),
            ),
        )
    return list(found.values())


def _digits(told: str, most: int) -> str:
    """A date or time without its old separators (PS3.5 6.2: 2026.01.02, 10:30:00)."""
    return peer_text(told.replace(".", "").replace(":", ""), most)


def found_instances(rows: Iterable[TextOf], study_uid: str, series_uid: str) -> list[FoundInstance]:
    """The instances of the series among `rows`, each once."""
    found: dict[str, FoundInstance] = {}
    for row in rows:
        uid = _uid(row("SOPInstanceUID"))
        told = row("StudyInstanceUID"), row("SeriesInstanceUID")
        if not uid or told[0] not in ("", study_uid) or told[1] not in ("", series_uid):
            continue
        found.setdefault(uid, FoundInstance(study_uid, series_uid, uid, _uid(row("SOPClassUID"))))
    return list(found.values())


def _uid(value: str) -> str:
    """The value if it can be a UID, else ""."""
    try:
        return checked_uid(value, "UID")
    except IdentifierMismatch:
        return ""
