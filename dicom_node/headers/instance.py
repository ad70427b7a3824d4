"""InstanceHeader and InstanceIdentifiers: which instance a data set is, and what a row keeps of its header."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from dicom_node.errors import IdentifierMismatch, UnparseableInstance
from dicom_node.headers.elements import integer, items, read_file_header, text
from dicom_node.headers.patient import PATIENT_KEYWORDS, Patient, patient_of
from dicom_node.headers.rejection import (
    REJECTION_KEYWORDS,
    RejectedReference,
    RejectionCode,
    RejectionNote,
    rejection_note,
)
from dicom_node.headers.verification import VERIFICATION_KEYWORDS, verified_documents
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID, checked_uid

__all__ = [
    "IDENTIFIER_KEYWORDS",
    "INSTANCE_KEYWORDS",
    "Device",
    "InstanceHeader",
    "InstanceIdentifiers",
    "checked_identifiers",
    "instance_header",
    "read_identifiers",
]


@dataclass(frozen=True)
class Device:
    """Equipment named in a header (PS3.3 C.7.5.1, C.12.1). A node knows other nodes' results by it."""

    manufacturer: str = ""
    model_name: str = ""
    serial_number: str = ""
    device_uid: str = ""


@dataclass(frozen=True)
class InstanceHeader:
    """What a row keeps of one instance, and by which results of a node are recognised, so that none is read again.

    Empty strings and None mean "not in the header". `device`: the equipment that made it. `contributing`: the
    equipment that had a part in it. `rejects`: what it takes out of use, if it is a rejection note. `verifies`: the
    documents that it takes up, if it is a report that a person has verified.
    """

    modality: str = ""
    accession_number: str = ""
    study_description: str = ""
    series_description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    device: Device = Device()
    contributing: tuple[Device, ...] = ()
    patient: Patient = field(default_factory=Patient)
    rejects: RejectionNote | None = None
    verifies: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it, without what is not in the header. The inverse is `from_json`."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN if getattr(self, name) not in ("", None)}
        if self.device != Device():
            fields["device"] = _values(self.device)
        if self.contributing:
            fields["contributing"] = [_values(device) for device in self.contributing]
        if self.patient != Patient():
            fields["patient"] = _values(self.patient)
        if self.rejects is not None:
            fields["rejects"] = [self.rejects.code.value, [_values(one) for one in self.rejects.references]]
        if self.verifies:
            fields["verifies"] = list(self.verifies)
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> InstanceHeader:
        """The header that `to_json` gave these fields. Raises KeyError, TypeError or ValueError for any others."""
        rejects = None
        if (rejected := fields.get("rejects")) is not None:
            code, references = rejected
            rejects = RejectionNote(RejectionCode(code), tuple(RejectedReference(*one) for one in references))
        return cls(
            **{name: fields[name] for name in _PLAIN if name in fields},
            device=Device(*fields.get("device", ())),
            contributing=tuple(Device(*device) for device in fields.get("contributing", ())),
            patient=Patient(*fields.get("patient", ())),
            rejects=rejects,
            verifies=tuple(fields.get("verifies", ())),
        )


_PLAIN = (
    "modality",
    "accession_number",
    "study_description",
    "series_description",
    "series_number",
    "instance_number",
)


@dataclass(frozen=True)
class InstanceIdentifiers:
    """The UIDs that say which instance of which study a file is."""

    study_uid: StudyUID
    series_uid: SeriesUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: str


IDENTIFIER_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_DEVICE = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "DeviceUID")

INSTANCE_KEYWORDS = (
    *IDENTIFIER_KEYWORDS,
    *_DEVICE,
    "Modality",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "ContributingEquipmentSequence",
    *PATIENT_KEYWORDS,
    *REJECTION_KEYWORDS,
    *VERIFICATION_KEYWORDS,
)


def checked_identifiers(header: Dataset) -> InstanceIdentifiers:
    """The identifiers of a header read with INSTANCE_KEYWORDS; raises IdentifierMismatch naming what is wrong."""
    return InstanceIdentifiers(
        study_uid=StudyUID(checked_uid(text(header, "StudyInstanceUID"), "Study Instance UID")),
        series_uid=SeriesUID(checked_uid(text(header, "SeriesInstanceUID"), "Series Instance UID")),
        sop_instance_uid=SOPInstanceUID(checked_uid(text(header, "SOPInstanceUID"), "SOP Instance UID")),
        sop_class_uid=checked_uid(text(header, "SOPClassUID"), "SOP Class UID"),
    )


def instance_header(header: Dataset) -> InstanceHeader:
    """InstanceHeader of a header read with INSTANCE_KEYWORDS."""
    return InstanceHeader(
        modality=text(header, "Modality"),
        accession_number=text(header, "AccessionNumber"),
        study_description=text(header, "StudyDescription"),
        series_description=text(header, "SeriesDescription"),
        series_number=integer(header, "SeriesNumber"),
        instance_number=integer(header, "InstanceNumber"),
        device=_device(header),
        contributing=tuple(_device(item) for item in items(header, "ContributingEquipmentSequence")),
        patient=patient_of(header),
        rejects=rejection_note(header),
        verifies=verified_documents(header),
    )


def _values(record: object) -> list[Any]:
    """The fields of a flat dataclass, in their order; `astuple` copies deeply, and this is done for every instance."""
    return list(vars(record).values())


def _device(item: Dataset) -> Device:
    return Device(*(text(item, keyword) for keyword in _DEVICE))


def read_identifiers(path: Path) -> InstanceIdentifiers:
    """Which instance a file is.

    Raises UnparseableInstance if it is not DICOM and IdentifierMismatch if a UID is missing or malformed, both naming
    the file.
    """
    meta, header = read_file_header(path, IDENTIFIER_KEYWORDS)
    if text(meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise UnparseableInstance(f"{path}: a DICOMDIR, a table of contents; name the folder that it lies in")
    try:
        return checked_identifiers(header)
    except IdentifierMismatch as error:
        raise IdentifierMismatch(f"{path}: {error}") from error
