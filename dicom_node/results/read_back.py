"""What saved objects of our own say that no database keeps: masks of a SEG, tracking identities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.results.gate import mask_on_source_grid
from dicom_node.results.stored_segmentation import frames_by_segment
from dicom_node.volumes.load import SeriesVolume

__all__ = ["masks_in", "tracking_in", "uids_in"]


def masks_in(segmentation: Path, volume: SeriesVolume) -> list[NDArray[np.bool_]]:
    """The masks of a saved SEG, bool `slices rows columns` on the grid of `volume`, in order of its segments.

    Raises ResultRefused where it is not on that grid.
    """
    dataset = pydicom.dcmread(segmentation)
    frames = frames_by_segment(dataset)
    numbers = range(1, len(dataset.SegmentSequence) + 1)
    return [mask_on_source_grid(dataset, number, volume, frames.get(number, [])) for number in numbers]


def tracking_in(segmentation: Path) -> list[tuple[str, str]]:
    """Tracking ID and UID of each segment of a saved SEG."""
    segments = pydicom.dcmread(segmentation, stop_before_pixels=True).SegmentSequence
    return [(str(one.TrackingID), str(one.TrackingUID)) for one in segments]


def uids_in(report: Path) -> set[str]:
    """Every UID that a saved report has as the value of a content item."""
    return {str(element.value) for element in pydicom.dcmread(report).iterall() if element.keyword == "UID"}
