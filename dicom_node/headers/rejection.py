"""RejectionNote: a Key Object Selection that says which instances are not to be used (IHE RAD TF-3, 4.66)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.errors import IdentifierMismatch
from dicom_node.headers.elements import codes, items, text
from dicom_node.identifiers import checked_uid

__all__ = ["REJECTION_KEYWORDS", "RejectedReference", "RejectionCode", "RejectionNote", "rejection_note"]

REJECTION_KEYWORDS = ("ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence", "ContentSequence")


class RejectionCode(Enum):
    """The document titles of CID 7011 that take an instance out of use; the value is its code in scheme DCM.

    113039, Data Retention Policy Expired, is none of them: it says nothing against what was read.
    """

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WRONG_WORKLIST_ENTRY = "113038"

    @property
    def told(self) -> str:
        """Code and meaning (PS3.16 CID 7011)."""
        return f"{self.value}, {_MEANINGS[self]}"


_MEANINGS = {
    RejectionCode.QUALITY: "Rejected for Quality Reasons",
    RejectionCode.PATIENT_SAFETY: "Rejected for Patient Safety Reasons",
    RejectionCode.WRONG_WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
}
_CODES = {code.value: code for code in RejectionCode}


@dataclass(frozen=True)
class RejectedReference:
    """An instance that a note names. `series_uid`: "" where only a content item names the instance."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class RejectionNote:
    """What is rejected and why, without repetition, in the note's order."""

    code: RejectionCode
    references: tuple[RejectedReference, ...]


def rejection_note(header: Dataset) -> RejectionNote | None:
    """The rejection note that a header read with REJECTION_KEYWORDS and the identifiers is; None: it is none.

    The evidence (PS3.3 C.17.2.3) says which study each instance is of, whatever study the note lies in. An instance
    that only a content item names is taken to be of the note's own study. A UID that is none names nothing.
    """
    if text(header, "SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    titles = codes(header, "ConceptNameCodeSequence")
    code = next((_CODES[title.value] for title in titles if title.scheme == "DCM" and title.value in _CODES), None)
    if code is None:
        return None
    references = {reference.sop_instance_uid: reference for reference in _evidence(header)}
    own_study = text(header, "StudyInstanceUID")
    for uid in _referenced(header, "ContentSequence", "ReferencedSOPSequence"):
        references.setdefault(uid, RejectedReference(own_study, "", uid))
    return RejectionNote(code, tuple(references.values()))


def _evidence(header: Dataset) -> Iterator[RejectedReference]:
    for study in items(header, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            uids = text(study, "StudyInstanceUID"), text(series, "SeriesInstanceUID")
            if all(map(_is_uid, uids)):
                yield from (RejectedReference(*uids, uid) for uid in _referenced(series, "ReferencedSOPSequence"))


def _referenced(header: Dataset, *keywords: str) -> Iterator[str]:
    uids = (text(item, "ReferencedSOPInstanceUID") for item in items(header, *keywords))
    return filter(_is_uid, uids)


def _is_uid(value: str) -> bool:
    try:
        checked_uid(value, "UID")
    except IdentifierMismatch:
        return False
    return True
