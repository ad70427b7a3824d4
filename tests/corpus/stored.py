"""What a SEG says, read from its bytes with pydicom and numpy alone: nothing of the project, so none of its faults."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

__all__ = ["Plane", "StoredFrame", "farthest_mm", "image_plane", "image_points", "read", "stored_frames"]

_PATIENT_ID = b"\x10\x00\x20\x00"


@dataclass(frozen=True)
class Plane:
    """Image Plane (PS3.3 C.7.6.2): position and cosines in LPS, spacing between rows and columns; mm."""

    position: NDArray[np.float64]
    cosines: NDArray[np.float64]
    spacing: NDArray[np.float64]


@dataclass(frozen=True)
class StoredFrame:
    """A frame of a SEG. `mask`: bool `rows columns`. `plane`: None where the SEG has no patient geometry.

    `source`: SOP Instance UID and frame number (from 1, or None) of the image that it was derived from.
    """

    mask: NDArray[np.bool_]
    segment: int
    plane: Plane | None
    source: tuple[str, int | None] | None

    @property
    def points(self) -> NDArray[np.float64]:
        """Centres of the marked pixels, `points 3`, mm LPS."""
        return image_points(self.mask, self.plane) if self.plane is not None else np.empty((0, 3))


def read(path: Path, **how: Any) -> Dataset:
    """A file without pixels, whatever stands in it; `how`: what else pydicom is told.

    Pydicom loses its way behind a VR that no edition has. DCMTK takes one for a VR with a short length, and so do we.
    """
    repaired = path.read_bytes().replace(_PATIENT_ID + b"??", _PATIENT_ID + b"LO")
    return pydicom.dcmread(io.BytesIO(repaired), stop_before_pixels=True, force=True, **how)


def stored_frames(path: Path) -> list[StoredFrame]:
    """The frames of a SEG file (PS3.3 A.51)."""
    dataset = pydicom.dcmread(path)
    pixels = np.asarray(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns) > 0
    return [
        StoredFrame(mask, _segment(dataset, index), image_plane(dataset, index), _source(dataset, index))
        for index, mask in enumerate(pixels)
    ]


def image_plane(dataset: Dataset, frame: int | None) -> Plane | None:
    """The plane of an instance, or of its frame (from 0); None where it says none."""
    position = _attribute(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
    cosines = _attribute(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _attribute(dataset, frame, "PixelMeasuresSequence", "PixelSpacing")
    if position is None or cosines is None or spacing is None:
        return None
    return Plane(*(np.array([float(value) for value in values]) for values in (position, cosines, spacing)))


def image_points(mask: NDArray[np.bool_], plane: Plane) -> NDArray[np.float64]:
    """Centres of the marked pixels of a mask `rows columns`: the equation of PS3.3 C.7.6.2.1.1."""
    rows, columns = np.nonzero(mask)
    x, y = plane.cosines[:3], plane.cosines[3:]
    return plane.position + np.outer(columns * plane.spacing[1], x) + np.outer(rows * plane.spacing[0], y)


def farthest_mm(frames: Iterable[StoredFrame], sources: Iterable[Path]) -> float:
    """How far a corner of a SEG's frame lies from that of the image it names, mm; infinite where it names no source."""
    headers = {str(header.SOPInstanceUID): header for header in map(read, sources)}
    return max(_distances(frames, headers), default=0.0)


def _distances(frames: Iterable[StoredFrame], headers: dict[str, Dataset]) -> Iterator[float]:
    for frame in frames:
        if frame.plane is None:
            continue
        uid, number = frame.source or ("", None)
        header = headers.get(uid)
        # An instance with one frame need not number it.
        index = number - 1 if number is not None else (0 if header is not None and "NumberOfFrames" in header else None)
        source = None if header is None else image_plane(header, index)
        if source is None:
            yield float("inf")
            continue
        corners = np.zeros(frame.mask.shape, dtype=np.bool_)
        corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        apart = image_points(corners, frame.plane) - image_points(corners, source)
        yield float(np.linalg.norm(apart, axis=1).max())


def _segment(dataset: Dataset, frame: int) -> int:
    number = _attribute(dataset, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    return int(number) if number is not None else 0


def _source(dataset: Dataset, frame: int) -> tuple[str, int | None] | None:
    images = _attribute(dataset, frame, "DerivationImageSequence", "SourceImageSequence")
    if not images:
        return None
    number = images[0].get("ReferencedFrameNumber")
    return str(images[0].ReferencedSOPInstanceUID), None if number is None else int(number)


def _attribute(dataset: Dataset, frame: int | None, group: str, keyword: str) -> object:
    """An attribute of a frame's functional group, of the shared one, or of the instance (PS3.3 C.7.6.16)."""
    holders: list[Dataset] = []
    if frame is not None:
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
        holders += list(per_frame[frame : frame + 1])
    holders += list((dataset.get("SharedFunctionalGroupsSequence") or [])[:1])
    for holder in holders:
        if holder.get(group):
            return holder[group][0].get(keyword)
    return dataset.get(keyword)
