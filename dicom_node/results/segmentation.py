"""Findings -> one DICOM Segmentation on the source grid (PS3.3 A.51)."""

from __future__ import annotations

import copy

import highdicom as hd
import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import texts
from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import ARTIFICIAL_INTELLIGENCE
from dicom_node.results.colours import cielab_of
from dicom_node.results.equipment import DEVICE_SERIAL_NUMBER, MANUFACTURER, contributing_equipment
from dicom_node.results.finding import Drawn, Finding, ReadPart, ResultContext
from dicom_node.results.making import series_description, stamp
from dicom_node.results.profiles import PROFILES
from dicom_node.results.stand_ins import (
    frame_of_reference_uid,
    references,
    slice_thickness_mm,
    stand_in_index,
    stand_ins,
)
from dicom_node.volumes.load import SeriesVolume

__all__ = ["SERIES_NUMBER_SEG", "build_segmentation"]

SERIES_NUMBER_SEG = 9301


def build_segmentation(part: ReadPart, context: ResultContext) -> Dataset | None:
    """A BINARY SEG with a segment per finding of a part, or None when nothing was seen.

    The same input gives the same bytes. Raises ResultRefused where masks are not on the part's grid.
    """
    volume, findings = part.volume, part.findings
    if not findings:
        return None
    # Segments last, as the writer wants them, but one after the other in memory: it adds them up several times as fast.
    masks = np.moveaxis(np.stack([finding.mask for finding in findings]), 0, -1)
    if masks.shape[:3] != volume.values.shape[:3]:
        raise ResultRefused(f"masks {masks.shape[:3]} are not on the source grid {volume.values.shape[:3]}")
    kind = f"SEG part {part.ordinal + 1}" if part.ordinal else "SEG"
    measures = None
    if volume.geometry is not None:
        measures = hd.PixelMeasuresSequence(volume.geometry.pixel_spacing_mm, slice_thickness_mm(volume))
    segmentation = hd.seg.Segmentation(
        source_images=stand_ins(volume),
        pixel_array=masks.view(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, finding, context) for number, finding in enumerate(findings, start=1)],
        series_instance_uid=_uid(part, context, "series"),
        series_number=SERIES_NUMBER_SEG,
        sop_instance_uid=_uid(part, context, "instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=context.algorithm_name,
        software_versions=context.algorithm_version,
        device_serial_number=DEVICE_SERIAL_NUMBER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        pixel_measures=measures,
        omit_empty_frames=PROFILES[context.profile].omit_empty_frames,
        series_description=series_description(kind, context, [part]),
        content_label="MEDSEG",
        content_description="Answers of MedSeg-R",
    )
    # It may not be missing (PS3.3 10.9), and what no person has reviewed is nobody's.
    segmentation.ContentCreatorName = "" if context.reviewer is None else context.reviewer.name
    _refer_to_sources(segmentation, volume)
    if volume.geometry is None:
        _remove_places(segmentation, volume)
    _set_dimension_organization(segmentation, _uid(part, context, "dimensions"))
    segmentation["ContributingEquipmentSequence"].value = contributing_equipment(context)
    stamp(segmentation, volume.source, context)
    return segmentation


def _uid(part: ReadPart, context: ResultContext, entity: str) -> str:
    """A series for each part's SEG: a series has one frame of reference, and parts may differ in theirs."""
    return derived_uid(context.object_key, "seg", str(part.ordinal), entity)


def _refer_to_sources(segmentation: Dataset, volume: SeriesVolume) -> None:
    """Put the true images in place of their stand-ins: in each frame, and in the lists of sources."""
    sources = references(volume)
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        (stand_in,) = frame.DerivationImageSequence[0].SourceImageSequence
        source = sources[stand_in_index(stand_in.ReferencedSOPInstanceUID)]
        item = Dataset()  # a new one: frames of several segments share theirs
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.sop_class_uid, source.sop_instance_uid
        item.PurposeOfReferenceCodeSequence = stand_in.PurposeOfReferenceCodeSequence
        item.SpatialLocationsPreserved = stand_in.SpatialLocationsPreserved
        if source.frame_number is not None:
            item.ReferencedFrameNumber = source.frame_number
        frame.DerivationImageSequence[0].SourceImageSequence = [item]
    listed = []
    for sop_class_uid, sop_instance_uid in dict.fromkeys((one.sop_class_uid, one.sop_instance_uid) for one in sources):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        listed.append(item)
    segmentation.SourceImageSequence = listed
    segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence = copy.deepcopy(listed)


def _remove_places(segmentation: Dataset, volume: SeriesVolume) -> None:
    """Images without patient geometry: frames are told apart by the frames of their source, not by positions."""
    if (stated := frame_of_reference_uid(volume)) != "":
        segmentation.FrameOfReferenceUID = stated
    else:
        del segmentation.FrameOfReferenceUID, segmentation.PositionReferenceIndicator
    segmentation.pop("DimensionOrganizationType", None)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        shared.pop(keyword, None)
    several = len(volume.slices) > 1
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
        content = frame.FrameContentSequence[0]
        segment, place = content.DimensionIndexValues
        content.DimensionIndexValues = [segment, place] if several else [segment]
        if several:
            content.TemporalPositionIndex = place
    by_segment, by_place = segmentation.DimensionIndexSequence
    by_place.DimensionIndexPointer = tag_for_keyword("TemporalPositionIndex")
    by_place.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    by_place.DimensionDescriptionLabel = "Frame of the source"
    segmentation.DimensionIndexSequence = [by_segment, by_place] if several else [by_segment]
    # Type 2C without an image orientation (PS3.3 C.7.6.1.1.1); unknown stays empty.
    segmentation.PatientOrientation = list(texts(volume.source, "PatientOrientation"))


def _segment(number: int, finding: Finding, context: ResultContext) -> hd.seg.SegmentDescription:
    concept = finding.concept
    algorithm = hd.AlgorithmIdentificationSequence(
        name=context.algorithm_name,
        family=ARTIFICIAL_INTELLIGENCE,
        version=context.algorithm_version,
        parameters={"weights_sha256": context.weights_digest},
    )
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=finding.label,
        segmented_property_category=concept.category,
        segmented_property_type=concept.type,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues(finding.drawn.value),
        algorithm_identification=None if finding.drawn is Drawn.PERSON else algorithm,
        tracking_uid=finding.tracking_uid,
        tracking_id=finding.tracking_id,
        anatomic_regions=[concept.site] if concept.site is not None else None,
        display_color=cielab_of(concept.label),
    )
    if concept.laterality is not None:
        modifier = hd.sr.CodedConcept.from_code(concept.laterality)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description


def _set_dimension_organization(segmentation: Dataset, uid: str) -> None:
    """Replace the UID that highdicom invents."""
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in segmentation.get(keyword, []):
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = uid
