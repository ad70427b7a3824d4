"""Burns a bright box of known patient coordinates into a copy of a series, to prove geometry end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.identifiers import derived_uid

__all__ = ["Marker", "burn_in_marker"]


@dataclass(frozen=True)
class Marker:
    """Where the box lies: corners of its voxel centres, `low` and `high`, and a voxel's extent, mm LPS."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    voxel: NDArray[np.float64]


def burn_in_marker(files: Sequence[Path], folder: Path) -> tuple[list[Path], dict[str, Marker]]:
    """Copy grey images of one frame that have a position to `folder`, with a box at the top of the series' values.

    Other files are left out. The box has one value in all slices, the highest that the bits and the rescale of each
    allow. What lies outside is lowered to at most 80 % of the way up to it, so that only the box lies above 90 % of
    the values that occur. The copies get UIDs of their own. Returns the copies and the marker of each new Series
    Instance UID. Coordinates come straight from image position and orientation (PS3.3 C.7.6.2.1.1), not from the code
    that they are to prove.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_series: dict[str, list[Dataset]] = {}
    for file in files:
        dataset = pydicom.dcmread(file)
        if _can_hold_a_box(dataset):
            by_series.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    copies: list[Path] = []
    markers: dict[str, Marker] = {}
    for instances in by_series.values():
        points = []
        instances.sort(key=_along_normal)
        count = len(instances)
        marked = range(count // 3, max(count // 3 + 1, 2 * count // 3))
        low, high = _range(instances)
        for index, instance in enumerate(instances):
            points.append(_burn_in(instance, low, high, in_box=index in marked))
            path = folder / f"{instance.SOPInstanceUID}.dcm"
            instance.save_as(path, enforce_file_format=True)
            copies.append(path)
        corners = np.concatenate([corner for corner in points if corner is not None])
        markers[str(instances[0].SeriesInstanceUID)] = Marker(
            corners.min(axis=0), corners.max(axis=0), _voxel(instances)
        )
    return copies, markers


def _can_hold_a_box(dataset: Dataset) -> bool:
    placed = all(keyword in dataset for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    grey = int(dataset.get("SamplesPerPixel") or 1) == 1 and dataset.get("BitsAllocated") in (8, 16)
    return placed and grey and "PixelData" in dataset and int(dataset.get("NumberOfFrames") or 1) == 1


def _along_normal(instance: Dataset) -> float:
    return float(_normal(instance) @ np.array(instance.ImagePositionPatient, dtype=float))


def _normal(instance: Dataset) -> NDArray[np.float64]:
    cosines = np.array(instance.ImageOrientationPatient, dtype=float)
    return np.cross(cosines[:3], cosines[3:])


def _rescale(instance: Dataset) -> tuple[float, float]:
    return float(instance.get("RescaleSlope") or 1), float(instance.get("RescaleIntercept") or 0)


def _range(instances: Sequence[Dataset]) -> tuple[float, float]:
    """The lowest value that the bits of any instance allow through its rescale, and the highest that all of them do."""
    ends = []
    for instance in instances:
        bits, signed = int(instance.BitsStored), bool(instance.PixelRepresentation)
        stored = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        slope, intercept = _rescale(instance)
        ends.append(sorted(value * slope + intercept for value in stored))
    return min(low for low, _ in ends), min(high for _, high in ends)


def _burn_in(instance: Dataset, low: float, high: float, *, in_box: bool) -> NDArray[np.float64] | None:
    """Write the box into one image; return its four corner voxels' centres. `low`, `high`: of the series, rescaled."""
    slope, intercept = _rescale(instance)
    values = np.minimum(instance.pixel_array * slope + intercept, low + 0.8 * (high - low))
    rows, columns = values.shape
    box = (rows // 4, rows // 4 + rows // 8), (columns // 2, columns // 2 + columns // 5)
    if in_box:
        values[box[0][0] : box[0][1], box[1][0] : box[1][1]] = high
    pixels = np.floor((values - intercept) / slope + 1e-6)  # down: the box may not leave the range of its bits
    signed = bool(instance.PixelRepresentation)
    dtype = {8: "uint8", 16: "int16" if signed else "uint16"}[int(instance.BitsAllocated)]
    instance.PixelData = pixels.astype(dtype).tobytes()
    instance["PixelData"].VR = "OW"
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(instance, keyword, derived_uid("marker", str(instance[keyword].value)))
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    if not in_box:
        return None
    cosines = np.array(instance.ImageOrientationPatient, dtype=float)
    between_rows, between_columns = (float(value) for value in instance.PixelSpacing)
    origin = np.array(instance.ImagePositionPatient, dtype=float)
    return np.array([
        origin + cosines[:3] * column * between_columns + cosines[3:] * row * between_rows
        for row in (box[0][0], box[0][1] - 1)
        for column in (box[1][0], box[1][1] - 1)
    ])  # fmt: skip


def _voxel(instances: Sequence[Dataset]) -> NDArray[np.float64]:
    first = instances[0]
    cosines = np.array(first.ImageOrientationPatient, dtype=float)
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    if len(instances) > 1:
        step = np.array(instances[1].ImagePositionPatient, dtype=float) - np.array(
            first.ImagePositionPatient, dtype=float
        )
    else:
        step = _normal(first) * float(first.get("SliceThickness") or 1)
    extent: NDArray[np.float64] = (
        np.abs(cosines[:3]) * between_columns + np.abs(cosines[3:]) * between_rows + np.abs(step)
    )
    return extent
