"""What a result takes over from its source: patient and study, untouched, and a character set that holds its texts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM, PersonName

from dicom_node.headers.elements import BROKEN

__all__ = ["PATIENT_AND_STUDY", "copy_identity", "tolerant_source"]

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthDate", "PatientBirthTime",
    "PatientSex", "EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "QualityControlSubject",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ProcedureCodeSequence",
    "RequestingService", "ReasonForPerformedProcedureCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex", "PregnancyStatus", "SmokingStatus",
    "Allergies", "MedicalAlerts", "AdmissionID", "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence", "AdditionalPatientHistory", "Occupation", "PatientSexNeutered",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
)  # fmt: skip
"""Keywords of the Patient, General Study, Patient Study and Clinical Trial modules (PS3.3 C.7.1, C.7.2)."""

_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
_UTF_8 = "ISO_IR 192"
_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def tolerant_source(source: Dataset) -> Dataset:
    """A copy of a source's standard attributes that a strict writer accepts: empty where a type 2 value is missing
    or malformed.

    Only for building; `copy_identity` puts the source's own values back.
    """
    tolerant = Dataset()
    for tag in source.keys():  # noqa: SIM118 - iterating a data set gives elements, and would decode private ones too
        if tag.is_private:
            continue
        with suppress(*BROKEN):  # an element that cannot be decoded is nothing that a result needs
            tolerant.add(source[tag])
    if hasattr(source, "file_meta"):
        tolerant.file_meta = source.file_meta
    tolerant.pop("SpecificCharacterSet", None)
    for keyword in _TYPE_2:
        if tolerant.get(keyword) is None:
            setattr(tolerant, keyword, "")
    if tolerant.PatientSex not in ("", "M", "F", "O"):
        tolerant.PatientSex = ""
    parsers: dict[str, Callable[[str], object]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
    for keyword, parse in parsers.items():
        try:
            parse(str(tolerant.get(keyword)))
        except ValueError:
            setattr(tolerant, keyword, "")
    return tolerant


def copy_identity(source: Dataset, result: Dataset) -> None:
    """Make patient and study of `result` those of `source`, value for value, absent where absent (but for type 2).

    The character set stays the source's; UTF-8 only if that cannot hold what the result says (PS3.5 6.1).
    """
    for keyword in PATIENT_AND_STUDY:
        if keyword in source:
            result[keyword] = copy.deepcopy(source[keyword])
        elif keyword in result and keyword not in _TYPE_2:
            del result[keyword]
    character_set = source.get("SpecificCharacterSet") or None
    result.pop("SpecificCharacterSet", None)
    if not all(_encodable(text, character_set) for text in _texts(result)):
        result.SpecificCharacterSet = _UTF_8
    elif character_set is not None:
        result["SpecificCharacterSet"] = copy.deepcopy(source["SpecificCharacterSet"])


def _texts(dataset: Dataset) -> Iterator[str]:
    """Every text that the result says itself, at any depth."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS and element.keyword not in PATIENT_AND_STUDY and element.value:
            values = element.value if isinstance(element.value, (MultiValue, list, tuple)) else [element.value]
            yield from (str(value) for value in values if not isinstance(value, PersonName) or value)


def _encodable(text: str, character_set: object) -> bool:
    if text.isascii():
        return True
    if character_set is None:
        return False
    for encoding in convert_encodings(character_set):  # type: ignore[arg-type]
        try:
            text.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            continue
        return True
    return False
