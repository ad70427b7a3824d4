"""Measurement groups of an SR: a finding with its segment, contours and measurements; what was not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.contour import outlines
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext, SegmentedConcept
from dicom_node.results.measurement import DEFINITIONS
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.planes import functional_group

__all__ = ["finding_groups", "has_contours", "not_outlined", "qualitative_evaluations", "unseen_groups"]


def has_contours(parts: Sequence[ReadPart]) -> bool:
    """Whether something was marked, and every finding gets a contour: on images without patient geometry."""
    findings = [finding for part in parts for finding in part.findings]
    projections = all(part.volume.geometry is None for part in parts)
    return projections and bool(findings) and all(finding.mask.any() for finding in findings)


def not_outlined(finding: Finding) -> str | None:
    """What a reader of contours has to know about parts that got none; None where every part has one."""
    parts, count = outlines(finding.mask[0])
    if count == len(parts):
        return None
    return f"{finding.tracking_id}: the {len(parts)} largest of {count} parts are outlined; the segmentation holds all."


def finding_groups(part: ReadPart, segmentation: Dataset | None, *, image_references: bool) -> Iterator[Any]:
    """A group per finding that references its segment; on an image without patient geometry contours follow it.

    TID 1411 with a segment of a volume; TID 1410 with a frame of the SEG, then TID 1410 with an image region for each
    piece of the mask. The first contour shares the finding's tracking UID, others have their own: viewers show one
    contour per UID. `segmentation`: the part's. `image_references`: a segment of a volume names the images that it was
    drawn on, else their series.
    """
    for number, finding in enumerate(part.findings, start=1):
        yield _segment_group(part.volume, finding, number, segmentation, image_references)
        if part.volume.geometry is None:
            yield from _contour_groups(part.volume, finding)


def unseen_groups(part: ReadPart, context: ResultContext, *, name_image: bool) -> Iterator[Any]:
    """A group without measurements for what was looked for and not seen, and for a question that marked nothing.

    `name_image`: the group references its image, where the part is one: a report of several parts would otherwise not
    say in which of them nothing was seen.
    """
    source = part.volume.sources[0]
    single = name_image and len(part.volume.values) == 1
    images = [hd.sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)] if single else None
    where = f" part {part.ordinal + 1}" if part.ordinal else ""
    for ordinal, answer in enumerate(part.answers):
        place = (str(part.ordinal), str(ordinal))
        if not answer.findings and not answer.not_seen:
            # A question without a coded target still leaves its trace; TID 1500 wants a group for it.
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.object_key, "nothing marked", *place),
                    identifier=f"question {ordinal + 1}{where}",
                ),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.NOTHING_MARKED)],
                source_images=images,
            )
        for concept in answer.not_seen:
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.object_key, "not seen", *place, concept.label),
                    identifier=f"{concept.label} {ordinal + 1}{where}",
                ),
                finding_type=concept.type,
                finding_category=concept.category,
                finding_sites=_sites(concept),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, codes.NOT_SEEN)],
                source_images=images,
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
    volume: SeriesVolume, finding: Finding, number: int, segmentation: Dataset | None, image_references: bool
) -> Any:
    common: dict[str, Any] = {
        **_what(finding, finding.tracking_uid, finding.tracking_id),
        "measurements": list(_measurements(finding)),
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
    # from_segmentation() fails on a SEG with one segment, whose identification stands in the shared group.
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=_source_images(volume, finding) if image_references else None,
        source_series=None if image_references else hd.sr.SourceSeriesForSegmentation(volume.series_uid),
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
    for frame in range(len(segmentation.PerFrameFunctionalGroupsSequence)):
        identification = functional_group(segmentation, frame, "SegmentIdentificationSequence")
        if identification is not None and int(identification.ReferencedSegmentNumber) == segment:
            return frame + 1
    return 1


def _source_images(volume: SeriesVolume, finding: Finding) -> list[Any]:
    """References to the slices that the mask touches."""
    touched = np.flatnonzero(finding.mask.any(axis=(1, 2)))
    if volume.frame_numbers is None:
        return [_source_image(volume.sources[index], None) for index in touched]
    return [_source_image(volume.sources[0], sorted(volume.frame_numbers[index] for index in touched))]


def _source_image(source: Dataset, frame_numbers: list[int] | None) -> Any:
    return hd.sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID, frame_numbers)


def _measurements(finding: Finding) -> Iterator[Any]:
    for measurement in finding.measurements:
        definition = DEFINITIONS[measurement.kind]
        yield hd.sr.Measurement(
            name=definition.concept,
            value=measurement.rounded,
            unit=measurement.unit,
            derivation=definition.derivation,
            method=measurement.method,
        )
    yield hd.sr.Measurement(name=codes.CONFIDENCE, value=round(finding.confidence, 3), unit=codes.RATIO)
