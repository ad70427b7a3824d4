"""Measurement groups of an SR: a finding with its segment, contours and measurements; what was not seen or assessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from dicom_node.results.finding import Drawn, Finding, ReadAnswer, ReadPart, ResultContext, SegmentedConcept
from dicom_node.results.measurement import DEFINITIONS, Measurement
from dicom_node.results.naming import contour_site, sided_site, sided_type
from dicom_node.results.profiles import ReportForm
from dicom_node.results.stand_ins import Reference, references
from dicom_node.volumes.load import SeriesVolume

__all__ = [
    "finding_groups", "has_contours", "not_in_groups", "not_outlined", "qualitative_evaluations", "unseen_groups",
]  # fmt: skip


def has_contours(parts: Sequence[ReadPart]) -> bool:
    """Whether something was marked, and every finding gets a contour: on images without patient geometry."""
    findings = [finding for part in parts for finding in part.findings]
    projections = all(part.volume.geometry is None for part in parts)
    return projections and bool(findings) and all(finding.mask.any() for finding in findings)


def not_outlined(finding: Finding, *, segmented: bool) -> Iterator[str]:
    """What a reader of contours has to know about parts that got none; `segmented`: a SEG has the mask too."""
    rest = "the segmentation holds all" if segmented else "the others are in the measurements alone"
    for index in _touched(finding):
        parts, count = outlines(finding.mask[index])
        if count > len(parts):
            shown = f"the {len(parts)} largest of {count} parts are outlined"
            yield f"{finding.tracking_id}: {shown}; {rest}."


def not_in_groups(finding: Finding, form: ReportForm) -> Iterator[str]:
    """The measurements that a group has no room for."""
    for measurement in finding.measurements[len(_of_group(finding, form)) :]:
        yield f"{finding.tracking_id}: {_name(measurement).meaning.casefold()}: {measurement.text}"


def finding_groups(
    part: ReadPart, segmentation: Dataset | None, context: ResultContext, form: ReportForm
) -> Iterator[Any]:
    """A group per finding that references its segment; on an image without patient geometry contours follow it.

    TID 1411 with a segment of a volume; TID 1410 with a frame of the SEG, then TID 1410 with an image region for each
    piece of the mask. The first contour shares the finding's tracking UID, others have their own: viewers show one
    contour per UID. Without a SEG the first contour's group has what the segment's would. `segmentation`: the part's.
    """
    for number, finding in enumerate(part.findings, start=1):
        writer = _FindingWriter(part.volume, finding, number, segmentation, context, form)
        contours = list(_contours(part.volume, finding)) if part.volume.geometry is None else []
        if segmentation is not None or not contours:
            yield writer.segment_group()
        for ordinal, contour in enumerate(contours):
            yield writer.contour_group(ordinal, contour, measured=segmentation is None and ordinal == 0)


def unseen_groups(part: ReadPart, context: ResultContext, form: ReportForm, *, name_image: bool) -> Iterator[Any]:
    """A group without measurements for what was not seen, for what was not assessed, and for what marked nothing.

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
        if answer.says_nothing:
            # A question without a coded target still leaves its trace; TID 1500 wants a group for it.
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.object_key, "nothing marked", *place),
                    identifier=f"question {ordinal + 1}{where}",
                ),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, _of_nothing(answer))],
                source_images=images,
                algorithm_id=_algorithm(context, form),
            )
        for concept, presence, scope in _without_finding(answer):
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=derived_uid(context.object_key, scope, *place, concept.label),
                    identifier=f"{concept.label} {ordinal + 1}{where}",
                ),
                finding_type=_type(concept, form),
                finding_category=concept.category,
                finding_sites=_sites(concept, form),
                qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.PRESENCE, presence)],
                source_images=images,
                algorithm_id=_algorithm(context, form),
            )


def qualitative_evaluations(answers: Sequence[ReadAnswer], form: ReportForm) -> Any:
    """What `unseen_groups` says as the container Qualitative Evaluations of TID 1500; None where there is nothing.

    For viewers that draw every measurement group and stumble over one without coordinates.
    """
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    items: list[Any] = []
    for answer in answers:
        if answer.says_nothing:
            items.append(hd.sr.CodeContentItem(codes.PRESENCE, _of_nothing(answer), contains))
        for concept, presence, _scope in _without_finding(answer):
            item = hd.sr.CodeContentItem(presence, _type(concept, form), contains)
            if sites := _sites(concept, form):
                item.ContentSequence = hd.sr.ContentSequence(sites)
            items.append(item)
    if not items:
        return None
    container = hd.sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = hd.sr.ContentSequence(items)
    return container


def _of_nothing(answer: ReadAnswer) -> Code:
    """How the presence of what has no code is coded: "nothing marked" would be misread of what nobody looked for."""
    return codes.NOT_ASSESSED if answer.not_assessed else codes.NOTHING_MARKED


def _without_finding(answer: ReadAnswer) -> Iterator[tuple[SegmentedConcept, Code, str]]:
    """What has a code and no mask, how its presence is coded, and what UIDs derive from: not seen is not not assessed.

    What was not assessed and has no code is named in the report's text alone.
    """
    for concept in answer.not_seen:
        yield concept, codes.NOT_SEEN, "not seen"
    for concept in dict.fromkeys(one.concept for one in answer.not_assessed if one.concept is not None):
        yield concept, codes.NOT_ASSESSED, "not assessed"


def _type(concept: SegmentedConcept, form: ReportForm) -> Code:
    return sided_type(concept) if form.sides_in_meanings else concept.type


def _sites(concept: SegmentedConcept, form: ReportForm) -> list[Any] | None:
    """The finding site with its laterality; an organ is its own site."""
    site = sided_site(concept)
    if site is not None and not form.sides_in_meanings:
        site = concept.site or concept.type
    return [hd.sr.FindingSite(site, laterality=concept.laterality)] if site is not None else None


def _algorithm(context: ResultContext, form: ReportForm) -> Any:
    """TID 4019; None where groups do not say it."""
    if not form.algorithm_in_groups:
        return None
    parameters = [f"weights sha256 {context.weights_digest}"]
    return hd.sr.AlgorithmIdentification(context.algorithm_name, context.algorithm_version, parameters)


@dataclass(frozen=True)
class _FindingWriter:
    """Writes the groups of one finding. `number`: of its segment."""

    volume: SeriesVolume
    finding: Finding
    number: int
    segmentation: Dataset | None
    context: ResultContext
    form: ReportForm

    def segment_group(self) -> Any:
        """The group that references the segment, where there is one."""
        group = self._segment_group({**self._what(), **self._measured()})
        _qualify(group, self.volume, self.finding, self.form)
        return group

    def contour_group(self, ordinal: int, contour: _Contour, *, measured: bool) -> Any:
        """A group with one contour; `ordinal`: of the contour, from 0. `measured`: it has the measurements too."""
        finding = self.finding
        uid, identifier = finding.tracking_uid, finding.tracking_id
        if ordinal:
            uid, identifier = derived_uid(uid, "part", str(ordinal + 1)), f"{identifier} part {ordinal + 1}"
        what = self._what(uid, identifier)
        if self.form.sides_in_meanings:
            what["finding_sites"] = [self._qualified_site(contour_site(finding.concept))]
        group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(contour.source, contour.points),
            **what,
            **(self._measured() if measured else {}),
        )
        if measured:
            _qualify(group, self.volume, finding, self.form)
        return group

    def _what(self, uid: str = "", identifier: str = "") -> dict[str, Any]:
        finding, form = self.finding, self.form
        type_ = _type(finding.concept, form)
        sites = _sites(finding.concept, form) or ()
        return {
            "tracking_identifier": hd.sr.TrackingIdentifier(
                uid=uid or finding.tracking_uid, identifier=identifier or finding.tracking_id
            ),
            "finding_type": type_._replace(meaning=finding.qualified(type_.meaning)),
            "finding_category": finding.concept.category,
            # OHIF names a contour by its site alone
            "finding_sites": [self._qualified_site(site.value) for site in sites] or None,
            "algorithm_id": None if finding.drawn is Drawn.PERSON else _algorithm(self.context, form),
        }

    def _qualified_site(self, site: Code) -> Any:
        written = hd.sr.FindingSite(site, laterality=self.finding.concept.laterality)
        written.ConceptCodeSequence[0].CodeMeaning = self.finding.qualified(site.meaning)
        return written

    def _measured(self) -> dict[str, Any]:
        presence = codes.SEEN_LOW_CONFIDENCE if self.finding.low_confidence else codes.SEEN
        return {
            "measurements": list(_measurements(self.finding, self.form)),
            "qualitative_evaluations": [hd.sr.QualitativeEvaluation(codes.PRESENCE, presence)],
        }

    def _segment_group(self, common: dict[str, Any]) -> Any:
        volume, finding, segmentation = self.volume, self.finding, self.segmentation
        if segmentation is None:
            return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
        if volume.geometry is None and len(volume.slices) == 1:
            frame = hd.sr.ReferencedSegmentationFrame(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                frame_number=_frame_number(segmentation, self.number),
                segment_number=self.number,
                source_image=_source_images(volume, finding)[0],
            )
            # A frame says its segment; both numbers must not stand together (PS3.3 table 10-3).
            del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
            return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **common)
        # from_segmentation() fails on a SEG with one segment, whose identification stands in the shared group.
        named = self.form.image_references
        segment = hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=self.number,
            source_images=_source_images(volume, finding) if named else None,
            source_series=None if named else hd.sr.SourceSeriesForSegmentation(volume.series_uid),
        )
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


@dataclass(frozen=True)
class _Contour:
    """`points 2`, column and row, on an image."""

    source: Reference
    points: NDArray[np.float64]


def _contours(volume: SeriesVolume, finding: Finding) -> Iterator[_Contour]:
    """Those on the image that was measured first: viewers put the measurements beside the first."""
    sources = references(volume)
    measured = next((one.line.slice_index for one in finding.measurements if one.line is not None), None)
    for index in sorted(_touched(finding), key=lambda index: index != measured):
        for part in outlines(finding.mask[index])[0]:
            yield _Contour(sources[index], part.points)


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


def _of_group(finding: Finding, form: ReportForm) -> tuple[Measurement, ...]:
    return finding.measurements[: form.most_measurements]


def _measurements(finding: Finding, form: ReportForm) -> Iterator[Any]:
    """The measurements of a finding, then its confidence, where it is the model's."""
    for measurement in _of_group(finding, form):
        definition = DEFINITIONS[measurement.kind]
        yield hd.sr.Measurement(
            name=_name(measurement),
            value=measurement.rounded,
            unit=measurement.unit,
            derivation=definition.derivation,
            method=measurement.method,
        )
    if finding.drawn is not Drawn.MODEL:
        return
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
    for item, measurement in zip(numbers, _of_group(finding, form), strict=False):  # the confidence comes after them
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
