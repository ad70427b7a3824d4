"""Verification of a report by a person (PS3.3 C.17.2): put on a report that is being made, or on a copy of a saved one.

A copy says what the saved report says, item for item, but that answers are told as what a model said and a person has
verified; it is another document, with UIDs of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.errors import ResultRefused
from dicom_node.headers.identity import source_identity
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.companion import coded
from dicom_node.results.finding import ResultContext, Reviewer
from dicom_node.results.gate import require_same_identity
from dicom_node.results.identity import own_texts, result_identity
from dicom_node.results.making import stamp
from dicom_node.results.saving import save

__all__ = ["predecessors", "report_series_uid", "verify", "write_verified_report"]

_NOT_STATED = "not stated"
_OBSERVED = "HAS OBS CONTEXT"


def report_series_uid(instance_uid: str) -> str:
    """Each SR has a series of its own, whose UID follows from the SR's: so a predecessor's series is known too."""
    return derived_uid("series of", instance_uid)


def predecessors(source: Dataset, context: ResultContext) -> list[Dataset]:
    """The SRs that one replaces (PS3.3 C.17.2.2); ours all lie in the source's study."""
    study = Dataset()
    study.ReferencedSeriesSequence = []
    for sop_class_uid, sop_instance_uid in context.predecessors:
        item, series = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        series.ReferencedSOPSequence = [item]
        series.SeriesInstanceUID = report_series_uid(sop_instance_uid)
        study.ReferencedSeriesSequence.append(series)
    study.StudyInstanceUID = source.StudyInstanceUID
    return [study]


def verify(report: Dataset, reviewer: Reviewer) -> None:
    """Make a report VERIFIED, by whom and when, and name the person beside the device as who observed it (TID 1002).

    The time is that of the report's content, in whose zone it is; call it once the report has its dates.
    """
    observer = Dataset()
    observer.VerifyingOrganization = reviewer.organisation or _NOT_STATED
    observer.VerificationDateTime = f"{report.ContentDate}{report.ContentTime}"
    observer.VerifyingObserverName = reviewer.name
    observer.VerifyingObserverIdentificationCodeSequence = []  # type 2: a node knows no codes of persons
    report.VerificationFlag = "VERIFIED"
    report.VerifyingObserverSequence = [observer]
    items = list(report.ContentSequence)
    after = max((place for place, item in enumerate(items, 1) if item.RelationshipType == _OBSERVED), default=0)
    items[after:after] = _person(reviewer)
    report.ContentSequence = items


def _person(reviewer: Reviewer) -> list[Dataset]:
    """PS3.16 TID 1002 and 1003."""
    kind = _item("CODE", codes.OBSERVER_TYPE)
    kind.ConceptCodeSequence = [coded(codes.PERSON)]
    name = _item("PNAME", codes.PERSON_OBSERVER_NAME)
    name.PersonName = reviewer.name
    if not reviewer.organisation:
        return [kind, name]
    organisation = _item("TEXT", codes.PERSON_OBSERVER_ORGANISATION)
    organisation.TextValue = reviewer.organisation
    return [kind, name, organisation]


def _item(value_type: str, concept: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = _OBSERVED, value_type
    item.ConceptNameCodeSequence = [coded(concept)]
    return item


def write_verified_report(
    saved: Path, path: Path, context: ResultContext, answers: Sequence[str]
) -> tuple[str, str, str]:
    """Write a verified copy of a saved report; return its SOP Instance, SOP Class and Series Instance UID.

    UIDs derive from `context.object_key`, dates are `context.created`, its reviewer verifies it: the same input gives
    the same bytes. What it refers to stays what the saved one refers to. `answers`: what stands in place of the text of
    each of its answers, in order: a person has verified what is marked, not the words of a model. Read back before it
    counts. Raises ResultRefused where it says something else.
    """
    report = pydicom.dcmread(saved)
    source = source_identity(report)
    _tell(report, answers)
    identity = result_identity(source, own_texts(context, _texts_of(report)))
    content = copy.deepcopy(report.ContentSequence)
    report.SOPInstanceUID = derived_uid(context.object_key, "sr", "instance")
    report.SeriesInstanceUID = report_series_uid(report.SOPInstanceUID)
    if context.predecessors:
        report.PredecessorDocumentsSequence = predecessors(report, context)
    stamp(report, report, context)
    if context.reviewer is None:
        raise ResultRefused("a report is verified by a person; none was named")
    verify(report, context.reviewer)
    save(report, path, identity)
    written = pydicom.dcmread(path)
    require_same_identity(written, identity, "SR")
    if written.VerificationFlag != "VERIFIED":
        raise ResultRefused("the verified report does not say that it is verified")
    people = {codes.PERSON_OBSERVER_NAME.value, codes.PERSON_OBSERVER_ORGANISATION.value}
    kept = [item for item in written.ContentSequence if not _is_of_person(item, people)]
    if len(kept) != len(content) or any(a.to_json() != b.to_json() for a, b in zip(kept, content, strict=True)):
        raise ResultRefused("the verified report does not say what the delivered one says")
    return str(written.SOPInstanceUID), str(written.SOPClassUID), str(written.SeriesInstanceUID)


def _tell(report: Dataset, answers: Sequence[str]) -> None:
    items = [item for item in report.ContentSequence if item.ValueType == "TEXT" and _code(item) == codes.ANSWER.value]
    if len(items) != len(answers):
        raise ResultRefused(f"the report that was reviewed has {len(items)} answers, and its job {len(answers)}")
    for item, text in zip(items, answers, strict=True):
        item.TextValue = text


def _code(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""


def _is_of_person(item: Dataset, people: set[str]) -> bool:
    named = _code(item)
    if named == codes.OBSERVER_TYPE.value:
        return bool(item.ConceptCodeSequence[0].CodeValue == codes.PERSON.value)
    return named in people


def _texts_of(report: Dataset) -> tuple[str, ...]:
    """The texts of a report, at any depth: its copy has to be able to hold them."""
    return tuple(str(element.value) for element in report.iterall() if element.VR in ("LO", "SH", "UT", "UC", "LT"))
