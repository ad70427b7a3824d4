"""Which documents a person has verified: what a verified report names as its predecessors (PS3.3 C.17.2)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.headers.elements import items, text

__all__ = ["VERIFICATION_KEYWORDS", "verified_documents"]

VERIFICATION_KEYWORDS = ("VerificationFlag", "PredecessorDocumentsSequence")


def verified_documents(header: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs of the documents that a report takes up, if somebody has verified it; else none.

    `header`: read with VERIFICATION_KEYWORDS. No report of a node is ever verified by the node itself.
    """
    if text(header, "VerificationFlag") != "VERIFIED":
        return ()
    named = (
        text(item, "ReferencedSOPInstanceUID")
        for study in items(header, "PredecessorDocumentsSequence")
        for series in items(study, "ReferencedSeriesSequence")
        for item in items(series, "ReferencedSOPSequence")
    )
    return tuple(dict.fromkeys(filter(None, named)))
