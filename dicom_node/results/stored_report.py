"""StoredReport: what an SR of any MedSeg Node says, read back from its content tree (PS3.16 TID 1500).

Read by concepts, wherever their items stand, so that each profile's form and those of earlier versions are understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.errors import DicomNodeError, UnparseableInstance, without_values
from dicom_node.headers.elements import BROKEN, items, number
from dicom_node.headers.elements import codes as codes_in
from dicom_node.headers.elements import text as text_in
from dicom_node.headers.instance import instance_header
from dicom_node.headers.patient import Patient
from dicom_node.headers.plain import plain
from dicom_node.headers.raw import read_header
from dicom_node.headers.series_kind import SeriesKind, series_kind
from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.results.earlier import (
    EarlierAnswer,
    EarlierFinding,
    EarlierMeasurement,
    EarlierPart,
    EarlierResult,
    NamedConcept,
)
from dicom_node.results.equipment import is_a_nodes_result
from dicom_node.results.measurement import DEFINITIONS, MeasurementKind

__all__ = ["REPORT_CLASS", "ReportUnreadable", "StoredReport", "read_stored_report", "stored_report"]

REPORT_CLASS = str(Comprehensive3DSRStorage)
"""The SOP class of our SRs."""

_MOST_BYTES = 32 * 1024 * 1024
"""An SR of ours with a thousand findings has less."""
_LONGEST_NAME = 64
"""Characters of a code's value and meaning (SH, LO), and of what a finding is called."""
_LONGEST_QUESTION = 16 * 1024


class ReportUnreadable(DicomNodeError):
    """An SR that is none of ours, or that does not say what a comparison needs; the message has no values."""


@dataclass(frozen=True)
class StoredReport:
    """An SR of ours as a comparison needs it.

    `kind`: when its study was taken; what of is for the archive to tell, by `source_series`: the series of the images.
    `written`: date and time of the content. `predecessors`: SOP Instance UIDs of the reports that it replaces. `terms`:
    of use, "" where there are none.
    """

    sop_instance_uid: str
    study_uid: str
    source_series: tuple[str, ...]
    patient: Patient
    kind: SeriesKind
    written: str
    predecessors: tuple[str, ...]
    terms: str
    result: EarlierResult


def read_stored_report(path: Path) -> StoredReport:
    """Read the SR in a file. Raises ReportUnreadable as `stored_report` does, and for a file that is no DICOM."""
    if path.stat().st_size > _MOST_BYTES:
        raise ReportUnreadable(f"the SR is larger than {_MOST_BYTES // 1024**2} MiB")
    try:
        report = read_header(path)
    except UnparseableInstance as error:
        raise ReportUnreadable(f"the file is no DICOM: {error}") from None
    except BROKEN as error:
        raise ReportUnreadable(f"the file is no DICOM: {type(error).__name__}") from None
    return stored_report(report)


def stored_report(report: Dataset) -> StoredReport:
    """Read an SR. Raises ReportUnreadable for one that is not ours, is broken, has no date or is of several parts."""
    try:
        return _read(report)
    except UnparseableInstance as error:
        raise ReportUnreadable(f"the SR is not read: {error}") from None
    except BROKEN as error:
        raise ReportUnreadable(f"the SR is broken: {without_values(error)}") from None


def _read(report: Dataset) -> StoredReport:
    if not is_a_nodes_result(instance_header(report), _text(report, "SOPClassUID")):
        raise ReportUnreadable("the SR is not of a MedSeg Node")
    if _text(report, "SOPClassUID") != Comprehensive3DSRStorage:
        raise ReportUnreadable("the object is no SR")
    kind = series_kind(report)
    if kind.date is None:
        raise ReportUnreadable("the SR has no study date")
    return StoredReport(
        sop_instance_uid=_text(report, "SOPInstanceUID"),
        study_uid=_text(report, "StudyInstanceUID"),
        source_series=_source_series(report),
        patient=instance_header(report).patient,
        kind=kind,
        written=_text(report, "ContentDate") + _text(report, "ContentTime")[:6],
        predecessors=tuple(
            _text(item, "ReferencedSOPInstanceUID")
            for item in items(report, "PredecessorDocumentsSequence", "ReferencedSeriesSequence",
                              "ReferencedSOPSequence")
        ),
        terms=next(_texts(report, codes.TERMS), ""),
        result=_result(report, kind.date),
    )  # fmt: skip


def _source_series(report: Dataset) -> tuple[str, ...]:
    """The series of the evidence that are none of our own objects."""
    found: dict[str, None] = {}
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for series in items(report, keyword, "ReferencedSeriesSequence"):
            classes = {_text(item, "ReferencedSOPClassUID") for item in items(series, "ReferencedSOPSequence")}
            if not classes <= _OWN_CLASSES:
                found[_text(series, "SeriesInstanceUID")] = None
    return tuple(uid for uid in found if uid)


_OWN_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", str(Comprehensive3DSRStorage)})


def _result(report: Dataset, day: date) -> EarlierResult:
    questions = list(_texts(report, codes.QUESTION))
    if not questions:
        raise ReportUnreadable("the SR names no question")
    if any(len(question) > _LONGEST_QUESTION for question in questions):
        raise ReportUnreadable(f"a question of the SR has more than {_LONGEST_QUESTION} characters")
    if any(re.match(r"Part \d+ of (?!1:)", comment) for comment in _texts(report, codes.COMMENT)):
        raise ReportUnreadable("the SR is of several parts, and does not say which finding is of which")
    unseen, unassessed = (list(_without_finding(report, presence)) for presence in (codes.NOT_SEEN, codes.NOT_ASSESSED))
    seen = list(_seen(report))
    answers, texts = [], list(_texts(report, codes.ANSWER))
    for place, question in enumerate(questions, start=1):
        said = texts[place - 1] if len(texts) == len(questions) else ""
        findings = tuple(finding for number, finding in seen if number == place or len(questions) == 1)
        asked = (*(finding.concept for finding in findings), *unseen, *unassessed)
        told = EarlierAnswer(question, asked, findings, asked_in_full=False, not_assessed=tuple(unassessed))
        if findings or not said.startswith("Not asked: "):
            answers.append(told)
    if sum(len(answer.findings) for answer in answers) != len(seen):
        raise ReportUnreadable("the SR does not say which finding is of which question")
    return EarlierResult(day, (EarlierPart(tuple(answers)),), made_by=_made_by(report))


def _made_by(report: Dataset) -> str:
    """The model as `PredictorDescription` names it: the weights' digest stands in our contributing equipment."""
    described = (_text(item, "ContributionDescription") for item in items(report, "ContributingEquipmentSequence"))
    digest = next((found[1] for one in described if (found := re.match(r"weights sha256 (\w{12})", one))), "")
    named = f"{_text(report, 'ManufacturerModelName')} {_text(report, 'SoftwareVersions')}"
    return f"{named} ({digest})" if digest else ""


def _texts(report: Dataset, concept: Code) -> Iterator[str]:
    for item in items(report, "ContentSequence"):
        if _text(item, "ValueType") == "TEXT" and _is(_name(item), concept):
            yield _text(item, "TextValue")


# --- Groups -----------------------------------------------------------------------------------------------------------

_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING = Code("112039", "DCM", "Tracking Identifier")
_FINDING, _CATEGORY = Code("121071", "DCM", "Finding"), Code("276214006", "SCT", "Finding category")
_SITE, _LATERALITY = Code("363698007", "SCT", "Finding Site"), Code("272741003", "SCT", "Laterality")
_METHOD = Code("370129005", "SCT", "Measurement Method")
_SEEN = (codes.SEEN, codes.SEEN_LOW_CONFIDENCE)
_NOT_MARKED = (codes.NOT_SEEN, codes.NOT_ASSESSED, codes.NOTHING_MARKED)
_SIZES = {
    (DEFINITIONS[kind].concept.value, DEFINITIONS[kind].concept.scheme_designator): kind
    for kind in (
        MeasurementKind.VOLUME, MeasurementKind.AREA, MeasurementKind.LONG_AXIS, MeasurementKind.SHORT_AXIS,
    )
}  # fmt: skip


def _seen(report: Dataset) -> Iterator[tuple[int, EarlierFinding]]:
    """What was seen, with the number of its question, 0 where the group does not tell.

    A group of a contour says neither that something was seen nor how large it is: it belongs to its finding's.
    """
    for group in _groups(report):
        presence = _value(group, codes.PRESENCE)
        if any(_is(presence, one) for one in _NOT_MARKED):
            continue
        if not any(_is(presence, one) for one in _SEEN) and next(_measured(group), None) is None:
            continue
        concept = _concept(group)
        if concept is None:
            raise ReportUnreadable("a group of the SR names no finding")
        low = _is(presence, codes.SEEN_LOW_CONFIDENCE)
        yield _question_of(group), EarlierFinding(concept, () if low else tuple(_sizes(group)), low)


def _without_finding(report: Dataset, presence: Code) -> Iterator[NamedConcept]:
    """What was not seen, or not assessed: a group, or an item of the container Qualitative Evaluations."""
    for group in _groups(report):
        if _is(_value(group, codes.PRESENCE), presence) and (concept := _concept(group)) is not None:
            yield concept
    for item in _items(report):
        if _is(_name(item), presence) and (type_ := _code(item, "ConceptCodeSequence")) is not None:
            yield NamedConcept(type_.meaning.casefold(), type_, *_site(item))


def _groups(report: Dataset) -> Iterator[Dataset]:
    return (item for item in _items(report) if _text(item, "ValueType") == "CONTAINER" and _is(_name(item), _GROUP))


def _items(item: Dataset) -> Iterator[Dataset]:
    """Every content item beneath one."""
    for inner in items(item, "ContentSequence"):
        yield inner
        yield from _items(inner)


def _concept(group: Dataset) -> NamedConcept | None:
    type_ = _value(group, _FINDING)
    if type_ is None:
        return None
    tracked = next(
        (_text(one, "TextValue") for one in items(group, "ContentSequence") if _is(_name(one), _TRACKING)), ""
    )
    label = _NUMBERS.sub("", tracked)[:_LONGEST_NAME] or type_.meaning.casefold()
    site, laterality = _site(group)
    if site is None and _is(_value(group, _CATEGORY), codes.ANATOMY):
        site = type_  # an organ is its own site; version 0.1 did not write it
    return NamedConcept(label, type_, site, laterality)


_NUMBERS = re.compile(r" (\d+)(\.\d+)?( part \d+)?$")


def _question_of(group: Dataset) -> int:
    for item in items(group, "ContentSequence"):
        if _is(_name(item), _TRACKING) and (found := _NUMBERS.search(_text(item, "TextValue"))) and found[2]:
            return int(found[1])
    return 0


def _site(item: Dataset) -> tuple[Code | None, Code | None]:
    """Finding site and its laterality."""
    for inner in items(item, "ContentSequence"):
        if _is(_name(inner), _SITE):
            return _code(inner, "ConceptCodeSequence"), _value(inner, _LATERALITY)
    return None, None


def _sizes(group: Dataset) -> Iterator[EarlierMeasurement]:
    """What of the numbers can be sizes: the rest is as if it were not there."""
    for kind, item in _measured(group):
        measured = next(items(item, "MeasuredValueSequence"), Dataset())
        value, unit = number(measured, "NumericValue"), _code(measured, "MeasurementUnitsCodeSequence")
        if value is None or unit is None:
            continue
        method = _value(item, _METHOD)
        bounded = _is(_value(item, codes.BOUND), codes.AT_LEAST) or ", at least" in _meaning(_name(item))
        size = EarlierMeasurement(kind.value, value, unit.value, None if method is None else method.value, bounded)
        if size.is_size:
            yield size


def _measured(group: Dataset) -> Iterator[tuple[MeasurementKind, Dataset]]:
    """The items of a group that give a size, whatever they say."""
    for item in items(group, "ContentSequence"):
        name = _name(item)
        kind = None if name is None else _SIZES.get((name.value, name.scheme_designator))
        if kind is not None and _text(item, "ValueType") == "NUM":
            yield kind, item


def _text(header: Dataset, keyword: str) -> str:
    """An attribute's first value without controls: an archive's words go into a database."""
    return plain(text_in(header, keyword))


# --- Items ------------------------------------------------------------------------------------------------------------


def _name(item: Dataset) -> Code | None:
    return _code(item, "ConceptNameCodeSequence")


def _value(item: Dataset, name: Code) -> Code | None:
    """The code that a CODE item beneath `item` gives to a concept name."""
    for inner in items(item, "ContentSequence"):
        if _text(inner, "ValueType") == "CODE" and _is(_name(inner), name):
            return _code(inner, "ConceptCodeSequence")
    return None


def _code(item: Dataset, keyword: str) -> Code | None:
    found = next(iter(codes_in(item, keyword)), None)
    if found is None:
        return None
    return Code(*(plain(value, _LONGEST_NAME) for value in (found.value, found.scheme, found.meaning)))


def _is(code: Code | None, other: Code) -> bool:
    return code is not None and bool(code == other)


def _meaning(code: Code | None) -> str:
    return "" if code is None else code.meaning
