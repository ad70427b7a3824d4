"""Answers, measurements and references -> one Comprehensive 3D SR (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.finding import Profile, ReadAnswer, ResultContext
from dicom_node.results.groups import (
    finding_groups,
    has_contours,
    not_outlined,
    qualitative_evaluations,
    unseen_groups,
)
from dicom_node.results.identity import copy_identity, tolerant_source
from dicom_node.results.segmentation import series_description, stamp
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.planes import functional_group

__all__ = ["SERIES_NUMBER_SR", "build_report"]

SERIES_NUMBER_SR = 9302
_IMAGING_MEASUREMENTS = Code("126000", "DCM", "Imaging Measurement Report")
_ONCOLOGY_MEASUREMENTS = Code("126001", "DCM", "Oncology Measurement Report")
_IMAGE_LIBRARY = "111028"
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True)
class _Form:
    """How a report is laid out (PS3.16 TID 1500).

    `unseen_in_groups`: a measurement group for what was not seen, else the container Qualitative Evaluations.
    """

    title: Code
    unseen_in_groups: bool
    image_library: bool


_STRICT = _Form(_IMAGING_MEASUREMENTS, unseen_in_groups=True, image_library=True)
# OHIF 3.13.2 draws the contours of a report so titled, and crashes on a group that has none.
_DRAWN = _Form(_IMAGING_MEASUREMENTS, unseen_in_groups=False, image_library=True)
# A report so titled opens there as text, a line for each content item; a reference to an image is a line without sense.
_READ = _Form(_ONCOLOGY_MEASUREMENTS, unseen_in_groups=True, image_library=False)


def _form(profile: Profile, drawn: bool) -> _Form:
    match profile:
        case Profile.AIR:
            return _STRICT
        case Profile.OHIF:
            return _DRAWN if drawn else _READ
        case _:
            assert_never(profile)


def build_report(
    volume: SeriesVolume, answers: Sequence[ReadAnswer], segmentation: Dataset | None, context: ResultContext
) -> Dataset:
    """The SR of a job: a measurement group per finding, a qualitative evaluation for each "not seen".

    `segmentation`: the SEG of the same job, or None when nothing was seen. The same input gives the same bytes.
    """
    instance_uid = derived_uid(context.job_key, "sr", "instance")
    form = _form(context.profile, has_contours(volume, answers))
    groups = list(finding_groups(volume, answers, segmentation, context))
    if form.unseen_in_groups:
        groups += unseen_groups(answers, context)
    device = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", codes.DEVICE_SERIAL_NUMBER),
            name=context.station_ae_title,
            manufacturer_name=codes.MANUFACTURER,
            model_name=context.algorithm_name,
            serial_number=codes.DEVICE_SERIAL_NUMBER,
        ),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=form.title,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
        referenced_images=[_library_entry(source) for source in volume.sources] if form.image_library else None,
    )
    _finish_content(content[0], volume, answers, context, form)
    evidence = [tolerant_source(source) for source in volume.sources]
    if segmentation is not None:
        evidence.append(tolerant_source(segmentation))
    report = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=_series_uid(instance_uid),
        series_number=SERIES_NUMBER_SR,
        sop_instance_uid=instance_uid,
        instance_number=1,
        manufacturer=codes.MANUFACTURER,
        is_complete=context.complete,
        is_final=False,
        is_verified=False,
        series_description=series_description("SR", context),
        record_evidence=True,
    )
    _complete(report, volume, context)
    copy_identity(volume.sources[0], report)
    return report


def _finish_content(
    root: Any, volume: SeriesVolume, answers: Sequence[ReadAnswer], context: ResultContext, form: _Form
) -> None:
    """Question and answer before everything else that is contained, each content item on its own."""
    items = list(root.ContentSequence)
    first = next(index for index, item in enumerate(items) if item.ValueType == "CONTAINER")
    items[first:first] = _texts(volume, answers, context)
    if not form.unseen_in_groups and (evaluations := qualitative_evaluations(answers)) is not None:
        items.append(evaluations)
    root.ContentSequence = items
    # The items are statements of their own, no running text (PS3.3 C.17.3.2.3); viewers then name each.
    root.ContinuityOfContent = "SEPARATE"
    for container in items:
        if container.ValueType == "CONTAINER" and container.ConceptNameCodeSequence[0].CodeValue != _IMAGE_LIBRARY:
            for item in (container, *container.ContentSequence):
                if item.ValueType == "CONTAINER":
                    item.ContinuityOfContent = "SEPARATE"


def _complete(report: Dataset, volume: SeriesVolume, context: ResultContext) -> None:
    report.ManufacturerModelName = context.algorithm_name
    report.SoftwareVersions = context.algorithm_version
    report.DeviceSerialNumber = codes.DEVICE_SERIAL_NUMBER
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept("109102", "DCM", "Processing Equipment")]
    item.Manufacturer, item.ManufacturerModelName = codes.MANUFACTURER, context.algorithm_name
    item.SoftwareVersions, item.DeviceSerialNumber = context.algorithm_version, codes.DEVICE_SERIAL_NUMBER
    item.ContributionDescription = f"weights sha256 {context.weights_digest}"
    report.ContributingEquipmentSequence = [item]
    if context.predecessors:
        report.PredecessorDocumentsSequence = [_predecessor(volume.sources[0], context)]
    stamp(report, volume.sources[0], context)


def _series_uid(instance_uid: str) -> str:
    """Each SR has a series of its own, whose UID follows from the SR's: so a predecessor's series is known too."""
    return derived_uid("series of", instance_uid)


def _predecessor(source: Dataset, context: ResultContext) -> Dataset:
    """The SRs that this one replaces (PS3.3 C.17.2.2); ours all lie in the source's study."""
    study = Dataset()
    study.ReferencedSeriesSequence = []
    for sop_class_uid, sop_instance_uid in context.predecessors:
        item, series = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        series.ReferencedSOPSequence = [item]
        series.SeriesInstanceUID = _series_uid(sop_instance_uid)
        study.ReferencedSeriesSequence.append(series)
    study.StudyInstanceUID = source.StudyInstanceUID
    return study


def _library_entry(source: Dataset) -> Dataset:
    """A source as TID 1602 describes it; a multi-frame one by its first frame's place."""
    entry = tolerant_source(source)
    if "SharedFunctionalGroupsSequence" not in source:
        return entry
    for macro, keywords in (
        ("PixelMeasuresSequence", ("PixelSpacing", "SliceThickness")),
        ("PlaneOrientationSequence", ("ImageOrientationPatient",)),
        ("PlanePositionSequence", ("ImagePositionPatient",)),
    ):
        group = functional_group(source, 0, macro)
        for keyword in keywords:
            if group is not None and keyword in group:
                entry[keyword] = group[keyword]
    return entry


def _texts(volume: SeriesVolume, answers: Sequence[ReadAnswer], context: ResultContext) -> Iterator[Any]:
    """The terms, where there are any; question and answer, so that a reader needs no table of codes; left-out parts."""
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    if context.terms:
        yield hd.sr.TextContentItem(codes.TERMS, context.terms.upper(), contains)
    for answer in answers:
        yield hd.sr.TextContentItem(codes.QUESTION, answer.question, contains)
        yield hd.sr.TextContentItem(codes.ANSWER, answer.text, contains)
        for finding in answer.findings:
            if volume.geometry is None and (note := not_outlined(finding)) is not None:
                yield hd.sr.TextContentItem(codes.COMMENT, note, contains)
