"""Answers, measurements and references -> one Comprehensive 3D SR (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.finding import Finding, Profile, ReadAnswer, ResultContext, SegmentedConcept
from dicom_node.results.identity import copy_identity, tolerant_source
from dicom_node.results.measurement import area_mm2, diameters, mean_and_deviation, volume_ml
from dicom_node.results.segmentation import series_description, stamp
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.planes import functional_group

__all__ = ["SERIES_NUMBER_SR", "build_report"]

SERIES_NUMBER_SR = 9302

_TITLES = {
    # OHIF 3.13.2's measurement viewport crashes on groups that only reference segments; this title opens as text.
    Profile.OHIF: Code("126001", "DCM", "Oncology Measurement Report"),
    Profile.AIR: Code("126000", "DCM", "Imaging Measurement Report"),
}
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_MILLILITRE = Code("ml", "UCUM", "ml")
_MILLIMETRE = Code("mm", "UCUM", "mm")
_SQUARE_MILLIMETRE = Code("mm2", "UCUM", "mm2")
_HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
_RATIO = Code("1", "UCUM", "no units")


def build_report(
    volume: SeriesVolume, answers: Sequence[ReadAnswer], segmentation: Dataset | None, context: ResultContext
) -> Dataset:
    """The SR of a job: a measurement group per finding, a qualitative evaluation for each "not seen".

    `segmentation`: the SEG of the same job, or None when nothing was seen. The same input gives the same bytes.
    """
    instance_uid = derived_uid(context.job_key, "sr", "instance")
    groups = list(_groups(volume, answers, segmentation, context))
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
        title=_TITLES[context.profile],
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
        referenced_images=[_library_entry(source) for source in volume.sources],
    )
    content[0].ContentSequence.extend(_texts(answers, context))
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
    stamp(report, context)


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


def _texts(answers: Sequence[ReadAnswer], context: ResultContext) -> Iterator[Any]:
    """Question and answer as text, so that a reader needs no table of codes; the terms, where there are any."""
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    for answer in answers:
        yield hd.sr.TextContentItem(codes.QUESTION, answer.question, contains)
        yield hd.sr.TextContentItem(codes.ANSWER, answer.text, contains)
    if context.terms:
        yield hd.sr.TextContentItem(codes.TERMS, context.terms.upper(), contains)


def _groups(
    volume: SeriesVolume, answers: Sequence[ReadAnswer], segmentation: Dataset | None, context: ResultContext
) -> Iterator[Any]:
    number = 0
    for ordinal, answer in enumerate(answers):
        for finding in answer.findings:
            number += 1
            yield _finding_group(volume, finding, number, segmentation)
        if not answer.findings and not answer.not_seen:
            # A question without a coded target still leaves its trace; TID 1500 wants a group for it.
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.job_key, "nothing marked", str(ordinal)),
                    identifier=f"question {ordinal + 1}",
                ),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.NOTHING_MARKED)],
            )
        for concept in answer.not_seen:
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.job_key, "not seen", str(ordinal), concept.label),
                    identifier=f"{concept.label} {ordinal + 1}",
                ),
                finding_type=concept.type,
                finding_category=concept.category,
                finding_sites=_sites(concept),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.NOT_SEEN)],
            )


def _sites(concept: SegmentedConcept) -> list[Any] | None:
    """The finding site with its laterality; an organ is its own site where only its side is to be said."""
    site = concept.site or (concept.type if concept.laterality is not None else None)
    return [hd.sr.FindingSite(site, laterality=concept.laterality)] if site is not None else None


def _finding_group(volume: SeriesVolume, finding: Finding, number: int, segmentation: Dataset | None) -> Any:
    common: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=finding.tracking_uid, identifier=finding.tracking_id),
        "finding_type": finding.concept.type,
        "finding_category": finding.concept.category,
        "finding_sites": _sites(finding.concept),
        "measurements": list(_measurements(volume, finding)),
        "qualitative_evaluations": [hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.SEEN)],
    }
    if segmentation is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    # from_segmentation() fails on a SEG with one segment, whose identification stands in the shared group.
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=_source_images(volume, finding),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


def _source_images(volume: SeriesVolume, finding: Finding) -> list[Any]:
    """References to the slices that the mask touches."""
    touched = np.flatnonzero(finding.mask.any(axis=(1, 2)))
    if volume.frame_numbers is None:
        return [_source_image(volume.sources[index], None) for index in touched]
    return [_source_image(volume.sources[0], sorted(volume.frame_numbers[index] for index in touched))]


def _source_image(source: Dataset, frame_numbers: list[int] | None) -> Any:
    return hd.sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID, frame_numbers)


def _measurements(volume: SeriesVolume, finding: Finding) -> Iterator[Any]:
    def measurement(value: str, scheme: str, meaning: str, number: float, unit: Code, **more: Any) -> Any:
        return hd.sr.Measurement(
            name=hd.sr.CodedConcept(value, scheme, meaning), value=round(number, 3), unit=unit, **more
        )

    if (millilitres := volume_ml(volume, finding.mask)) is not None:
        yield measurement("118565006", "SCT", "Volume", millilitres, _MILLILITRE)
    if (area := area_mm2(volume, finding.mask)) is not None:
        yield measurement("42798000", "SCT", "Area", area, _SQUARE_MILLIMETRE)
    if (size := diameters(volume, finding.mask)) is not None:
        yield measurement("103339001", "SCT", "Long Axis", size.longest_mm, _MILLIMETRE)
        yield measurement("103340004", "SCT", "Short Axis", size.perpendicular_mm, _MILLIMETRE)
    if volume.modality == "CT" and (values := mean_and_deviation(volume, finding.mask)) is not None:
        for (value, meaning), number in zip(
            (("373098007", "Mean"), ("386136009", "Standard Deviation")), values, strict=True
        ):
            yield measurement("112031", "DCM", "Attenuation Coefficient", number, _HOUNSFIELD,
                              derivation=Code(value, "SCT", meaning))  # fmt: skip
    confidence = codes.CONFIDENCE
    yield measurement(confidence.value, confidence.scheme_designator, confidence.meaning, finding.confidence, _RATIO)
