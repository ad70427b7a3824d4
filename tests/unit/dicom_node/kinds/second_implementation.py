"""What is bright in a series, where and how large it is: from its files alone, by other code than the project's.

Positions by the equation of PS3.3 C.7.6.2.1.1; volume as pixel area x perpendicular extent of the slice; axes by
trying every pair of pixel corners, and every line across.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial import ConvexHull

from tests.corpus.stored import Plane, image_plane, image_points

__all__ = ["BrightVoxels", "bright_voxels"]


@dataclass(frozen=True)
class _Image:
    """A slice. `values`: float32 `rows columns` in modality units. `source`: SOP Instance UID, frame from 1 or None."""

    values: NDArray[np.float32]
    plane: Plane | None
    source: tuple[str, int | None]


@dataclass(frozen=True)
class BrightVoxels:
    """What is brighter than half way from the darkest to the brightest value of the series.

    `masks`: bool `rows columns` by source. `points`: `points 3`, mm LPS; empty without patient geometry.
    `volume_ml`, `area_mm2`: of a stack, of an image. `long_axis_mm`, `short_axis_mm`: in the slice where it is longest.
    """

    masks: dict[tuple[str, int | None], NDArray[np.bool_]]
    points: NDArray[np.float64]
    volume_ml: float | None
    area_mm2: float | None
    long_axis_mm: float
    short_axis_mm: float
    mean: float
    deviation: float

    @property
    def voxels(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks.values())


def bright_voxels(files: Sequence[Path]) -> BrightVoxels:
    """Of the files of one series, single-frame or multi-frame."""
    datasets = [pydicom.dcmread(file) for file in files]
    images = [image for dataset in datasets for image in _images(dataset)]
    low, high = (float(end([end(image.values) for image in images])) for end in (np.min, np.max))
    masks = {image.source: image.values > low + 0.5 * (high - low) for image in images}
    marked = np.concatenate([image.values[masks[image.source]] for image in images]).astype(np.float64)
    planes = [image.plane for image in images if image.plane is not None]
    pixel_mm = planes[0].spacing if planes else _projected_spacing(datasets[0])
    axes = max(_axes(mask, pixel_mm) for mask in masks.values() if mask.any())
    counts = [int(masks[image.source].sum()) for image in images]
    volume = None
    if len(planes) > 1:
        extents = _extents(planes)
        volume = float(np.dot(counts, extents)) * float(np.prod(pixel_mm)) / 1000
    points = [image_points(masks[image.source], image.plane) for image in images if image.plane is not None]
    return BrightVoxels(
        masks=masks,
        points=np.concatenate([np.empty((0, 3)), *points]),
        volume_ml=volume,
        area_mm2=None if len(images) > 1 else sum(counts) * float(np.prod(pixel_mm)),
        long_axis_mm=axes[0],
        short_axis_mm=axes[1],
        mean=float(marked.mean()),
        deviation=float(marked.std()),
    )


def _images(dataset: Dataset) -> Iterator[_Image]:
    uid = str(dataset.SOPInstanceUID)
    if "NumberOfFrames" not in dataset:
        yield _Image(_values(dataset.pixel_array, dataset, dataset), image_plane(dataset, None), (uid, None))
        return
    for index, stored in enumerate(dataset.pixel_array):
        groups = [*dataset.PerFrameFunctionalGroupsSequence[index : index + 1], *dataset.SharedFunctionalGroupsSequence]
        rescales = [
            group.PixelValueTransformationSequence[0] for group in groups if "PixelValueTransformationSequence" in group
        ]
        rescale = rescales[0] if rescales else Dataset()
        yield _Image(_values(stored, dataset, rescale), image_plane(dataset, index), (uid, index + 1))


def _values(stored: NDArray[np.generic], dataset: Dataset, rescale: Dataset) -> NDArray[np.float32]:
    slope, intercept = float(rescale.get("RescaleSlope", 1)), float(rescale.get("RescaleIntercept", 0))
    values = stored.astype(np.float64) * slope + intercept
    return np.asarray(-values if dataset.PhotometricInterpretation == "MONOCHROME1" else values, dtype=np.float32)


def _extents(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """How far each plane reaches along the normal, mm: half way to its neighbours, at the ends as far as inwards."""
    normal = np.cross(planes[0].cosines[:3], planes[0].cosines[3:])
    depths = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(depths)
    gaps = np.diff(depths[order])
    halves = np.concatenate([gaps[:1], gaps, gaps[-1:]]) / 2
    extents = np.empty(len(planes))
    extents[order] = halves[:-1] + halves[1:]
    return extents


def _projected_spacing(dataset: Dataset) -> NDArray[np.float64]:
    stated = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    return np.array([float(value) for value in stated or (1, 1)])


def _axes(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[float, float]:
    """The longest line between two pixel corners, and the longest line at right angles to it in their hull; mm."""
    rows, columns = np.nonzero(mask)
    corners = {(row + y, column + x) for row, column in zip(rows, columns, strict=True) for y in (0, 1) for x in (0, 1)}
    points = np.array(sorted(corners)) * spacing
    points = points[ConvexHull(points).vertices]
    lengths = np.linalg.norm(points[:, None] - points, axis=-1)
    longest = np.argwhere(np.triu(lengths > lengths.max() - 1e-9))
    return float(lengths.max()), max(_across(points, points[start], points[end]) for start, end in longest)


def _across(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """The longest line across a hull: at the height of each of its corners, from the lines between all others."""
    along = (end - start) / np.linalg.norm(end - start)
    heights, sides = points @ along, points @ np.array([-along[1], along[0]])
    below, above = np.nonzero(heights[:, None] < heights - 1e-9)
    best = 0.0
    for height in heights:
        met = (heights[below] <= height) & (height <= heights[above])
        if met.any():
            low, high = below[met], above[met]
            share = (height - heights[low]) / (heights[high] - heights[low])
            reached = sides[low] + share * (sides[high] - sides[low])
            best = max(best, float(reached.max() - reached.min()))
    return best
