"""Measurements of a mask on the source grid: volume, area, diameters, mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dicom_node.volumes.load import SeriesVolume

__all__ = ["Diameters", "area_mm2", "diameters", "mean_and_deviation", "volume_ml"]


@dataclass(frozen=True)
class Diameters:
    """Longest diameter in any slice and the longest one perpendicular to it in that slice, mm."""

    longest_mm: float
    perpendicular_mm: float


def volume_ml(volume: SeriesVolume, mask: NDArray[np.bool_]) -> float | None:
    """Volume of a mask `slices rows columns` in ml; None for a single image or without patient geometry."""
    if volume.spacing_mm is None or mask.shape[0] < 2:
        return None
    return round(float(mask.sum()) * float(np.prod(volume.spacing_mm)) / 1000.0, 6)


def area_mm2(volume: SeriesVolume, mask: NDArray[np.bool_]) -> float | None:
    """Area in mm2 of a mask on a single image; None for a volume or without pixel spacing."""
    if mask.shape[0] != 1 or volume.pixel_spacing_mm is None:
        return None
    return round(float(mask.sum()) * volume.pixel_spacing_mm[0] * volume.pixel_spacing_mm[1], 6)


def diameters(volume: SeriesVolume, mask: NDArray[np.bool_]) -> Diameters | None:
    """Longest and perpendicular diameter, voxel edges included, in the slice where the mask is longest."""
    if volume.pixel_spacing_mm is None:
        return None
    spacing = np.asarray(volume.pixel_spacing_mm)
    found = [_of_slice(mask[index], spacing) for index in np.flatnonzero(mask.any(axis=(1, 2)))]
    return max(found, key=lambda one: one.longest_mm, default=None)


def _of_slice(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> Diameters:
    rows = np.flatnonzero(mask.any(axis=1))
    first_column = mask[rows].argmax(axis=1)
    end_column = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # Only the ends of each row can be corners of the hull.
    corners = [np.stack([rows + edge, ends], axis=1) for edge in (0, 1) for ends in (first_column, end_column)]
    points = np.unique(np.concatenate(corners), axis=0) * spacing
    points = points[ConvexHull(points).vertices]  # the corners of one voxel already span an area
    differences = points[:, None] - points[None]
    lengths = np.linalg.norm(differences, axis=-1)
    one, other = np.unravel_index(int(lengths.argmax()), lengths.shape)
    direction = differences[one, other] / lengths[one, other]
    across = points @ np.array([-direction[1], direction[0]])
    return Diameters(float(lengths.max()), float(across.max() - across.min()))


def mean_and_deviation(volume: SeriesVolume, mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean and standard deviation in modality units where these are calibrated (HU), else None."""
    if volume.unit is None or not mask.any():
        return None
    values = volume.values[mask].astype(np.float64)
    return float(values.mean()), float(values.std())
