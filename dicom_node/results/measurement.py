"""Measurements of a mask on its part's grid: what each is, how it is rounded, and the measuring itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.volumes.load import HOUNSFIELD, SeriesVolume

__all__ = ["DEFINITIONS", "Measurement", "MeasurementDefinition", "MeasurementKind", "measure"]


class MeasurementKind(Enum):
    """What is measured."""

    VOLUME = "volume"
    AREA = "area"
    LONG_AXIS = "long-axis"
    SHORT_AXIS = "short-axis"
    MEAN = "mean"
    STANDARD_DEVIATION = "standard-deviation"


@dataclass(frozen=True)
class MeasurementDefinition:
    """How a kind of measurement is called: by people, and in a report (concept name and derivation of TID 300).

    `decimals`: what `Measurement.rounded` keeps of a value of 1 or more; of a smaller one it keeps two digits.
    """

    name: str
    concept: Code
    derivation: Code | None = None
    decimals: int = 1


DEFINITIONS: dict[MeasurementKind, MeasurementDefinition] = {
    MeasurementKind.VOLUME: MeasurementDefinition("volume", codes.VOLUME),
    MeasurementKind.AREA: MeasurementDefinition("area", codes.AREA),
    MeasurementKind.LONG_AXIS: MeasurementDefinition("long axis", codes.LONG_AXIS),
    MeasurementKind.SHORT_AXIS: MeasurementDefinition("short axis", codes.SHORT_AXIS),
    MeasurementKind.MEAN: MeasurementDefinition("mean", codes.ATTENUATION, codes.MEAN),
    MeasurementKind.STANDARD_DEVIATION: MeasurementDefinition(
        "standard deviation", codes.ATTENUATION, codes.STANDARD_DEVIATION
    ),
}

_SYMBOLS = {HOUNSFIELD.value: "HU"}
"""Units that people write otherwise than UCUM does."""


@dataclass(frozen=True)
class Measurement:
    """A measured value with its unit; what is shown and written of it is `rounded`.

    `method`: how the pixel spacing was come by, where that says what the value means (TID 300).
    """

    kind: MeasurementKind
    value: float
    unit: Code
    method: Code | None = None

    @property
    def rounded(self) -> float:
        """One decimal; below 1 two significant digits, so that nothing but zero is ever 0.0."""
        return round(self.value, self._decimals)

    @property
    def text(self) -> str:
        """The rounded value with its unit, such as "12.3 ml"."""
        return f"{self.rounded:.{self._decimals}f} {_SYMBOLS.get(self.unit.value, self.unit.value)}"

    @property
    def name(self) -> str:
        """What people call it, such as "long axis"."""
        return DEFINITIONS[self.kind].name

    @property
    def _decimals(self) -> int:
        size = abs(self.value)
        if size == 0 or size >= 1:
            return DEFINITIONS[self.kind].decimals
        return 1 - math.floor(math.log10(size))


def measure(volume: SeriesVolume, mask: NDArray[np.bool_]) -> tuple[Measurement, ...]:
    """Every measurement that the geometry and the units of `volume` allow of a mask `slices rows columns`.

    Volume of a stack, area of a single image, diameters where the pixel spacing is known, mean and standard deviation
    where values are Hounsfield units.
    """
    return (*_extent(volume, mask), *_diameters(volume, mask), *_attenuation(volume, mask))


def _extent(volume: SeriesVolume, mask: NDArray[np.bool_]) -> Iterator[Measurement]:
    voxels = float(mask.sum())
    if mask.shape[0] > 1:
        if volume.spacing_mm is not None:
            millilitres = voxels * math.prod(volume.spacing_mm) / 1000
            yield Measurement(MeasurementKind.VOLUME, millilitres, codes.MILLILITRE)
    elif volume.pixel_spacing_mm is not None:
        square_mm = voxels * math.prod(volume.pixel_spacing_mm)
        yield Measurement(MeasurementKind.AREA, square_mm, codes.SQUARE_MILLIMETRE, _method(volume))


def _diameters(volume: SeriesVolume, mask: NDArray[np.bool_]) -> Iterator[Measurement]:
    """Longest and perpendicular diameter, voxel edges included, in the slice where the mask is longest."""
    if volume.pixel_spacing_mm is None:
        return
    spacing = np.asarray(volume.pixel_spacing_mm)
    by_slice = [_diameters_mm(mask[index], spacing) for index in np.flatnonzero(mask.any(axis=(1, 2)))]
    if by_slice:
        longest, perpendicular = max(by_slice, key=lambda diameters: diameters[0])
        method = _method(volume)
        yield Measurement(MeasurementKind.LONG_AXIS, longest, codes.MILLIMETRE, method)
        yield Measurement(MeasurementKind.SHORT_AXIS, perpendicular, codes.MILLIMETRE, method)


def _attenuation(volume: SeriesVolume, mask: NDArray[np.bool_]) -> Iterator[Measurement]:
    if volume.unit is None or volume.unit != HOUNSFIELD or not mask.any():
        return
    values = volume.values[mask].astype(np.float64)
    yield Measurement(MeasurementKind.MEAN, float(values.mean()), volume.unit)
    yield Measurement(MeasurementKind.STANDARD_DEVIATION, float(values.std()), volume.unit)


def _method(volume: SeriesVolume) -> Code | None:
    return None if volume.spacing_basis is None else codes.SPACING_METHODS.get(volume.spacing_basis)


def _diameters_mm(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[float, float]:
    """Longest diameter of a mask `rows columns`, and the longest one perpendicular to it, mm."""
    rows = np.flatnonzero(mask.any(axis=1))
    first_column = mask[rows].argmax(axis=1)
    end_column = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # Only the ends of each row can be corners of the hull.
    corners = [np.stack([rows + edge, ends], axis=1) for edge in (0, 1) for ends in (first_column, end_column)]
    points = np.unique(np.concatenate(corners), axis=0) * spacing
    points = points[ConvexHull(points).vertices]  # the corners of one voxel already span an area
    differences = points[:, None] - points[None]
    lengths = np.linalg.norm(differences, axis=-1)
    start, end = np.unravel_index(int(lengths.argmax()), lengths.shape)
    direction = differences[start, end] / lengths[start, end]
    across = points @ np.array([-direction[1], direction[0]])
    return float(lengths.max()), float(across.max() - across.min())
