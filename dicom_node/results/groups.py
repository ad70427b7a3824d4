"""Measurement groups of an SR: a finding with its segment, contours and measurements; what was not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.contour import outlines
from dicom_node.results.finding import Finding, Profile, ReadAnswer, ResultContext, SegmentedConcept
from dicom_node.results.measurement import area_mm2, diameters, mean_and_deviation, volume_ml
from dicom_node.volumes.load import SeriesVolume

__all__ = ["finding_groups", "has_contours", "not_outlined", "qualitative_evaluations", "unseen_groups"]

_MILLILITRE = Code("ml", "UCUM", "ml")
_MILLIMETRE = Code("mm", "UCUM", "mm")
_SQUARE_MILLIMETRE = Code("mm2", "UCUM", "mm2")
_HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
_RATIO = Code("1", "UCUM", "no units")


def has_contours(volume: SeriesVolume, answers: Sequence[ReadAnswer]) -> bool:
    """Whether every finding gets a contour: on an image without patient geometry, where anything was marked."""
    findings = [finding for answer in answers for finding in answer.findings]
    return volume.geometry is None and bool(findings) and all(finding.mask.any() for finding in findings)


def not_outlined(finding: Finding) -> str | None:
    """What a reader of contours has to know about parts that got none; None where every part has one."""
    parts, count = outlines(finding.mask[0])
    if count == len(parts):
        return None
    return f"{finding.tracking_id}: the {len(parts)} largest of {count} parts are outlined; the segmentation holds all."


def finding_groups(
    volume: SeriesVolume, answers: Sequence[ReadAnswer], segmentation: Dataset | None, context: ResultContext
) -> Iterator[Any]:
    """A group per finding that references its segment; on an image without patient geometry contours follow it.

    TID 1411 with a segment of a volume; TID 1410 with a frame of the SEG, then TID 1410 with an image region per part.
    The first contour shares the finding's tracking UID, others have their own: viewers show one contour per UID.
    """
    findings = [finding for answer in answers for finding in answer.findings]
    for number, finding in enumerate(findings, start=1):
        yield _segment_group(volume, finding, number, segmentation, context)
        if volume.geometry is None:
            yield from _contour_groups(volume, finding)


def unseen_groups(answers: Sequence[ReadAnswer], context: ResultContext) -> Iterator[Any]:
    """A group without measurements for what was looked for and not seen, and for a question that marked nothing."""
    for ordinal, answer in enumerate(answers):
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


def qualitative_evaluations(answers: Sequence[ReadAnswer]) -> Any:
    """What `unseen_groups` says as the container Qualitative Evaluations of TID 1500; None where there is nothing.

    For viewers that draw every measurement group and stumble over one without coordinates.
    """
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    items: list[Any] = []
    for answer in answers:
        if not answer.findings and not answer.not_seen:
            items.append(hd.sr.CodeContentItem(codes.PRESENCE, codes.NOTHING_MARKED, contains))
        for concept in answer.not_seen:
            item = hd.sr.CodeContentItem(codes.NOT_SEEN, concept.type, contains)
            if sites := _sites(concept):
                item.ContentSequence = hd.sr.ContentSequence(sites)
            items.append(item)
    if not items:
        return None
    container = hd.sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = hd.sr.ContentSequence(items)
    return container


def _sites(concept: SegmentedConcept) -> list[Any] | None:
    """The finding site with its laterality; an organ is its own site. OHIF names a contour by nothing else."""
    site = concept.site or (concept.type if concept.category == codes.ANATOMY else None)
    return [hd.sr.FindingSite(site, laterality=concept.laterality)] if site is not None else None


def _what(finding: Finding, uid: str, identifier: str) -> dict[str, Any]:
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=uid, identifier=identifier),
        "finding_type": finding.concept.type,
        "finding_category": finding.concept.category,
        "finding_sites": _sites(finding.concept),
    }


def _segment_group(
    volume: SeriesVolume, finding: Finding, number: int, segmentation: Dataset | None, context: ResultContext
) -> Any:
    common: dict[str, Any] = {
        **_what(finding, finding.tracking_uid, finding.tracking_id),
        "measurements": list(_measurements(volume, finding)),
        "qualitative_evaluations": [hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.SEEN)],
    }
    if segmentation is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    if volume.geometry is None:
        frame = hd.sr.ReferencedSegmentationFrame(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            frame_number=_frame_number(segmentation, number),
            segment_number=number,
            source_image=_source_image(volume.sources[0], None),
        )
        # A frame says its segment; both numbers must not stand together (PS3.3 table 10-3).
        del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **common)
    # A reader of text gets one line for the series instead of one for every slice.
    by_series = context.profile is Profile.OHIF
    # from_segmentation() fails on a SEG with one segment, whose identification stands in the shared group.
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=None if by_series else _source_images(volume, finding),
        source_series=hd.sr.SourceSeriesForSegmentation(volume.series_uid) if by_series else None,
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


def _contour_groups(volume: SeriesVolume, finding: Finding) -> Iterator[Any]:
    parts, _ = outlines(finding.mask[0])
    source = volume.sources[0]
    for ordinal, part in enumerate(parts):
        uid, identifier = finding.tracking_uid, finding.tracking_id
        if ordinal:
            uid, identifier = derived_uid(uid, "part", str(ordinal + 1)), f"{identifier} part {ordinal + 1}"
        region = hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=part.points,
            source_image=hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
        )
        yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=region, **_what(finding, uid, identifier)
        )


def _frame_number(segmentation: Dataset, segment: int) -> int:
    """The frame (from 1) of a segment of a projection image, which has one."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        stands = group if "SegmentIdentificationSequence" in group else shared
        if int(stands.SegmentIdentificationSequence[0].ReferencedSegmentNumber) == segment:
            return number
    return 1


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

    method = codes.SPACING_METHODS.get(volume.spacing_basis) if volume.spacing_basis is not None else None
    if (millilitres := volume_ml(volume, finding.mask)) is not None:
        yield measurement("118565006", "SCT", "Volume", millilitres, _MILLILITRE)
    if (area := area_mm2(volume, finding.mask)) is not None:
        yield measurement("42798000", "SCT", "Area", area, _SQUARE_MILLIMETRE, method=method)
    if (size := diameters(volume, finding.mask)) is not None:
        yield measurement("103339001", "SCT", "Long Axis", size.longest_mm, _MILLIMETRE, method=method)
        yield measurement("103340004", "SCT", "Short Axis", size.perpendicular_mm, _MILLIMETRE, method=method)
    if volume.modality == "CT" and (values := mean_and_deviation(volume, finding.mask)) is not None:
        for (value, meaning), number in zip(
            (("373098007", "Mean"), ("386136009", "Standard Deviation")), values, strict=True
        ):
            yield measurement("112031", "DCM", "Attenuation Coefficient", number, _HOUNSFIELD,
                              derivation=Code(value, "SCT", meaning))  # fmt: skip
    confidence = codes.CONFIDENCE
    yield measurement(confidence.value, confidence.scheme_designator, confidence.meaning, finding.confidence, _RATIO)
