"""Instance Availability Notification (PS3.4 annex R): a peer says which instances of a study can be had."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import structlog

from dicom_node.errors import IdentifierMismatch, UnparseableInstance
from dicom_node.headers.elements import BROKEN, items, read_data_set_header, text
from dicom_node.identifiers import checked_uid
from dicom_node.network.status import SUCCESS

__all__ = ["InstanceAvailability", "read_availability"]

_log = structlog.get_logger()

_KEYWORDS = ("StudyInstanceUID", "ReferencedSeriesSequence")
_TO_BE_HAD = frozenset({"ONLINE", "NEARLINE"})  # PS3.3 C.4.23.1.1
_MISSING_ATTRIBUTE, _INVALID_VALUE = 0x0120, 0x0106  # PS3.7 10.1.5.1.6


@dataclass(frozen=True)
class InstanceAvailability:
    """The instances of a study that a peer has online or nearline; those that it names as anything else are left out.

    It is a hint: it proves neither that the study has no others, nor that these ones come.
    """

    study_uid: str
    sop_instance_uids: tuple[str, ...]
    calling_ae_title: str


def read_availability(
    encoded: bytes, transfer_syntax_uid: str, calling_ae_title: str
) -> tuple[int, InstanceAvailability | None]:
    """The status for an N-CREATE, and what its data set says; None where it is malformed, which is logged."""
    try:
        header = read_data_set_header(BytesIO(encoded), transfer_syntax_uid, _KEYWORDS)
        study_uid = checked_uid(text(header, "StudyInstanceUID"), "Study Instance UID")
        uids = dict.fromkeys(
            checked_uid(text(item, "ReferencedSOPInstanceUID"), "Referenced SOP Instance UID")
            for item in items(header, "ReferencedSeriesSequence", "ReferencedSOPSequence")
            if text(item, "InstanceAvailability") in _TO_BE_HAD
        )
    except (UnparseableInstance, IdentifierMismatch, *BROKEN) as error:
        status = _INVALID_VALUE if isinstance(error, IdentifierMismatch) else _MISSING_ATTRIBUTE
        _log.warning(
            "availability_notification_malformed",
            reason=type(error).__name__,
            status=f"0x{status:04X}",
            calling_ae_title=calling_ae_title,
        )
        return status, None
    return SUCCESS, InstanceAvailability(study_uid, tuple(uids), calling_ae_title)
