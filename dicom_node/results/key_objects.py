"""Key Object Selection documents (PS3.3 A.35.4): images of interest, and rejection notes. The one writer of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage, SegmentationStorage

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import integer, text
from dicom_node.headers.identity import source_identity
from dicom_node.headers.rejection import RejectionCode, rejection_note
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.companion import coded, companion, identified, referenced_series
from dicom_node.results.finding import Finding, ReadPart, ResultContext
from dicom_node.results.gate import require_same_identity
from dicom_node.results.identity import result_identity
from dicom_node.results.making import stamp_at
from dicom_node.results.measurement import MeasurementKind
from dicom_node.results.saving import save
from dicom_node.results.stand_ins import Reference
from dicom_node.sop_classes import holds_images

__all__ = ["SERIES_NUMBER_KEY_OBJECTS", "SERIES_NUMBER_REJECTION", "build_key_objects", "write_rejection_note"]

SERIES_NUMBER_KEY_OBJECTS = 9305
SERIES_NUMBER_REJECTION = 9307


@dataclass(frozen=True)
class _Selected:
    """An object that a document names, and the series that it is of."""

    series_uid: str
    reference: Reference


def build_key_objects(parts: Sequence[ReadPart], context: ResultContext) -> Dataset | None:
    """113000, "Of Interest": the largest slice of each finding; None where nothing was seen.

    Findings that are largest in the same slice share its item. The description names every finding, with the terms of
    the weights before it.
    """
    named: dict[_Selected, list[str]] = {}
    for part in parts:
        for finding in part.findings:
            image = Reference.to(part.volume.slices[finding.largest_slice])
            named.setdefault(_Selected(part.volume.series_uid, image), []).append(_told(finding))
    if not named:
        return None
    document = companion(
        KeyObjectSelectionDocumentStorage, "KO", SERIES_NUMBER_KEY_OBJECTS, "key images", parts, context
    )
    places = {text(one.header, "SOPInstanceUID"): one.header for part in parts for one in part.volume.slices}
    lines = [f"{context.terms.upper()}."] if context.terms else []
    verified = "Verified by a person." if context.reviewer is not None else "Not verified by a person."
    lines.append(f"{verified} The slice in which each finding is largest:")
    for selected, findings in named.items():
        lines += [f"{_place(selected.reference, places)}: {told}" for told in findings]
    _put_content(document, codes.OF_INTEREST, "\n".join(lines), named)
    return document


def write_rejection_note(
    path: Path,
    key: str,
    rejected: Sequence[Path],
    code: RejectionCode,
    reason: str,
    created: datetime,
    *,
    expected: Sequence[tuple[str, str]] | None = None,
) -> tuple[str, str]:
    """Write the note that takes saved results out of use; return its SOP Instance and SOP Class UID.

    `rejected`: their files, of one study. All UIDs derive from `key`, dates are `created`: the same input gives the
    same bytes. Patient and study are those of the first file, byte for byte. Read back before it counts. `reason`: for
    people, in the patient's study, so without anybody's name.

    `expected`: SOP Instance UID and sha256 (hexadecimal) of each file, in the order of `rejected`. Raises OSError for a
    file that cannot be read, ResultRefused for one that is another than expected, and for files of different studies.
    """
    if expected is None:
        headers: list[Dataset] = [pydicom.dcmread(file, stop_before_pixels=True) for file in rejected]
    else:
        headers = [_header_as_saved(file, *known) for file, known in zip(rejected, expected, strict=True)]
    if not headers:
        raise ResultRefused("a rejection note names at least one object; none was given")
    source = source_identity(headers[0])
    studies = {text(header, "StudyInstanceUID") for header in headers}
    if len(studies) != 1:
        raise ResultRefused(f"the objects to reject are of {len(studies)} studies; write a note for each study")
    note = identified(KeyObjectSelectionDocumentStorage, derived_uid(key, "rejection", "instance"))
    note.StudyInstanceUID, note.SeriesInstanceUID = studies.pop(), derived_uid(key, "rejection", "series")
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", SERIES_NUMBER_REJECTION, 1
    note.SeriesDescription = f"Rejection note: {_TITLES[code].meaning}"[:64]
    stamp_at(note, headers[0], created)
    selected = [
        _Selected(
            text(header, "SeriesInstanceUID"),
            Reference(text(header, "SOPClassUID"), text(header, "SOPInstanceUID"), None),
        )
        for header in headers
    ]
    _put_content(note, _TITLES[code], reason, selected)
    identity = result_identity(source, [reason])
    save(note, path, identity)
    written = pydicom.dcmread(path)
    require_same_identity(written, identity, "rejection note")
    read = rejection_note(written)
    missing = {one.reference.sop_instance_uid for one in selected}
    if read is not None:
        missing -= {reference.sop_instance_uid for reference in read.references}
    if read is None or read.code is not code or missing:
        raise ResultRefused(f"the rejection note does not reject {len(missing)} of {len(selected)} objects")
    return str(note.SOPInstanceUID), str(note.SOPClassUID)


def _header_as_saved(path: Path, sop_instance_uid: str, digest: str) -> Dataset:
    """The header of a file whose bytes are those that were saved: a note on another's would reject the wrong object."""
    with path.open("rb") as file:
        intact = hashlib.file_digest(file, "sha256").hexdigest() == digest
        file.seek(0)
        header = pydicom.dcmread(file, stop_before_pixels=True) if intact else Dataset()
    if text(header, "SOPInstanceUID") != sop_instance_uid:
        raise ResultRefused(f"{path} is not what was saved: restore it from a backup")
    return header


_TITLES = {
    RejectionCode.QUALITY: codes.REJECTED_FOR_QUALITY,
    RejectionCode.PATIENT_SAFETY: codes.REJECTED_FOR_PATIENT_SAFETY,
    RejectionCode.WRONG_WORKLIST_ENTRY: codes.INCORRECT_WORKLIST_ENTRY,
}


def _put_content(document: Dataset, title: Code, description: str, selected: Iterable[_Selected]) -> None:
    """Title, description and objects (PS3.16 TID 2010), and the same objects as evidence (PS3.3 C.17.6.2)."""
    chosen = list(selected)
    document.ReferencedPerformedProcedureStepSequence = []
    study = Dataset()
    listed = ((one.series_uid, one.reference) for one in chosen)
    study.ReferencedSeriesSequence = referenced_series(listed, "ReferencedSOPSequence")
    study.StudyInstanceUID = document.StudyInstanceUID
    document.CurrentRequestedProcedureEvidenceSequence = [study]
    document.ValueType, document.ContinuityOfContent = "CONTAINER", "SEPARATE"
    document.ConceptNameCodeSequence = [coded(title)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    document.ContentTemplateSequence = [template]
    text_item = Dataset()
    text_item.RelationshipType, text_item.ValueType = "CONTAINS", "TEXT"
    text_item.ConceptNameCodeSequence = [coded(codes.KEY_OBJECT_DESCRIPTION)]
    text_item.TextValue = description or title.meaning
    document.ContentSequence = [text_item, *(_object_item(one.reference) for one in chosen)]


def _object_item(reference: Reference) -> Dataset:
    """An object as a content item: an image, with its frame where it is one of several, or something composite."""
    image = holds_images(reference.sop_class_uid) or reference.sop_class_uid == SegmentationStorage
    item, sop = Dataset(), Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE" if image else "COMPOSITE"
    sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
    if reference.frame_number is not None:
        sop.ReferencedFrameNumber = reference.frame_number
    item.ReferencedSOPSequence = [sop]
    return item


def _told(finding: Finding) -> str:
    sizes = [item.text for item in finding.measurements if item.kind in (MeasurementKind.VOLUME, MeasurementKind.AREA)]
    return ", ".join([finding.label, *sizes, finding.assurance])


def _place(reference: Reference, headers: Mapping[str, Dataset]) -> str:
    """The image as people find it in a viewer."""
    number = integer(headers[reference.sop_instance_uid], "InstanceNumber")
    image = "Image" if number is None else f"Image {number}"
    return image if reference.frame_number is None else f"{image}, frame {reference.frame_number}"
