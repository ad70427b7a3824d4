"""The geometry gate: our own SEG is read back and must cover the same patient-space voxels as the masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from dicom_node.errors import ResultRefused
from dicom_node.results.finding import ReadAnswer
from dicom_node.volumes.load import SeriesVolume

__all__ = ["check_segmentation", "masks_in_patient_space", "read_segment_points"]

_COPIED = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyID")
_TOLERANCE_MM = 0.05


def check_segmentation(path: Path, volume: SeriesVolume, answers: Sequence[ReadAnswer]) -> None:
    """Read the file back and compare it with what it was made from. Raises ResultRefused naming the difference."""
    segmentation = pydicom.dcmread(path)
    source = volume.sources[0]
    for keyword in _COPIED:
        if segmentation.get(keyword) != source.get(keyword) and (segmentation.get(keyword) or source.get(keyword)):
            raise ResultRefused(f"{keyword} of the SEG is not the source's")
    if source.get("FrameOfReferenceUID", "") != segmentation.get("FrameOfReferenceUID", ""):
        raise ResultRefused("FrameOfReferenceUID of the SEG is not the source's")
    findings = [finding for answer in answers for finding in answer.findings]
    if len(segmentation.SegmentSequence) != len(findings):
        raise ResultRefused(f"{len(segmentation.SegmentSequence)} segments for {len(findings)} findings")
    for number, finding in enumerate(findings, start=1):
        segment = segmentation.SegmentSequence[number - 1]
        if (int(segment.SegmentNumber), str(segment.TrackingUID)) != (number, finding.tracking_uid):
            raise ResultRefused(f"segment {number} does not carry its finding's tracking UID")
        if volume.geometry is None:
            frames = segmentation.pixel_array.reshape(-1, *finding.mask.shape[1:])
            if not np.array_equal(frames[number - 1].astype(bool), finding.mask[0]):
                raise ResultRefused(f"segment {number} ({finding.concept.label}) is not the mask it was made from")
            continue
        found = masks_in_patient_space(segmentation, number)
        wanted = _voxel_centres(np.asarray(volume.geometry.affine), finding.mask)
        if not _same_points(found, wanted):
            raise ResultRefused(
                f"segment {number} ({finding.concept.label}) does not lie where its mask does in patient space"
            )


def read_segment_points(path: Path, number: int = 1) -> tuple[str, NDArray[np.float64]]:
    """The source Series Instance UID of a SEG file and a segment's voxel centres, `points 3` mm LPS."""
    segmentation = pydicom.dcmread(path)
    return str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID), masks_in_patient_space(segmentation, number)


def masks_in_patient_space(segmentation: Dataset, number: int) -> NDArray[np.float64]:
    """Centres of a segment's voxels, `points 3` mm LPS, from the plane position of each stored frame.

    Written against PS3.3 C.7.6.2.1.1 rather than with the writer's own library calls, so that a fault there shows.
    """
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    frames = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    points = [np.empty((0, 3))]
    for frame, group in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        identification = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence
        if int(identification[0].ReferencedSegmentNumber) != number or not frame.any():
            continue
        plane = (group if "PlanePositionSequence" in group else shared).PlanePositionSequence[0]
        turn = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
        measures = (group if "PixelMeasuresSequence" in group else shared).PixelMeasuresSequence[0]
        cosines = np.array(turn.ImageOrientationPatient, dtype=float)
        between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
        rows, columns = np.nonzero(frame)
        points.append(
            np.array(plane.ImagePositionPatient, dtype=float)
            + np.outer(columns * between_columns, cosines[:3])
            + np.outer(rows * between_rows, cosines[3:])
        )
    return np.concatenate(points)


def _voxel_centres(affine: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    indices = np.argwhere(mask)
    centres: NDArray[np.float64] = indices @ affine[:3, :3].T + affine[:3, 3]
    return centres


def _same_points(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> bool:
    """Whether two sets of points agree. Both come slice by slice in raster order, though slices may be reversed."""
    if found.shape != wanted.shape:
        return False
    orders = [np.lexsort(np.round(points / (4 * _TOLERANCE_MM)).T) for points in (found, wanted)]
    if np.allclose(found[orders[0]], wanted[orders[1]], atol=_TOLERANCE_MM):
        return True
    # Rounding may sort two neighbours apart; a nearest-neighbour search settles it.
    distances, _ = cKDTree(wanted).query(found, distance_upper_bound=_TOLERANCE_MM)
    return bool(np.isfinite(distances).all())
