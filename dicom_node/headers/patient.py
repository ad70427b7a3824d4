"""Patient: whom a header names (PS3.3 C.7.1.1), and whether two headers name the same patient."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from pydicom.dataset import Dataset

from dicom_node.headers.elements import texts

__all__ = [
    "PATIENT_KEYWORDS", "Contradiction", "Patient", "changes", "contradiction", "first_contradiction", "patient_from",
    "patient_of",
]  # fmt: skip

_TOLD = 64
PATIENT_KEYWORDS = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")


@dataclass(frozen=True)
class Patient:
    """Whom a header names, decoded by its Specific Character Set; "" where the attribute is absent or empty.

    Padding and trailing `^` and `=` are gone. Two Patients that differ may still be one patient: see `contradiction`.
    """

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""

    def told(self) -> str:
        """The patient for why a study is held, which a person reads; never for a log line, an error or an object."""
        named = (("ID", self.patient_id), ("issuer", self.issuer), ("name", self.name), ("born", self.birth_date))
        return ", ".join(f"{what} {value[:_TOLD]}" for what, value in named if value) or "nobody"


@dataclass(frozen=True)
class Contradiction:
    """Two patients that cannot be one. `attributes`: the names of those that differ, no values; fit for a log."""

    first: Patient
    second: Patient
    attributes: str


def patient_of(header: Dataset) -> Patient:
    """The patient of a header read with PATIENT_KEYWORDS. What cannot be decoded is taken as it decodes."""
    return patient_from(*("\\".join(texts(header, keyword)) for keyword in PATIENT_KEYWORDS))


def patient_from(patient_id: str, issuer: str, name: str, birth_date: str) -> Patient:
    """The patient whom these values name, as they stand in a header."""
    return Patient(_meant(patient_id), _meant(issuer), _meant(name), _meant(birth_date))


def contradiction(first: Patient, second: Patient) -> str | None:
    """The names of the attributes in which two patients contradict each other, or None; no values, fit for a log.

    An empty attribute contradicts nothing, so this is not transitive. IDs, issuers and dates compare exactly. Names
    compare component by component in each component group (PS3.5 6.2.1), whatever their case, spaces and width; an
    empty component contradicts nothing.
    """
    return None if first == second else _named(first, second, _contradict)


def changes(first: Patient, second: Patient) -> str | None:
    """The names of the attributes that do not mean the same in both, or None; no values, fit for a log.

    Stricter than `contradiction`: an attribute that is empty in one of them has changed too.
    """
    return None if first == second else _named(first, second, lambda one, other: one != other)


def first_contradiction(patients: Iterable[Patient]) -> Contradiction | None:
    """The first two of the patients that contradict each other; None: they agree.

    Each is compared with every other: two that agree with an empty one may contradict each other.
    """
    for first, second in combinations(dict.fromkeys(patients), 2):
        if (attributes := contradiction(first, second)) is not None:
            return Contradiction(first, second, attributes)
    return None


def _meant(value: str) -> str:
    """A value without padding (PS3.5 6.2; some pad with NUL) and trailing delimiters of components and groups."""
    return value.strip(" \0\t\r\n").rstrip("^= \0")


_Groups = tuple[tuple[str, ...], ...]
"""A value in the form in which it is compared: component groups and their components."""


def _named(first: Patient, second: Patient, differ: Callable[[_Groups, _Groups], bool]) -> str | None:
    differing = [
        what
        for what, attribute, groups_of in _COMPARED
        if differ(groups_of(getattr(first, attribute)), groups_of(getattr(second, attribute)))
    ]
    return " and ".join(differing) or None


def _contradict(first: _Groups, second: _Groups) -> bool:
    return any(
        one and other and one != other
        for groups in zip(first, second, strict=False)
        for one, other in zip(*groups, strict=False)  # what only one of them has contradicts nothing
    )


def _whole(value: str) -> _Groups:
    return ((value,),)


def _name_groups(name: str) -> _Groups:
    folded = unicodedata.normalize("NFKC", name.replace("\0", "")).casefold()
    groups = (group.rstrip("^ ").split("^") for group in folded.split("="))
    return tuple(tuple(" ".join(component.split()) for component in group) for group in groups)


_COMPARED: tuple[tuple[str, str, Callable[[str], _Groups]], ...] = (
    ("Patient ID", "patient_id", _whole),
    ("Issuer of Patient ID", "issuer", _whole),
    ("Patient's Name", "name", _name_groups),
    ("Patient's Birth Date", "birth_date", _whole),
)
