"""Which procedure a report is about, and which request it answers, as far as the source says (PS3.3 C.17.2)."""

from __future__ import annotations

from collections.abc import Iterator

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.elements import codes as coded_concepts
from dicom_node.headers.elements import items, text
from dicom_node.results import codes

__all__ = ["procedures", "requests"]

_WHERE = (
    ("ProcedureCodeSequence",),
    ("RequestedProcedureCodeSequence",),
    ("RequestAttributesSequence", "RequestedProcedureCodeSequence"),
)
_AT_MOST = {"AccessionNumber": 16, "PlacerOrderNumberImagingServiceRequest": 64,
            "FillerOrderNumberImagingServiceRequest": 64, "RequestedProcedureID": 16,
            "RequestedProcedureDescription": 64}  # fmt: skip
_CODE_MEANING, _CODING_SCHEME = 64, 16


def procedures(source: Dataset) -> list[hd.sr.CodedConcept]:
    """What was performed, else what was requested, else what the modality tells; never empty.

    Items of the source that are no codes are passed over.
    """
    for keywords in _WHERE:
        if concepts := list(_concepts(source, *keywords)):
            return concepts
    modality = codes.PROCEDURES.get(text(source, "Modality"), codes.IMAGING_PROCEDURE)
    return [hd.sr.CodedConcept.from_code(modality)]


def requests(source: Dataset) -> list[Dataset]:
    """Items for Referenced Request Sequence, one for each request that the source says it was made for."""
    stated = list(items(source, "RequestAttributesSequence"))
    return [_request(item, source, alone=len(stated) == 1) for item in stated]


def _request(stated: Dataset, source: Dataset, *, alone: bool) -> Dataset:
    """What the item leaves out is taken from the source itself where that cannot be another request's."""
    request = Dataset()
    request.StudyInstanceUID = text(source, "StudyInstanceUID")
    request.ReferencedStudySequence = []
    for keyword, at_most in _AT_MOST.items():
        value = text(stated, keyword) or (text(source, keyword) if alone else "")
        # Accession numbers are no texts of ours, so nothing fits them to the character set when they are saved.
        plain = value.isascii() and value.isprintable()
        setattr(request, keyword, value[:at_most] if plain or keyword != "AccessionNumber" else "")
    concepts = list(_concepts(stated, "RequestedProcedureCodeSequence"))
    if alone and not concepts:
        concepts = list(_concepts(source, "RequestedProcedureCodeSequence"))
    request.RequestedProcedureCodeSequence = concepts
    return request


def _concepts(header: Dataset, *keywords: str) -> Iterator[hd.sr.CodedConcept]:
    for concept in coded_concepts(header, *keywords):
        plain = concept.value.isascii() and concept.value.isprintable()
        if plain and concept.scheme and len(concept.scheme) <= _CODING_SCHEME:
            yield _written(concept)


def _written(concept: CodedHeader) -> hd.sr.CodedConcept:
    meaning = (concept.meaning or concept.value)[:_CODE_MEANING]
    return hd.sr.CodedConcept(concept.value, concept.scheme, meaning)
