"""Value kinds: what the values of an attribute are, by the standard's dictionary (PS3.6), and what a UID is called."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

__all__ = ["holds_identity", "holds_numbers", "uid_name"]

_NUMBERS = frozenset(["DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"])


@cache
def holds_numbers(keyword: str) -> bool:
    """Whether the values of an attribute are numbers (PS3.5 6.2)."""
    return _vr(keyword) in _NUMBERS


@cache
def holds_identity(keyword: str) -> bool:
    """Whether an attribute says who somebody is: a name, or a patient's number, birth date or address."""
    return _vr(keyword) == "PN" or keyword in _IDENTITY


_IDENTITY = frozenset({
    "PatientID", "OtherPatientIDs", "OtherPatientIDsSequence", "PatientBirthDate", "PatientBirthTime",
    "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "PatientInsurancePlanCodeSequence",
    "MedicalRecordLocator", "MilitaryRank", "AdmissionID",
})  # fmt: skip


def _vr(keyword: str) -> str:
    """The first of those that an attribute may have; "" for a keyword that the standard lacks."""
    tag = tag_for_keyword(keyword) if keyword else None
    return "" if tag is None else dictionary_VR(tag)[:2]


@cache
def uid_name(uid: str) -> str:
    """The name of a registered UID, such as `CT Image Storage`; "" for any other."""
    name = UID(uid).name
    return "" if name == uid else name
