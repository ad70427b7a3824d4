"""Enhanced multi-frame CT and MR: positions, orientations and rescale frame by frame (PS3.3 C.7.6.16)."""

from __future__ import annotations

from dataclasses import dataclass

from highdicom import VolumeGeometry
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, EnhancedPETImageStorage

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.volumes.geometry import ordered_slices

__all__ = ["EnhancedFrame", "enhanced_frames", "is_enhanced"]

_ENHANCED = {EnhancedCTImageStorage, EnhancedMRImageStorage, EnhancedPETImageStorage}


@dataclass(frozen=True)
class EnhancedFrame:
    """A frame's number, from 1, and its rescale to modality units."""

    number: int
    slope: float
    intercept: float


def is_enhanced(header: Dataset) -> bool:
    """Whether the instance has functional groups that place each frame."""
    return header.SOPClassUID in _ENHANCED


def enhanced_frames(header: Dataset) -> tuple[list[EnhancedFrame], VolumeGeometry]:
    """The frames in slice order, with the geometry of the whole. Raises VolumeRefused."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if not groups:
        raise VolumeRefused(VolumeRefusal.MISSING_GEOMETRY, "a multi-frame image without functional groups")
    slices, frames = [], {}
    for number, group in enumerate(groups, start=1):
        frame = _as_single(header, shared, group, number)
        slices.append(frame)
        rescale = _macro(shared, group, "PixelValueTransformationSequence")
        slope, intercept = rescale.get("RescaleSlope", 1.0), rescale.get("RescaleIntercept", 0.0)
        frames[str(frame.SOPInstanceUID)] = EnhancedFrame(number, float(slope), float(intercept))
    ordered, geometry = ordered_slices(slices)
    return [frames[str(one.SOPInstanceUID)] for one in ordered], geometry


def _macro(shared: Dataset, group: Dataset, keyword: str) -> Dataset:
    sequence = group.get(keyword) or shared.get(keyword)
    return sequence[0] if sequence else Dataset()


def _as_single(header: Dataset, shared: Dataset, group: Dataset, number: int) -> Dataset:
    """A frame as the geometry check of single slices wants to see it."""
    measures = _macro(shared, group, "PixelMeasuresSequence")
    frame = Dataset()
    frame.SOPInstanceUID = f"{header.SOPInstanceUID} frame {number}"
    frame.Rows, frame.Columns = header.Rows, header.Columns
    frame.FrameOfReferenceUID = header.get("FrameOfReferenceUID", "")
    for keyword, source in (
        ("ImagePositionPatient", _macro(shared, group, "PlanePositionSequence")),
        ("ImageOrientationPatient", _macro(shared, group, "PlaneOrientationSequence")),
        ("PixelSpacing", measures),
        ("SpacingBetweenSlices", measures),
        ("SliceThickness", measures),
    ):
        if keyword in source:
            setattr(frame, keyword, source[keyword].value)
    return frame
