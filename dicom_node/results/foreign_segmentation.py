"""SEGs that others made: who made one, what it is of, and its segments on the grid of images that we have read.

Written for whatever a viewer saves (PS3.3 A.51, C.8.20): tolerant of what is missing, exact about where voxels lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ResultRefused
from dicom_node.headers.elements import integer, items, text
from dicom_node.headers.functional_groups import functional_group
from dicom_node.headers.patient import Patient, patient_of
from dicom_node.results.stored_segmentation import (
    SegmentFrame,
    pixel_centres,
    segment_frames,
    segment_label,
    voxel_centres,
)
from dicom_node.volumes.geometry import StackGeometry

__all__ = ["ForeignSegment", "ForeignSegmentation", "SourceGrid", "read_foreign_segmentation"]

_TOLERANCE_VOXELS = 0.1
"""Viewers write positions as decimal strings of at most 16 characters; what lies farther off is of another grid."""
_MOST_VOXELS = 4_000_000_000
_BY_HAND = ("MANUAL", "SEMIAUTOMATIC")
_BACKGROUND = ("125040", "DCM")
_BROKEN = (
    InvalidDicomError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class SourceGrid:
    """The grid of images that were read: `shape` slices, rows, columns; `geometry`: None for images without one.

    `places`: the slice of each image, by SOP Instance UID and frame, from 0 (None without frames).
    """

    shape: tuple[int, int, int]
    geometry: StackGeometry | None
    places: Mapping[tuple[str, int | None], int]


@dataclass(frozen=True)
class ForeignSegment:
    """One segment. `label`: ours where its code and side, or its name, are known, else its name in small.

    `by_hand`: Segment Algorithm Type says that a person took part; `algorithm`: the algorithm's name, or "".
    """

    number: int
    label: str
    tracking_uid: str
    by_hand: bool
    algorithm: str


@dataclass(frozen=True)
class ForeignSegmentation:
    """A SEG of another source. `series_uids`: of the images that it is of, as far as it says.

    `author`: Content Creator's Name, or "". `frame_of_reference_uid`: or "".
    """

    study_uid: str
    series_uids: tuple[str, ...]
    patient: Patient
    author: str
    frame_of_reference_uid: str
    segments: tuple[ForeignSegment, ...]
    data_set: Dataset

    @property
    def by_person(self) -> bool:
        """Whether a person has made it: it names one, or says so of a segment, or names no algorithm."""
        return bool(self.author) or any(one.by_hand or not one.algorithm for one in self.segments)

    def mask(self, number: int, grid: SourceGrid) -> NDArray[np.bool_]:
        """A segment as bool `slices rows columns` on a grid, voxel for voxel.

        Raises ResultRefused where it does not lie on that grid, saying how.
        """
        try:
            frames = list(segment_frames(self.data_set, number))
            if grid.geometry is None:
                return self._on_image(frames, grid)
            return self._in_space(frames, grid.geometry, grid.shape)
        except _BROKEN as error:
            raise ResultRefused(f"segment {number} of the SEG cannot be read: {type(error).__name__}") from error

    def _in_space(
        self, frames: Sequence[SegmentFrame], geometry: StackGeometry, shape: tuple[int, int, int]
    ) -> NDArray[np.bool_]:
        of_images = geometry.frame_of_reference_uid
        if of_images and self.frame_of_reference_uid != of_images:
            raise ResultRefused("it is in another frame of reference than the images")
        mask = np.zeros(shape, dtype=np.bool_)
        for frame in frames:
            self._require_pixels(frame, geometry)
            indices = geometry.indices(voxel_centres(self.data_set, frame))
            nearest = np.rint(indices).astype(np.int64)
            if np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
                raise ResultRefused("its voxels lie between those of the images")
            if ((nearest < 0) | (nearest >= shape)).any():
                raise ResultRefused("it goes beyond the images")
            mask[tuple(nearest.T)] = True
        return mask

    def _require_pixels(self, frame: SegmentFrame, geometry: StackGeometry) -> None:
        """Raise ResultRefused for a frame whose pixels are not those of the grid: larger ones would leave holes.

        A step along a row, and one down a column, must each be one step of the grid, whichever axis it follows.
        """
        first = np.argwhere(frame.mask)[0]
        places = first + np.array([(0, 0), (0, 1), (1, 0)])
        start, *ends = geometry.indices(pixel_centres(self.data_set, frame.index, places))
        if max(abs(float(np.abs(end - start).sum()) - 1) for end in ends) > _TOLERANCE_VOXELS:
            raise ResultRefused("its pixels have another size, or another direction, than those of the images")

    def _on_image(self, frames: Sequence[SegmentFrame], grid: SourceGrid) -> NDArray[np.bool_]:
        mask = np.zeros(grid.shape, dtype=np.bool_)
        for frame in frames:
            if frame.mask.shape != mask.shape[1:]:
                sizes = [" x ".join(map(str, shape)) for shape in (frame.mask.shape, mask.shape[1:])]
                raise ResultRefused(f"it has {sizes[0]} pixels, the image has {sizes[1]}")
            mask[self._place(frame.index, grid.places)] |= frame.mask
        return mask

    def _place(self, frame: int, places: Mapping[tuple[str, int | None], int]) -> int:
        derivation = functional_group(self.data_set, frame, "DerivationImageSequence")
        for source in items(derivation or Dataset(), "SourceImageSequence"):
            uid, number = text(source, "ReferencedSOPInstanceUID"), integer(source, "ReferencedFrameNumber")
            found = places.get((uid, None if number is None else number - 1), places.get((uid, None)))
            if found is not None:
                return found
        if len(places) == 1 and derivation is None:
            return 0
        raise ResultRefused(f"frame {frame + 1} names none of the images")


def read_foreign_segmentation(path: Path) -> ForeignSegmentation:
    """Read a SEG that came in. Raises ResultRefused, OSError; a message never quotes the file."""
    try:
        data_set = pydicom.dcmread(path)
        if "TotalPixelMatrixRows" in data_set:
            raise ResultRefused("the SEG is of a slide, not of the images of a patient")
        voxels = int(data_set.Rows) * int(data_set.Columns) * (integer(data_set, "NumberOfFrames") or 1)
        if voxels > _MOST_VOXELS:
            raise ResultRefused(f"the SEG claims {voxels:,} pixels, more than {_MOST_VOXELS:,}")
        segments = tuple(_segment(item) for item in data_set.SegmentSequence if _type(item) != _BACKGROUND)
        return ForeignSegmentation(
            study_uid=text(data_set, "StudyInstanceUID"),
            series_uids=_series_of(data_set),
            patient=patient_of(data_set),
            author=text(data_set, "ContentCreatorName"),
            frame_of_reference_uid=text(data_set, "FrameOfReferenceUID"),
            segments=segments,
            data_set=data_set,
        )
    except ResultRefused:
        raise
    except _BROKEN as error:
        raise ResultRefused(f"the SEG cannot be read: {type(error).__name__}") from error


def _series_of(data_set: Dataset) -> tuple[str, ...]:
    """Common Instance Reference (PS3.3 C.12.2): the series of this study, and those of others."""
    found = [text(item, "SeriesInstanceUID") for item in items(data_set, "ReferencedSeriesSequence")]
    for study in items(data_set, "StudiesContainingOtherReferencedInstancesSequence"):
        found += [text(item, "SeriesInstanceUID") for item in items(study, "ReferencedSeriesSequence")]
    return tuple(dict.fromkeys(filter(None, found)))


def _segment(item: Dataset) -> ForeignSegment:
    algorithm = text(item, "SegmentAlgorithmName")
    return ForeignSegment(
        number=int(item.SegmentNumber),
        label=segment_label(item),
        tracking_uid=text(item, "TrackingUID"),
        by_hand=text(item, "SegmentAlgorithmType") in _BY_HAND,
        algorithm=algorithm,
    )


def _type(item: Dataset) -> tuple[str, str]:
    types = list(items(item, "SegmentedPropertyTypeCodeSequence"))
    return (text(types[0], "CodeValue"), text(types[0], "CodingSchemeDesignator")) if types else ("", "")
