"""Answers, measurements and references -> one Comprehensive 3D SR (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import integer
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.results.equipment import (
    DEVICE_SERIAL_NUMBER,
    MANUFACTURER,
    contributing_equipment,
    node_device_uid,
)
from dicom_node.results.finding import PointedOut, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.image_library import image_library
from dicom_node.results.making import series_description, stamp
from dicom_node.results.measurement_groups import (
    finding_groups,
    has_contours,
    not_in_groups,
    not_outlined,
    qualitative_evaluations,
    unseen_groups,
)
from dicom_node.results.procedure import procedures, requests
from dicom_node.results.profiles import PROFILES, ReportForm
from dicom_node.results.stand_ins import evidence, put_classes, references
from dicom_node.results.verified import predecessors, report_series_uid, verify

__all__ = ["SERIES_NUMBER_SR", "build_report"]

SERIES_NUMBER_SR = 9302


def build_report(
    parts: Sequence[ReadPart],
    segmentations: Sequence[Dataset | None],
    context: ResultContext,
    notes: Sequence[str] = (),
) -> Dataset:
    """The SR of a job over all of its parts: a measurement group per finding, an evaluation for each without a mask.

    `segmentations`: the SEG of each part, or None where nothing was seen or none could be written. `notes`: what else
    a reader has to know, such as what was left out. The same input gives the same bytes. Raises ResultRefused where the
    parts are not of one series.
    """
    _require_one_series(parts)
    sources = _without_repeats([source for part in parts for source in part.volume.sources])
    first = sources[0]
    instance_uid = derived_uid(context.object_key, "sr", "instance")
    meaning = PROFILES[context.profile]
    form = meaning.drawn_report if has_contours(parts) else meaning.report
    performed = procedures(first)
    content = hd.sr.MeasurementReport(
        observation_context=_observation_context(context),
        procedure_reported=performed,
        imaging_measurements=list(_groups(parts, segmentations, context, form)),
        title=form.title,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    texts = list(_texts(list(zip(parts, segmentations, strict=True)), context, form, notes))
    _finish_content(content[0], texts, parts, form)
    seen = [*sources, *(segmentation for segmentation in segmentations if segmentation is not None)]
    report = hd.sr.Comprehensive3DSR(
        evidence=[evidence(dataset) for dataset in seen],
        content=content[0],
        series_instance_uid=report_series_uid(instance_uid),
        series_number=SERIES_NUMBER_SR,
        sop_instance_uid=instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=context.complete,
        is_final=False,
        is_verified=False,
        series_description=series_description("SR", context, parts),
        performed_procedure_codes=performed,
        requested_procedures=requests(first) or None,
        record_evidence=True,
    )
    put_classes(report, seen)
    _complete_header(report, first, context)
    if context.reviewer is not None:
        verify(report, context.reviewer)
    return report


def _require_one_series(parts: Sequence[ReadPart]) -> None:
    series = {(part.volume.study_uid, part.volume.series_uid) for part in parts}
    if len(series) != 1:
        raise ResultRefused(f"a report is about the parts of one series, not of {len(series)}")


def _without_repeats(sources: Sequence[Dataset]) -> list[Dataset]:
    """Each source once: two parts may be frames of one multi-frame instance."""
    return list({str(source.SOPInstanceUID): source for source in sources}.values())


def _observation_context(context: ResultContext) -> Any:
    device = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=node_device_uid(context),
            name=context.station_ae_title,
            manufacturer_name=MANUFACTURER,
            model_name=context.algorithm_name,
            serial_number=DEVICE_SERIAL_NUMBER,
        ),
    )
    return hd.sr.ObservationContext(observer_device_context=device)


def _groups(
    parts: Sequence[ReadPart], segmentations: Sequence[Dataset | None], context: ResultContext, form: ReportForm
) -> Iterator[Any]:
    """Measurement groups: first of what was seen in any part, then of what was not."""
    for part, segmentation in zip(parts, segmentations, strict=True):
        yield from finding_groups(part, segmentation, context, form)
    if form.unseen_in_groups:
        for part in parts:
            yield from unseen_groups(part, context, form, name_image=form.image_references and len(parts) > 1)


def _finish_content(root: Any, texts: Sequence[Any], parts: Sequence[ReadPart], form: ReportForm) -> None:
    """Question and answer before everything else that is contained, each content item on its own."""
    items = list(root.ContentSequence)
    first = next(index for index, item in enumerate(items) if item.ValueType == "CONTAINER")
    items[first:first] = [image_library(parts)] if form.image_library else []
    start = 0 if form.texts_first else first
    items[start:start] = texts
    if not form.unseen_in_groups:
        answers = [answer for part in parts for answer in part.answers]
        if (evaluations := qualitative_evaluations(answers, form)) is not None:
            items.append(evaluations)
    root.ContentSequence = items
    # The items are statements of their own, no running text (PS3.3 C.17.3.2.3); viewers then name each.
    root.ContinuityOfContent = "SEPARATE"
    for container in items:
        library = container.ConceptNameCodeSequence[0].CodeValue == codes.IMAGE_LIBRARY.value
        if container.ValueType == "CONTAINER" and not library:
            for item in (container, *container.ContentSequence):
                if item.ValueType == "CONTAINER":
                    item.ContinuityOfContent = "SEPARATE"


def _complete_header(report: Dataset, source: Dataset, context: ResultContext) -> None:
    report.ManufacturerModelName = context.algorithm_name
    report.SoftwareVersions = context.algorithm_version
    report.DeviceSerialNumber = DEVICE_SERIAL_NUMBER
    report.ContributingEquipmentSequence = contributing_equipment(context)
    if context.predecessors:
        report.PredecessorDocumentsSequence = predecessors(source, context)
    stamp(report, source, context)


def _texts(
    parts: Sequence[tuple[ReadPart, Dataset | None]], context: ResultContext, form: ReportForm, notes: Sequence[str]
) -> Iterator[Any]:
    """The terms, where there are any; question and answer, so that a reader needs no table of codes; comments.

    Right after an answer stands what was not assessed and why, and what an earlier result said. A comment says which
    part the answers after it are about, where there are several, which numbers a group has no room for, and which
    pieces of a mask were not outlined. Last stands the protocol that asked, with the first digits of its file's digest.
    `parts`: each with its SEG.
    """
    if context.terms:
        yield _text(codes.TERMS, context.terms.upper())
    for place, (part, segmentation) in enumerate(parts, start=1):
        which = ", ".join(filter(None, [part.volume.name, _instances(part)]))
        name = _text(codes.COMMENT, f"Part {place} of {len(parts)}: {which}")
        if len(parts) > 1:
            yield name
        for answer in part.answers:
            yield _text(codes.QUESTION, answer.question)
            yield _text(codes.ANSWER, answer.text)
            yield from (_text(codes.NOT_ASSESSED, one.told) for one in answer.not_assessed)
            yield from (_text(codes.COMPARISON, sentence) for sentence in _comparisons(answer))
            yield from (_pointed_out(part, one) for one in answer.pointed_out)
            for finding in answer.findings:
                yield from (_text(codes.COMMENT, number) for number in not_in_groups(finding, form))
                if part.volume.geometry is None:
                    outlined = not_outlined(finding, segmented=segmentation is not None)
                    yield from (_text(codes.COMMENT, note) for note in outlined)
        if len(parts) == 1 and part.volume.name:
            yield name
    yield from (_text(codes.COMMENT, note) for note in notes)
    if context.protocol_digest:
        yield _text(codes.READING_PROTOCOL, context.named_protocol)


def _text(concept: Code, value: str) -> Any:
    return hd.sr.TextContentItem(concept, value, hd.sr.RelationshipTypeValues.CONTAINS)


def _pointed_out(part: ReadPart, one: PointedOut) -> Any:
    """A comment on a place, with the image and the point that it is inferred from (PS3.3 A.35.13.3.1.2)."""
    source = references(part.volume)[one.slice_index]
    frames = None if source.frame_number is None else [source.frame_number]
    point = hd.sr.CoordinatesForMeasurement(
        graphic_type=hd.sr.GraphicTypeValues.POINT,
        graphic_data=np.array([[one.column + 0.5, one.row + 0.5]]),  # 0, 0 is the first pixel's corner (C.18.6.1.1)
        source_image=hd.sr.SourceImageForRegion(CTImageStorage, source.sop_instance_uid, frames),
    )
    point.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPClassUID = source.sop_class_uid
    comment = _text(codes.COMMENT, one.text)
    comment.ContentSequence = hd.sr.ContentSequence([point])
    return comment


def _comparisons(answer: ReadAnswer) -> Iterator[str]:
    for finding in answer.findings:
        yield from (f"{finding.qualified(finding.phrase)}: {change.text}" for change in finding.changes)
    yield from answer.compared


def _instances(part: ReadPart) -> str:
    """The images of a part as people find them in a viewer."""
    sources = part.volume.sources
    numbers = sorted(found for source in sources if (found := integer(source, "InstanceNumber")) is not None)
    frames = f", {len(part.volume.slices)} frames" if part.volume.slices[0].frame_number is not None else ""
    if not numbers:
        return f"{len(part.volume.values)} images"
    if len(numbers) == 1:
        return f"instance {numbers[0]}{frames}"
    return f"{len(sources)} instances, numbers {numbers[0]} to {numbers[-1]}{frames}"
