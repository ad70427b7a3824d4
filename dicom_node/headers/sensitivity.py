"""Sensitivity: what an attribute can say about a person, by its VR and its name (after PS3.15 annex E)."""

from __future__ import annotations

from enum import Enum
from functools import cache

from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["Sensitivity", "sensitivity"]


class Sensitivity(Enum):
    """What may be kept of an attribute where nobody must know whose images they are."""

    PLAIN = "says nothing of a person"
    TEXT = "a text that people write, which can hold a name"
    PLACE = "names a hospital, a department or a device"
    TIME = "a date or a time"
    NUMBER = "a number by which a study is found"
    UID = "a UID"
    IDENTITY = "says who a person is"


@cache
def sensitivity(keyword: str) -> Sensitivity:
    """Of an attribute, by its keyword.

    A sequence is PLAIN: its items' attributes each have their own. A keyword that the standard lacks is IDENTITY.
    """
    if (named := _NAMED.get(keyword)) is not None:
        return named
    tag = tag_for_keyword(keyword)
    return Sensitivity.IDENTITY if tag is None else _BY_VR.get(dictionary_VR(tag)[:2], Sensitivity.PLAIN)


_BY_VR = {
    "PN": Sensitivity.IDENTITY,
    "UI": Sensitivity.UID,
    "UR": Sensitivity.IDENTITY,
    "AE": Sensitivity.PLACE,
    **dict.fromkeys(("DA", "DT", "TM"), Sensitivity.TIME),
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), Sensitivity.TEXT),
    **dict.fromkeys(("OB", "OW", "UN", "OD", "OF", "OL", "OV"), Sensitivity.IDENTITY),
}
_OF_EQUIPMENT = """
Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel SequenceName FilterType CodeValue
LongCodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning ReceiveCoilName TransmitCoilName
ProtocolVersion
"""
_OF_PLACES = """
InstitutionName InstitutionAddress InstitutionalDepartmentName StationName DeviceSerialNumber DeviceUID GantryID
DetectorID PlateID PerformedLocation PerformedStationName ScheduledStationName RequestingService
"""
_OF_REQUESTS = """
AccessionNumber StudyID RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID
PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
"""
_OF_PERSONS = """
PatientID OtherPatientIDs OtherPatientIDsSequence IssuerOfPatientID PatientBirthDate PatientBirthTime
PatientAddress PatientTelephoneNumbers PatientInsurancePlanCodeSequence MedicalRecordLocator MilitaryRank
BranchOfService CountryOfResidence RegionOfResidence PatientReligiousPreference EthnicGroup Occupation
AdmissionID IssuerOfAdmissionID ServiceEpisodeID CurrentPatientLocation PatientInstitutionResidence
ResponsibleOrganization SpecimenIdentifier ContainerIdentifier ClinicalTrialSubjectID
ClinicalTrialSubjectReadingID OperatorIdentificationSequence PersonIdentificationCodeSequence
PhysiciansOfRecordIdentificationSequence ReferringPhysicianIdentificationSequence
PerformingPhysicianIdentificationSequence PersonTelephoneNumbers PersonAddress
"""
_NAMED = {
    **dict.fromkeys(
        _OF_EQUIPMENT.split(),
        Sensitivity.PLAIN,
    ),
    **dict.fromkeys(
        _OF_PLACES.split(),
        Sensitivity.PLACE,
    ),
    **dict.fromkeys(
        _OF_REQUESTS.split(),
        Sensitivity.NUMBER,
    ),
    **dict.fromkeys(
        _OF_PERSONS.split(),
        Sensitivity.IDENTITY,
    ),
}
