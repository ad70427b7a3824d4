"""Measurement groups of an SR: a finding with its segment, contours and measurements; what was not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.headers.functional_groups import functional_group
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.results.contour import outlines
from dicom_node.results.diameters import Line
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext, SegmentedConcept
from dicom_node.results.measurement import DEFINITIONS, Measurement
from dicom_node.results.profiles import ReportForm
from dicom_node.results.stand_ins import Reference, references
from dicom_node.volumes.load import SeriesVolume

__all__ = ["finding_groups", "has_contours", "not_outlined", "qualitative_evaluations", "unseen_groups"]


def has_contours(parts: Sequence[ReadPart]) -> bool:
    """Whether something was marked, and every finding gets a contour: on images without patient geometry."""
    findings = [finding for part in parts for finding in part.findings]
    projections = all(part.volume.geometry is None for part in parts)
    return projections and bool(findings) and all(finding.mask.any() for finding in findings)


def not_outlined(finding: Finding) -> Iterator[str]:
    """What a reader of contours has to know about parts that got none."""
    for index in _touched(finding):
        parts, count = outlines(finding.mask[index])
        if count > len(parts):
            shown = f"the {len(parts)} largest of {count} parts are outlined"
            yield f"{finding.tracking_id}: {shown}; the segmentation holds all."


def finding_groups(part: ReadPart, segmentation: Dataset | None, form: ReportForm) -> Iterator[Any]:
    """A group per finding that references its segment; on an image without patient geometry contours follow it.

    TID 1411 with a segment of a volume; TID 1410 with a frame of the SEG, then TID 1410 with an image region for each
    piece of the mask. The first contour shares the finding's tracking UID, others have their own: viewers show one
    contour per UID. `segmentation`: the part's.
    """
    for number, finding in enumerate(part.findings, start=1):
        group = _segment_group(part.volume, finding, number, segmentation, form)
        _qualify(group, part.volume, finding, form)
        yield group
        if part.volume.geometry is None:
            yield from _contour_groups(part.volume, finding)


def unseen_groups(part: ReadPart, context: ResultContext, *, name_image: bool) -> Iterator[Any]:
    """A group without measurements for what was looked for and not seen, and for a question that marked nothing.

    `name_image`: the group references its image, where the part is one: a report of several parts would otherwise not
    say in which of them nothing was seen.
    """
    source = references(part.volume)[0]
    images = None
    if name_image and len(part.volume.values) == 1:
        uids, frames = (source.sop_class_uid, source.sop_instance_uid), _frames(source.frame_number)
        images = [hd.sr.SourceImageForMeasurementGroup(*uids, frames)]
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
    sites = _sites(finding.concept)
    for site in sites or ():  # OHIF names a contour by its site alone
        site.ConceptCodeSequence[0].CodeMeaning = finding.qualified(site.value.meaning)
    type_ = finding.concept.type
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=uid, identifier=identifier),
        "finding_type": type_._replace(meaning=finding.qualified(type_.meaning)),
        "finding_category": finding.concept.category,
        "finding_sites": sites,
    }


def _segment_group(
    volume: SeriesVolume, finding: Finding, number: int, segmentation: Dataset | None, form: ReportForm
) -> Any:
    common: dict[str, Any] = {
        **_what(finding, finding.tracking_uid, finding.tracking_id),
        "measurements": list(_measurements(finding)),
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(
                codes.PRESENCE, codes.SEEN_LOW_CONFIDENCE if finding.low_confidence else codes.SEEN
            )
        ],
    }
    if segmentation is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    if volume.geometry is None and len(volume.slices) == 1:
        frame = hd.sr.ReferencedSegmentationFrame(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            frame_number=_frame_number(segmentation, number),
            segment_number=number,
            source_image=_source_images(volume, finding)[0],
        )
        # A frame says its segment; both numbers must not stand together (PS3.3 table 10-3).
        del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **common)
    # from_segmentation() fails on a SEG with one segment, whose identification stands in the shared group.
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=_source_images(volume, finding) if form.image_references else None,
        source_series=None if form.image_references else hd.sr.SourceSeriesForSegmentation(volume.series_uid),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


def _contour_groups(volume: SeriesVolume, finding: Finding) -> Iterator[Any]:
    sources = references(volume)
    drawn = [(sources[index], part) for index in _touched(finding) for part in outlines(finding.mask[index])[0]]
    for ordinal, (source, part) in enumerate(drawn):
        uid, identifier = finding.tracking_uid, finding.tracking_id
        if ordinal:
            uid, identifier = derived_uid(uid, "part", str(ordinal + 1)), f"{identifier} part {ordinal + 1}"
        yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(source, part.points), **_what(finding, uid, identifier)
        )


def _region(source: Reference, points: NDArray[np.float64]) -> Any:
    """A contour, `points 2` (column, row), on its image.

    The writer takes no image of a retired class: it is handed one of CT, which then gives way to the true one.
    """
    image = hd.sr.SourceImageForRegion(CTImageStorage, source.sop_instance_uid, _frames(source.frame_number))
    region = hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, points, image)
    region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPClassUID = source.sop_class_uid
    return region


def _frame_number(segmentation: Dataset, segment: int) -> int:
    """The frame (from 1) of a segment of a projection image, which has one."""
    for frame in range(len(segmentation.PerFrameFunctionalGroupsSequence)):
        identification = functional_group(segmentation, frame, "SegmentIdentificationSequence")
        if identification is not None and int(identification.ReferencedSegmentNumber) == segment:
            return frame + 1
    return 1


def _source_images(volume: SeriesVolume, finding: Finding) -> list[Any]:
    """References to the slices that the mask touches."""
    sources = references(volume)
    frames: dict[tuple[str, str], list[int]] = {}
    for source in (sources[index] for index in _touched(finding)):
        named = frames.setdefault((source.sop_class_uid, source.sop_instance_uid), [])
        named.extend(_frames(source.frame_number) or ())
    return [hd.sr.SourceImageForSegmentation(*uids, sorted(numbers) or None) for uids, numbers in frames.items()]


def _touched(finding: Finding) -> list[int]:
    """The slices in which anything is marked."""
    return [int(index) for index in np.flatnonzero(finding.mask.any(axis=(1, 2)))]


def _frames(number: int | None) -> list[int] | None:
    return None if number is None else [number]


def _measurements(finding: Finding) -> Iterator[Any]:
    """The measurements of a finding, then its confidence."""
    for measurement in finding.measurements:
        definition = DEFINITIONS[measurement.kind]
        yield hd.sr.Measurement(
            name=_name(measurement),
            value=measurement.rounded,
            unit=measurement.unit,
            derivation=definition.derivation,
            method=measurement.method,
        )
    yield hd.sr.Measurement(name=codes.CONFIDENCE, value=round(finding.confidence, 3), unit=codes.RATIO)


def _name(measurement: Measurement) -> Code:
    """The concept name, its meaning with what holds of the number: viewers such as OHIF show no modifiers."""
    definition = DEFINITIONS[measurement.kind]
    words = [definition.concept.meaning]
    if definition.derivation is not None:
        words.append(definition.derivation.meaning.casefold())
    if measurement.at_least:
        words.append("at least")
    if measurement.frame_number is not None:
        words.append(f"frame {measurement.frame_number}")
    return definition.concept._replace(meaning=", ".join(words))


def _qualify(group: Any, volume: SeriesVolume, finding: Finding, form: ReportForm) -> None:
    """Add to the numbers of a group what its writer takes no arguments for: that they are bounds, where they lie."""
    numbers = [item for item in group[0].ContentSequence if item.ValueType == "NUM"]
    for item, measurement in zip(numbers, finding.measurements, strict=False):  # the confidence comes after them
        added: list[Any] = []
        if measurement.at_least:
            modifier = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
            added.append(hd.sr.CodeContentItem(codes.BOUND, codes.AT_LEAST, modifier))
        if measurement.line is not None and form.axis_coordinates:
            added.append(_on_image(volume, measurement.line))
        if added:
            item.ContentSequence = hd.sr.ContentSequence([*item.get("ContentSequence", ()), *added])


def _on_image(volume: SeriesVolume, line: Line) -> Any:
    """The line that was measured, on its image and frame (PS3.16 TID 320)."""
    source = references(volume)[line.slice_index]
    return hd.sr.CoordinatesForMeasurement(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array([line.start, line.end]),
        source_image=hd.sr.SourceImageForRegion(
            source.sop_class_uid, source.sop_instance_uid, _frames(source.frame_number)
        ),
    )
