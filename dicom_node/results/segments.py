"""Segments of any DICOM SEG as voxel centres in the patient, for those who learn from reviewed results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ResultRefused
from dicom_node.results.codes import LABELS, concept_for

__all__ = ["ReadSegment", "read_segments"]


_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, Supplement 243."""
_BACKGROUND = ("125040", "DCM")
"""Property type of the segment that label maps may hold for "nothing here"."""


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
        _require_slices(segmentation, path.name)
        series_uid = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
        frames = _frames(segmentation, path.name)
        for segment in segmentation.SegmentSequence:
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            if (kind.CodeValue, kind.CodingSchemeDesignator) == _BACKGROUND:
                continue
            number = int(segment.SegmentNumber)
            marked = _marked(segmentation, frames, number)
            yield _read_segment(segmentation, number, _label(segment), series_uid, marked)
    except (InvalidDicomError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ResultRefused(f"{path.name} cannot be read as a SEG: {error}") from error


def _require_slices(segmentation: Dataset, name: str) -> None:
    """Slides are stored as tiles in the coordinates of their glass (C.7.6.17.3), which no patient axis follows."""
    organisation = segmentation.get("DimensionOrganizationType", "")
    if organisation in ("TILED_FULL", "TILED_SPARSE") or "TotalPixelMatrixRows" in segmentation:
        raise ResultRefused(
            f"{name} is a tiled SEG ({organisation or 'TILED_SPARSE'}) of a slide; only SEGs drawn on the images of a "
            "patient can be read"
        )


_Frame = tuple[NDArray[Any], Dataset]


def _frames(segmentation: Dataset, name: str) -> list[_Frame]:
    """Stored frames, `rows columns`, each with its functional groups; decoded once for all segments."""
    values = np.asarray(segmentation.pixel_array).reshape(-1, segmentation.Rows, segmentation.Columns)
    groups = segmentation.PerFrameFunctionalGroupsSequence
    if len(values) != len(groups):
        raise ResultRefused(f"{name} has {len(values)} frames and functional groups for {len(groups)}")
    return list(zip(values, groups, strict=True))


def _marked(segmentation: Dataset, frames: list[_Frame], number: int) -> Iterator[tuple[NDArray[np.bool_], Dataset]]:
    """The frames in which a segment has pixels, bool `rows columns`."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    label_map = segmentation.SOPClassUID == _LABEL_MAP
    fractional = segmentation.SegmentationType == "FRACTIONAL"
    least = (int(segmentation.MaximumFractionalValue) + 1) // 2 if fractional else 1
    for values, group in frames:
        if label_map:
            mask = values == number
        else:
            named = _macro("SegmentIdentificationSequence", group, shared)
            mask = (values >= least) & (int(named.ReferencedSegmentNumber) == number)
        if mask.any():
            yield mask, group


def _read_segment(
    segmentation: Dataset, number: int, label: str, series_uid: str, marked: Iterator[tuple[NDArray[np.bool_], Dataset]]
) -> ReadSegment:
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    points = [np.empty((0, 3))]
    plane: NDArray[np.bool_] | None = None
    for mask, group in marked:
        if "PlanePositionSequence" in group or "PlanePositionSequence" in shared:
            points.append(_centres(mask, group, shared))
        else:
            plane = mask if plane is None else plane | mask
    return ReadSegment(number, label, series_uid, np.concatenate(points), plane)


def _centres(mask: NDArray[np.bool_], group: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """Centres of marked pixels, `points 3`, mm LPS, by the equation of C.7.6.2.1.1."""
    position = np.array(_macro("PlanePositionSequence", group, shared).ImagePositionPatient, dtype=float)
    cosines = np.array(_macro("PlaneOrientationSequence", group, shared).ImageOrientationPatient, dtype=float)
    spacing = _macro("PixelMeasuresSequence", group, shared).PixelSpacing
    between_rows, between_columns = (float(value) for value in spacing)
    rows, columns = np.nonzero(mask)
    along_row = np.outer(columns * between_columns, cosines[:3])
    return np.asarray(position + along_row + np.outer(rows * between_rows, cosines[3:]), dtype=np.float64)


def _macro(keyword: str, group: Dataset, shared: Dataset) -> Dataset:
    """A functional group of a frame, which may stand with the frame or be shared by all."""
    found: Dataset = (group if keyword in group else shared)[keyword][0]
    return found


def _label(segment: Dataset) -> str:
    name = str(segment.SegmentLabel)
    named = concept_for(name)
    if named is not None and named.label in LABELS:
        return named.label
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    sides = kind.get("SegmentedPropertyTypeModifierCodeSequence", [])
    side = str(sides[0].CodeValue) if sides else None
    for label, concept in LABELS.items():
        laterality = None if concept.laterality is None else concept.laterality.value
        if (concept.type.value, laterality) == (str(kind.CodeValue), side):
            return label
    return name.casefold()
