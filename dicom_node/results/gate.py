"""The geometry gate: our own SEG is read back and must cover the same patient-space voxels as the masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.finding import ReadAnswer
from dicom_node.results.identity import PATIENT_AND_STUDY
from dicom_node.volumes.load import SeriesVolume

__all__ = ["check_segmentation", "masks_in_patient_space", "read_segment_points"]

_TOLERANCE_VOXELS = 0.3
"""Positions are decimal strings and slices may lie a little off the mean step; half a voxel would be the next one."""


def check_segmentation(path: Path, volume: SeriesVolume, answers: Sequence[ReadAnswer]) -> None:
    """Read the file back and compare it with what it was made from.

    Patient, study and frame of reference must be the source's; every frame must name the source image at whose position
    it lies; every segment must cover exactly its mask's voxels, by the stored frames' positions in the patient,
    whatever their order. Raises ResultRefused naming the difference.
    """
    segmentation = pydicom.dcmread(path)
    _require_same_identity(segmentation, volume.sources[0])
    _require_true_references(segmentation, volume)
    findings = [finding for answer in answers for finding in answer.findings]
    if len(segmentation.SegmentSequence) != len(findings):
        raise ResultRefused(f"{len(segmentation.SegmentSequence)} segments for {len(findings)} findings")
    for number, finding in enumerate(findings, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        if (int(segment.SegmentNumber), str(segment.TrackingUID)) != (number, finding.tracking_uid):
            raise ResultRefused(f"segment {number} does not carry its finding's tracking UID")
        found = _mask_on_source_grid(segmentation, number, volume)
        if not np.array_equal(found, finding.mask):
            raise ResultRefused(
                f"segment {number} ({finding.concept.label}) does not cover its mask: "
                f"{int(found.sum())} voxels stored, {int(finding.mask.sum())} marked, "
                f"{int((found & finding.mask).sum())} in common"
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
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        derivations = _macro(segmentation, group, "DerivationImageSequence")
        sources = [item for derivation in derivations for item in derivation.get("SourceImageSequence", [])]
        named = {(str(item.ReferencedSOPInstanceUID), item.get("ReferencedFrameNumber")) for item in sources}
        if named != {_source_at(segmentation, group, volume)}:
            raise ResultRefused(f"frame {number} of the SEG does not name the image at whose position it lies")
        if any(item.get("SpatialLocationsPreserved") != "YES" for item in sources):
            raise ResultRefused(f"frame {number} of the SEG does not say that locations are preserved")


def _source_at(segmentation: Dataset, group: Dataset, volume: SeriesVolume) -> tuple[str, int | None]:
    """SOP Instance UID and frame number of the source slice in whose plane a frame lies."""
    if volume.geometry is None:
        return str(volume.sources[0].SOPInstanceUID), None
    plane = _macro(segmentation, group, "PlanePositionSequence")[0]
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
    if volume.geometry is None:
        for frame, _ in _frames_of(segmentation, number):
            if frame.shape != mask.shape[1:]:
                raise ResultRefused(f"segment {number} has frames of {frame.shape}, the image is {mask.shape[1:]}")
            mask[0] |= frame
        return mask
    points = masks_in_patient_space(segmentation, number)
    inverse = np.asarray(volume.geometry.inverse_affine, dtype=np.float64)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    nearest = np.rint(indices).astype(np.int64)
    if np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
        raise ResultRefused(f"segment {number} lies between the source's voxels in patient space")
    if ((nearest < 0) | (nearest >= mask.shape)).any():
        raise ResultRefused(f"segment {number} lies outside the source's volume in patient space")
    mask[tuple(nearest.T)] = True
    return mask


def read_segment_points(path: Path, number: int = 1) -> tuple[str, NDArray[np.float64]]:
    """The source Series Instance UID of a SEG file and a segment's voxel centres, `points 3` mm LPS."""
    segmentation = pydicom.dcmread(path)
    return str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID), masks_in_patient_space(segmentation, number)


def masks_in_patient_space(segmentation: Dataset, number: int) -> NDArray[np.float64]:
    """Centres of a segment's voxels, `points 3` mm LPS, from the plane position of each stored frame.

    Written against PS3.3 C.7.6.2.1.1 rather than with the writer's own library calls, so that a fault there shows.
    """
    points = [np.empty((0, 3))]
    for frame, group in _frames_of(segmentation, number):
        plane, turn, measures = (
            _macro(segmentation, group, name)[0]
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        cosines = np.array(turn.ImageOrientationPatient, dtype=float)
        between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
        rows, columns = np.nonzero(frame)
        points.append(
            np.array(plane.ImagePositionPatient, dtype=float)
            + np.outer(columns * between_columns, cosines[:3])
            + np.outer(rows * between_rows, cosines[3:])
        )
    return np.concatenate(points)


def _macro(segmentation: Dataset, group: Dataset, name: str) -> Sequence[Dataset]:
    """The items of a functional group macro, a frame's own or the shared ones (PS3.3 C.7.6.16)."""
    for candidate in (group, segmentation.SharedFunctionalGroupsSequence[0]):
        if candidate.get(name):
            items: Sequence[Dataset] = candidate[name].value
            return items
    raise ResultRefused(f"a frame of the SEG has no {name}")


def _frames_of(segmentation: Dataset, number: int) -> Iterator[tuple[NDArray[np.bool_], Dataset]]:
    """The frames of a segment, bool `rows columns`, each with its functional groups."""
    frames = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    for frame, group in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        identification = _macro(segmentation, group, "SegmentIdentificationSequence")
        if int(identification[0].ReferencedSegmentNumber) == number:
            yield frame.astype(np.bool_), group
