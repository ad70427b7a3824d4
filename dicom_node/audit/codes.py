"""Codes of audit messages: PS3.16 CID 400 to 405, and RFC 3881 where PS3.15 A.5 takes its codes from there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "APPLICATION", "DESTINATION_MEDIA", "DICOM", "LOG_URI", "OWN", "PATIENT_NUMBER", "SOURCE", "STUDY", "Coded",
    "EventID", "EventType",
]  # fmt: skip

DICOM = "DCM"
OWN = "99MEDSEG"
"""Coding scheme of what the node has codes of its own for."""


@dataclass(frozen=True)
class Coded:
    """A coded value (PS3.15 A.5.1, CodedValueType): code, coding scheme and meaning."""

    code: str
    scheme: str
    meaning: str


class EventID(Enum):
    """Audit Event ID (PS3.16 CID 400)."""

    APPLICATION_ACTIVITY = Coded("110100", DICOM, "Application Activity")
    AUDIT_LOG_USED = Coded("110101", DICOM, "Audit Log Used")
    INSTANCES_ACCESSED = Coded("110103", DICOM, "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = Coded("110104", DICOM, "DICOM Instances Transferred")
    STUDY_DELETED = Coded("110105", DICOM, "DICOM Study Deleted")
    EXPORT = Coded("110106", DICOM, "Export")
    ORDER_RECORD = Coded("110109", DICOM, "Order Record")
    PROCEDURE_RECORD = Coded("110111", DICOM, "Procedure Record")
    QUERY = Coded("110112", DICOM, "Query")
    SECURITY_ALERT = Coded("110113", DICOM, "Security Alert")
    USER_AUTHENTICATION = Coded("110114", DICOM, "User Authentication")


class EventType(Enum):
    """Audit Event Type Code (PS3.16 CID 401)."""

    APPLICATION_START = Coded("110120", DICOM, "Application Start")
    APPLICATION_STOP = Coded("110121", DICOM, "Application Stop")
    LOGIN = Coded("110122", DICOM, "Login")
    LOGOUT = Coded("110123", DICOM, "Logout")
    RESTRICTED_FUNCTION = Coded("110132", DICOM, "Use of Restricted Function")
    ROLES_CHANGED = Coded("110136", DICOM, "Security Roles Changed")
    USER_ATTRIBUTES_CHANGED = Coded("110137", DICOM, "User Security Attributes Changed")


APPLICATION = Coded("110150", DICOM, "Application")
DESTINATION_MEDIA = Coded("110154", DICOM, "Destination Media")
SOURCE = Coded("110153", DICOM, "Source Role ID")
STUDY = Coded("110180", DICOM, "Study Instance UID")
PATIENT_NUMBER = Coded("2", "RFC-3881", "Patient Number")
LOG_URI = Coded("12", "RFC-3881", "URI")
