"""Masks of one of our own SEGs on the grid that it was drawn on: for results of versions that kept no masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import integer, items, text
from dicom_node.headers.functional_groups import functional_group
from dicom_node.results.mask_file import BoxedMask, boxed
from dicom_node.results.stored_segmentation import frames_by_segment

__all__ = ["masks_of_segmentation", "tracking_uids"]


def masks_of_segmentation(
    path: Path, places: Mapping[tuple[str, int | None], int], shape: tuple[int, int, int]
) -> tuple[BoxedMask, ...]:
    """A mask a segment, in the order of segment numbers, on the grid `shape` (slices rows columns).

    `places`: of each source image the slice of the grid, by SOP Instance UID and frame (from 0, None without frames).
    Raises ResultRefused where the SEG is of another grid.
    """
    try:
        segmentation = pydicom.dcmread(path)
        if (int(segmentation.Rows), int(segmentation.Columns)) != shape[1:]:
            raise ResultRefused(f"{path.name} is not on the grid of {shape[1]} x {shape[2]}")
        frames = frames_by_segment(segmentation)
        masks = []
        for number in sorted(int(segment.SegmentNumber) for segment in segmentation.SegmentSequence):
            mask = np.zeros(shape, dtype=bool)
            for frame in frames.get(number, ()):
                mask[_slice_of(segmentation, frame.index, places)] |= frame.mask
            masks.append(boxed(mask))
        return tuple(masks)
    except ResultRefused:
        raise
    except (InvalidDicomError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ResultRefused(f"{path.name} cannot be read as a SEG") from error


def _slice_of(segmentation: Dataset, frame: int, places: Mapping[tuple[str, int | None], int]) -> int:
    derivation = functional_group(segmentation, frame, "DerivationImageSequence")
    for source in items(derivation or Dataset(), "SourceImageSequence"):
        number = integer(source, "ReferencedFrameNumber")
        found = places.get((text(source, "ReferencedSOPInstanceUID"), None if number is None else number - 1))
        if found is not None:
            return found
    raise ResultRefused(f"frame {frame + 1} of the SEG names no image of this series")


def tracking_uids(path: Path) -> tuple[str, ...]:
    """The Tracking UID of each segment, in the order of segment numbers, "" where it has none. Raises ResultRefused."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SegmentSequence"])
        segments = sorted(header.SegmentSequence, key=lambda one: int(one.SegmentNumber))
        return tuple(text(segment, "TrackingUID") for segment in segments)
    except (InvalidDicomError, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ResultRefused(f"{path.name} cannot be read as a SEG") from error
