"""Segments of any DICOM SEG as voxel centres in the patient, for those who learn from reviewed results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ResultRefused
from dicom_node.results.codes import LABELS, concept_for
from dicom_node.results.gate import masks_in_patient_space

__all__ = ["ReadSegment", "read_segments"]


@dataclass(frozen=True)
class ReadSegment:
    """One segment of a SEG. `label`: our label if its code or its name is known, else its Segment Label in small.

    `points`: centres of its voxels, `points 3`, mm LPS. `series_uid`: the series it was drawn on.
    """

    number: int
    label: str
    series_uid: str
    points: NDArray[np.float64]


def read_segments(path: Path) -> Iterator[ReadSegment]:
    """The segments of a SEG file one by one (PS3.3 C.8.20).

    Raises ResultRefused if the file is no SEG, or has no geometry that can be followed.
    """
    try:
        segmentation = pydicom.dcmread(path)
        series_uid = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
        for segment in segmentation.SegmentSequence:
            number = int(segment.SegmentNumber)
            yield ReadSegment(number, _label(segment), series_uid, masks_in_patient_space(segmentation, number))
    except (InvalidDicomError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ResultRefused(f"{path.name} cannot be read as a SEG: {error}") from error


def _label(segment: pydicom.Dataset) -> str:
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
