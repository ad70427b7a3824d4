"""Image library of a report (PS3.16 TID 1600): which images were read, described as far as their headers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
from pydicom.sr.codedict import codes as known
from pydicom.sr.coding import Code

from dicom_node.headers.functional_groups import number_of_frames
from dicom_node.results import codes
from dicom_node.results.finding import ReadPart
from dicom_node.results.stand_ins import frame_of_reference_uid, slice_thickness_mm
from dicom_node.volumes.display import image_sides
from dicom_node.volumes.load import SeriesVolume

__all__ = ["image_library"]

_CONTEXT = hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
_PIXELS = Code("{pixels}", "UCUM", "Pixels")
_COSINE = Code("{-1:1}", "UCUM", "{-1:1}")
_ORIENTATION = tuple(
    getattr(known.DCM, f"ImageOrientationPatient{line}{axis}") for line in ("Row", "Column") for axis in "XYZ"
)


def image_library(parts: Sequence[ReadPart]) -> Any:
    """The container Image Library: a group for each part, what its images share said once, then the images."""
    library = hd.sr.ContainerContentItem(codes.IMAGE_LIBRARY, relationship_type=_CONTAINS)
    library.ContentSequence = hd.sr.ContentSequence([_group(part.volume) for part in parts])
    return library


def _group(volume: SeriesVolume) -> Any:
    group = hd.sr.ContainerContentItem(known.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
    group.ContentSequence = hd.sr.ContentSequence([*_descriptors(volume), *_images(volume)])
    return group


def _descriptors(volume: SeriesVolume) -> Iterator[Any]:
    """TID 1602 to 1604; what is not known is left out."""
    if (modality := codes.modality(volume.modality)) is not None:
        yield hd.sr.CodeContentItem(known.DCM.Modality, modality, _CONTEXT)
    if uid := frame_of_reference_uid(volume):
        yield hd.sr.UIDRefContentItem(known.DCM.FrameOfReferenceUID, uid, _CONTEXT)
    rows, columns = volume.values.shape[1:3]
    yield hd.sr.NumContentItem(known.DCM.PixelDataRows, rows, _PIXELS, relationship_type=_CONTEXT)
    yield hd.sr.NumContentItem(known.DCM.PixelDataColumns, columns, _PIXELS, relationship_type=_CONTEXT)
    if volume.pixel_spacing_mm is not None:
        between_rows, between_columns = volume.pixel_spacing_mm
        yield _millimetres(known.DCM.HorizontalPixelSpacing, between_columns)
        yield _millimetres(known.DCM.VerticalPixelSpacing, between_rows)
    if volume.geometry is None:
        if (sides := image_sides(volume)) is not None:
            yield hd.sr.TextContentItem(known.DCM.PatientOrientationRow, sides[0], _CONTEXT)
            yield hd.sr.TextContentItem(known.DCM.PatientOrientationColumn, sides[1], _CONTEXT)
        return
    if (thickness := slice_thickness_mm(volume)) is not None:
        yield _millimetres(known.DCM.SliceThickness, thickness)
    for concept, value in zip(_ORIENTATION, (*volume.geometry.right, *volume.geometry.down), strict=True):
        yield hd.sr.NumContentItem(concept, round(float(value), 6), _COSINE, relationship_type=_CONTEXT)


def _millimetres(concept: Code, value: float) -> Any:
    return hd.sr.NumContentItem(concept, round(value, 6), codes.MILLIMETRE, relationship_type=_CONTEXT)


def _images(volume: SeriesVolume) -> Iterator[Any]:
    """Each instance, with its frames where not all of them are of this part."""
    for source in volume.sources:
        frames = sorted(
            item.frame_number for item in volume.slices if item.header is source and item.frame_number is not None
        )
        subset = frames if 0 < len(frames) < number_of_frames(source) else None
        yield hd.sr.ImageContentItem(
            name=codes.SOURCE_IMAGE,
            referenced_sop_class_uid=source.SOPClassUID,
            referenced_sop_instance_uid=source.SOPInstanceUID,
            referenced_frame_numbers=subset,
            relationship_type=_CONTAINS,
        )
