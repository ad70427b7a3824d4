"""The geometry gate: our own SEG is read back and must cover the same patient-space voxels as the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.finding import ReadPart
from dicom_node.results.identity import PATIENT_AND_STUDY
from dicom_node.results.stored_segmentation import segment_frames, voxel_centres
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.planes import functional_group, functional_group_items

__all__ = ["check_segmentation"]

_TOLERANCE_VOXELS = 0.3
"""Positions are decimal strings and slices may lie a little off the mean step; half a voxel would be the next one."""


def check_segmentation(path: Path, part: ReadPart) -> None:
    """Read a part's SEG back and compare it with what it was made from.

    Patient, study and frame of reference must be the source's; every frame must name the source image at whose position
    it lies; every segment must cover exactly its mask's voxels, by the stored frames' positions in the patient,
    whatever their order. Raises ResultRefused naming the difference.
    """
    segmentation, volume, findings = pydicom.dcmread(path), part.volume, part.findings
    _require_same_identity(segmentation, volume.sources[0])
    _require_true_references(segmentation, volume)
    if len(segmentation.SegmentSequence) != len(findings):
        raise ResultRefused(f"{len(segmentation.SegmentSequence)} segments for {len(findings)} findings")
    for number, finding in enumerate(findings, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        if (int(segment.SegmentNumber), str(segment.TrackingUID)) != (number, finding.tracking_uid):
            raise ResultRefused(f"segment {number} does not carry its finding's tracking UID")
        stored = _mask_on_source_grid(segmentation, number, volume)
        if not np.array_equal(stored, finding.mask):
            raise ResultRefused(
                f"segment {number} ({finding.concept.label}) does not cover its mask: "
                f"{int(stored.sum())} voxels stored, {int(finding.mask.sum())} marked, "
                f"{int((stored & finding.mask).sum())} in common"
            )


def _require_same_identity(segmentation: Dataset, source: Dataset) -> None:
    for keyword in (*PATIENT_AND_STUDY, "FrameOfReferenceUID"):
        ours, theirs = segmentation.get(keyword), source.get(keyword)
        if ours != theirs and (ours or theirs):  # absent and empty are the same (type 2)
            raise ResultRefused(f"{keyword} of the SEG is not the source's")
    referenced = {
        str(item.ReferencedSOPInstanceUID)
        for series in segmentation.get("ReferencedSeriesSequence", [])
        if series.SeriesInstanceUID == source.SeriesInstanceUID
        for item in series.ReferencedInstanceSequence
    }
    if str(source.SOPInstanceUID) not in referenced:
        raise ResultRefused("the SEG's Referenced Series Sequence does not name its source")


def _require_true_references(segmentation: Dataset, volume: SeriesVolume) -> None:
    """Viewers place a frame by its position or by the image that it names: both must say the same."""
    for index in range(len(segmentation.PerFrameFunctionalGroupsSequence)):
        derivations = functional_group_items(segmentation, index, "DerivationImageSequence")
        sources = [item for derivation in derivations for item in derivation.get("SourceImageSequence", [])]
        named = {(str(item.ReferencedSOPInstanceUID), item.get("ReferencedFrameNumber")) for item in sources}
        if named != {_source_at(segmentation, index, volume)}:
            raise ResultRefused(f"frame {index + 1} of the SEG does not name the image at whose position it lies")
        if any(item.get("SpatialLocationsPreserved") != "YES" for item in sources):
            raise ResultRefused(f"frame {index + 1} of the SEG does not say that locations are preserved")


def _source_at(segmentation: Dataset, frame: int, volume: SeriesVolume) -> tuple[str, int | None]:
    """SOP Instance UID and frame number of the source slice in whose plane a frame lies."""
    if volume.geometry is None:
        return str(volume.sources[0].SOPInstanceUID), None
    plane = functional_group(segmentation, frame, "PlanePositionSequence")
    if plane is None:
        raise ResultRefused(f"frame {frame + 1} of the SEG has no Plane Position")
    inverse = np.asarray(volume.geometry.inverse_affine, dtype=np.float64)
    index = round(float((inverse[:3, :3] @ np.array(plane.ImagePositionPatient, dtype=float) + inverse[:3, 3])[0]))
    if not 0 <= index < len(volume.frame_numbers or volume.sources):
        raise ResultRefused("a frame of the SEG lies outside the source's volume in patient space")
    if volume.frame_numbers is not None:
        return str(volume.sources[0].SOPInstanceUID), volume.frame_numbers[index]
    return str(volume.sources[index].SOPInstanceUID), None


def _mask_on_source_grid(segmentation: Dataset, number: int, volume: SeriesVolume) -> NDArray[np.bool_]:
    """A segment as bool `slices rows columns` on the grid of `volume`."""
    mask = np.zeros(volume.values.shape[:3], dtype=np.bool_)
    frames = list(segment_frames(segmentation, number))
    if volume.geometry is None:
        for frame in frames:
            if frame.mask.shape != mask.shape[1:]:
                raise ResultRefused(f"segment {number} has frames of {frame.mask.shape}, the image is {mask.shape[1:]}")
            mask[0] |= frame.mask
        return mask
    points = np.concatenate([np.empty((0, 3)), *(voxel_centres(segmentation, frame) for frame in frames)])
    inverse = np.asarray(volume.geometry.inverse_affine, dtype=np.float64)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    nearest = np.rint(indices).astype(np.int64)
    if np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
        raise ResultRefused(f"segment {number} lies between the source's voxels in patient space")
    if ((nearest < 0) | (nearest >= mask.shape)).any():
        raise ResultRefused(f"segment {number} lies outside the source's volume in patient space")
    mask[tuple(nearest.T)] = True
    return mask
