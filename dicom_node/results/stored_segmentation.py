"""Any stored SEG: which frames hold a segment, where in the patient its voxels lie, what it is of.

Written against PS3.3 rather than with the library calls of our own writer, so that the gate sees a fault there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ResultRefused
from dicom_node.headers.functional_groups import functional_group
from dicom_node.results.codes import LABELS, concept_for

__all__ = [
    "ReadSegment", "SegmentFrame", "frames_by_segment", "pixel_centres", "read_segment_points", "read_segments",
    "segment_frames", "segment_label", "voxel_centres",
]  # fmt: skip

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, Supplement 243; pydicom has no name for it yet."""
_BACKGROUND = ("125040", "DCM")
"""Property type of the segment that label maps may hold for "nothing here"."""


@dataclass(frozen=True)
class SegmentFrame:
    """What a stored frame marks of one segment. `index`: of the frame, from 0. `mask`: bool `rows columns`."""

    index: int
    mask: NDArray[np.bool_]


def segment_frames(segmentation: Dataset, number: int) -> Iterator[SegmentFrame]:
    """The frames in which segment `number` has pixels: binary, fractional from one half up, or of a label map.

    Raises ResultRefused where frames and their functional groups are not as many, or do not say their segment.
    """
    values = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    groups = len(segmentation.PerFrameFunctionalGroupsSequence)
    if len(values) != groups:
        raise ResultRefused(f"the SEG has {len(values)} frames and functional groups for {groups}")
    label_map = segmentation.SOPClassUID == _LABEL_MAP
    fractional = segmentation.SegmentationType == "FRACTIONAL"
    least = (int(segmentation.MaximumFractionalValue) + 1) // 2 if fractional else 1
    for index, frame in enumerate(values):
        if label_map:
            mask = frame == number
        else:
            identification = _macro(segmentation, index, "SegmentIdentificationSequence")
            if int(identification.ReferencedSegmentNumber) != number:
                continue
            mask = frame >= least
        if mask.any():
            yield SegmentFrame(index, mask)


def frames_by_segment(segmentation: Dataset) -> dict[int, list[SegmentFrame]]:
    """All frames of a BINARY segmentation by the segment that they hold, each read once; empty frames are left out.

    Raises ResultRefused as `segment_frames` does.
    """
    values = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    groups = len(segmentation.PerFrameFunctionalGroupsSequence)
    if len(values) != groups:
        raise ResultRefused(f"the SEG has {len(values)} frames and functional groups for {groups}")
    frames: dict[int, list[SegmentFrame]] = {}
    for index, frame in enumerate(values):
        mask = frame != 0
        if mask.any():
            number = int(_macro(segmentation, index, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            frames.setdefault(number, []).append(SegmentFrame(index, mask))
    return frames


def voxel_centres(segmentation: Dataset, frame: SegmentFrame) -> NDArray[np.float64]:
    """Centres of a frame's marked pixels, `points 3`, mm LPS, by the equation of PS3.3 C.7.6.2.1.1."""
    return pixel_centres(segmentation, frame.index, np.argwhere(frame.mask))


def pixel_centres(segmentation: Dataset, frame: int, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same of some pixels of a frame, `points 2`: row and column."""
    position = np.array(_macro(segmentation, frame, "PlanePositionSequence").ImagePositionPatient, dtype=float)
    orientation = _macro(segmentation, frame, "PlaneOrientationSequence")
    cosines = np.array(orientation.ImageOrientationPatient, dtype=float)
    spacing = _macro(segmentation, frame, "PixelMeasuresSequence").PixelSpacing
    between_rows, between_columns = (float(value) for value in spacing)
    rows, columns = places.T
    along_row = np.outer(columns * between_columns, cosines[:3])
    return np.asarray(position + along_row + np.outer(rows * between_rows, cosines[3:]), dtype=np.float64)


def read_segment_points(path: Path, number: int = 1) -> tuple[str, NDArray[np.float64]]:
    """The source Series Instance UID of a SEG file and a segment's voxel centres, `points 3` mm LPS."""
    segmentation = pydicom.dcmread(path)
    centres = [voxel_centres(segmentation, frame) for frame in segment_frames(segmentation, number)]
    return str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID), np.concatenate([np.empty((0, 3)), *centres])


def _macro(segmentation: Dataset, frame: int, name: str) -> Dataset:
    item = functional_group(segmentation, frame, name)
    if item is None:
        raise ResultRefused(f"frame {frame + 1} of the SEG has no {name}")
    return item


@dataclass(frozen=True)
class ReadSegment:
    """One segment of a SEG. `label`: our label if its code or its name is known, else its Segment Label in small.

    `points`: centres of its voxels, `points 3`, mm LPS. `plane`: bool `rows columns` in their place where the SEG was
    drawn on an image without patient geometry (CR, DX), else None. `series_uid`: the series it was drawn on.
    """

    number: int
    label: str
    series_uid: str
    points: NDArray[np.float64]
    plane: NDArray[np.bool_] | None = None


def read_segments(path: Path) -> Iterator[ReadSegment]:
    """The segments of a SEG file one by one (PS3.3 C.8.20): binary, fractional from one half up, or a label map.

    Raises ResultRefused if the file is no SEG, is drawn on a slide, or has no geometry that can be followed.
    """
    try:
        segmentation = pydicom.dcmread(path)
        _require_slices(segmentation)
        series_uid = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
        for segment in segmentation.SegmentSequence:
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            if (kind.CodeValue, kind.CodingSchemeDesignator) == _BACKGROUND:
                continue
            yield _read_segment(segmentation, int(segment.SegmentNumber), segment_label(segment), series_uid)
    except ResultRefused as error:
        raise ResultRefused(f"{path.name}: {error}") from error
    except (InvalidDicomError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ResultRefused(f"{path.name} cannot be read as a SEG: {error}") from error


def _require_slices(segmentation: Dataset) -> None:
    """Slides are stored as tiles in the coordinates of their glass (C.7.6.17.3), which no patient axis follows."""
    organisation = segmentation.get("DimensionOrganizationType", "")
    if organisation in ("TILED_FULL", "TILED_SPARSE") or "TotalPixelMatrixRows" in segmentation:
        raise ResultRefused(
            f"a tiled SEG ({organisation or 'TILED_SPARSE'}) of a slide; only a SEG drawn on the images "
            "of a patient can be read"
        )


def _read_segment(segmentation: Dataset, number: int, label: str, series_uid: str) -> ReadSegment:
    points = [np.empty((0, 3))]
    plane: NDArray[np.bool_] | None = None
    for frame in segment_frames(segmentation, number):
        if functional_group(segmentation, frame.index, "PlanePositionSequence") is not None:
            points.append(voxel_centres(segmentation, frame))
        else:
            plane = frame.mask if plane is None else plane | frame.mask
    return ReadSegment(number, label, series_uid, np.concatenate(points), plane)


def segment_label(segment: Dataset) -> str:
    """Our label of a segment if its name, or its code and side, are known; else its Segment Label in small."""
    name = str(segment.SegmentLabel)
    concept = concept_for(name)
    if concept is not None and concept.label in LABELS:
        return concept.label
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    sides = kind.get("SegmentedPropertyTypeModifierCodeSequence", [])
    side = str(sides[0].CodeValue) if sides else None
    for label, concept in LABELS.items():
        laterality = None if concept.laterality is None else concept.laterality.value
        if (concept.type.value, laterality) == (str(kind.CodeValue), side):
            return label
    return name.casefold()
