"""Measurements of a mask on its part's grid: what each is, how it is rounded, and the measuring itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.results.diameters import Line, diameters
from dicom_node.results.runs import Runs, parts, runs_of
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.rescale import BECQUEREL_PER_ML, HOUNSFIELD, SUV_BODY_WEIGHT
from dicom_node.volumes.uptake import UptakeUnknown, suv_factor

__all__ = ["DEFINITIONS", "Measurement", "MeasurementDefinition", "MeasurementKind", "measure"]


class MeasurementKind(Enum):
    """What is measured."""

    VOLUME = "volume"
    AREA = "area"
    LONG_AXIS = "long-axis"
    SHORT_AXIS = "short-axis"
    PARTS = "parts"
    MEAN = "mean"
    STANDARD_DEVIATION = "standard-deviation"
    ACTIVITY_MEAN = "activity-mean"
    ACTIVITY_STANDARD_DEVIATION = "activity-standard-deviation"
    SUV_MEAN = "suv-mean"
    SUV_STANDARD_DEVIATION = "suv-standard-deviation"


@dataclass(frozen=True)
class MeasurementDefinition:
    """How a kind of measurement is called: by people, and in a report (concept name and derivation of TID 300)."""

    name: str
    concept: Code
    derivation: Code | None = None


_KIND, _DEFINITION = MeasurementKind, MeasurementDefinition

DEFINITIONS: dict[MeasurementKind, MeasurementDefinition] = {
    _KIND.VOLUME: _DEFINITION("volume", codes.VOLUME),
    _KIND.AREA: _DEFINITION("area", codes.AREA),
    _KIND.LONG_AXIS: _DEFINITION("long axis", codes.LONG_AXIS),
    _KIND.SHORT_AXIS: _DEFINITION("short axis", codes.SHORT_AXIS),
    _KIND.PARTS: _DEFINITION("number of parts", codes.PARTS),
    _KIND.MEAN: _DEFINITION("mean", codes.MEAN_ATTENUATION),
    _KIND.STANDARD_DEVIATION: _DEFINITION("standard deviation", codes.STANDARD_DEVIATION_OF_ATTENUATION),
    _KIND.ACTIVITY_MEAN: _DEFINITION("mean activity", codes.ACTIVITY, codes.MEAN),
    _KIND.ACTIVITY_STANDARD_DEVIATION: _DEFINITION(
        "standard deviation of activity", codes.ACTIVITY, codes.STANDARD_DEVIATION
    ),
    _KIND.SUV_MEAN: _DEFINITION("mean SUVbw", codes.SUV, codes.MEAN),
    _KIND.SUV_STANDARD_DEVIATION: _DEFINITION("standard deviation of SUVbw", codes.SUV, codes.STANDARD_DEVIATION),
}

_SYMBOLS = {HOUNSFIELD.value: "HU", SUV_BODY_WEIGHT.value: "g/ml", codes.RATIO.value: ""}
"""Units that people write otherwise than UCUM does."""


@dataclass(frozen=True)
class Measurement:
    """A measured value with its unit; what is shown and written of it is `rounded`.

    `method`: how the pixel spacing was come by, where that says what the value means (TID 300). `at_least`: the finding
    was perhaps cut off by the edge of what was imaged. `line`: what was measured, of an axis. `frame_number`: the one
    frame of several over time that it was measured in, from 1.
    """

    kind: MeasurementKind
    value: float
    unit: Code
    method: Code | None = None
    at_least: bool = False
    line: Line | None = None
    frame_number: int | None = None

    @property
    def rounded(self) -> float:
        """One decimal; below 1 two significant digits, so that nothing but zero is ever 0."""
        return float(self._digits)

    @property
    def text(self) -> str:
        """The rounded value with its unit and what holds of it, such as "at least 12.3 ml"."""
        symbol = _SYMBOLS.get(self.unit.value, self.unit.value)
        frame = "" if self.frame_number is None else f"in frame {self.frame_number}"
        return " ".join(filter(None, ["at least" if self.at_least else "", self._digits, symbol, frame]))

    @property
    def name(self) -> str:
        """What people call it, such as "long axis"."""
        return DEFINITIONS[self.kind].name

    @property
    def _digits(self) -> str:
        if self.value == 0:
            return "0"
        if self.kind is MeasurementKind.PARTS:
            return f"{self.value:.0f}"
        if abs(self.value) >= 1:
            return f"{self.value:.1f}"
        two_digits = f"{self.value:.1e}"  # 0.996 is 1.0e+00 so, and has one decimal like any 1
        exponent = int(two_digits.partition("e")[2])
        return f"{float(two_digits):.{max(1, 1 - exponent)}f}"


def measure(volume: SeriesVolume, mask: NDArray[np.bool_]) -> tuple[Measurement, ...]:
    """Every measurement that the geometry and the units of `volume` allow of a mask `slices rows columns`.

    - Volume of a stack: the area in each slice times what the slice stands for. Area of a single image; of frames over
      time, the frame with the most marked pixels.
    - Long and short axis of the part with the most voxels (parts hang together by faces), as `diameters` defines them,
      where the pixel spacing is known; the number of parts where there are several.
    - Mean and standard deviation where values are Hounsfield units, activity in Bq/ml or SUVbw.

    Sizes are "at least" where the mask touches the border of an image or the first or last slice of a stack: there it
    may have been cut off. A single slice with a place in the patient is both.
    """
    runs = runs_of(mask)
    frame = None
    if volume.geometry is None and len(mask) > 1:
        index = int(np.argmax(_pixels(runs, len(mask))))
        runs = runs.only(runs.slices == index)
        frame = volume.slices[index].frame_number or index + 1
    return (*_sizes(volume, runs, mask.shape, frame), *_intensities(volume, mask, runs))


def _pixels(runs: Runs, slices: int) -> NDArray[np.float64]:
    """Marked pixels in each slice."""
    return np.asarray(np.bincount(runs.slices, runs.lengths, minlength=slices), dtype=np.float64)


def _sizes(volume: SeriesVolume, runs: Runs, shape: tuple[int, ...], frame: int | None) -> Iterator[Measurement]:
    if volume.pixel_spacing_mm is None:
        return
    at_least = _cut_off(volume, runs, shape)
    method = None if volume.spacing_basis is None else codes.SPACING_METHODS.get(volume.spacing_basis)
    kind, pixel_mm2 = MeasurementKind, math.prod(volume.pixel_spacing_mm)
    if volume.geometry is not None and shape[0] > 1:
        # Gaps of several widths count as they are, and a tilted gantry by the distance of its slices.
        assert volume.geometry.slice_extents_mm is not None  # of several slices it always is
        cubic_mm = float(_pixels(runs, shape[0]) @ volume.geometry.slice_extents_mm) * pixel_mm2
        yield Measurement(kind.VOLUME, cubic_mm / 1000, codes.MILLILITRE, at_least=at_least)
    else:
        square_mm = float(runs.lengths.sum()) * pixel_mm2
        yield Measurement(kind.AREA, square_mm, codes.SQUARE_MILLIMETRE, method, at_least, frame_number=frame)
    count, labels = parts(runs)
    if not count:
        return
    largest = int(np.argmax(np.bincount(labels, runs.lengths)))
    axes = diameters(runs.only(labels == largest), volume.pixel_spacing_mm)
    for axis, line in ((kind.LONG_AXIS, axes.long), (kind.SHORT_AXIS, axes.short)):
        yield Measurement(axis, line.length_mm, codes.MILLIMETRE, method, at_least, line, frame)
    if count > 1:
        yield Measurement(kind.PARTS, float(count), codes.RATIO, frame_number=frame)


def _cut_off(volume: SeriesVolume, runs: Runs, shape: tuple[int, ...]) -> bool:
    """Whether the mask touches the edge of what was imaged."""
    if not len(runs.starts):
        return False
    slices, *plane = zip(runs.box, shape, strict=True)
    edges = plane if volume.geometry is None else [slices, *plane]
    return any(marked.start == 0 or marked.stop == length for marked, length in edges)


def _intensities(volume: SeriesVolume, mask: NDArray[np.bool_], runs: Runs) -> Iterator[Measurement]:
    kind = MeasurementKind
    if not len(runs.starts) or volume.is_color:
        return
    try:
        suv: float | None = suv_factor(volume)
    except UptakeUnknown:
        suv = None
    # A Code cannot be compared with None.
    hounsfield = volume.unit is not None and volume.unit == HOUNSFIELD
    activity = volume.unit is not None and volume.unit == BECQUEREL_PER_ML
    if not hounsfield and not activity and suv is None:
        return
    mean, deviation = _mean_and_deviation(volume.values[runs.box], mask[runs.box])
    if hounsfield:
        yield Measurement(kind.MEAN, mean, HOUNSFIELD)
        yield Measurement(kind.STANDARD_DEVIATION, deviation, HOUNSFIELD)
    if activity:
        yield Measurement(kind.ACTIVITY_MEAN, mean, BECQUEREL_PER_ML)
        yield Measurement(kind.ACTIVITY_STANDARD_DEVIATION, deviation, BECQUEREL_PER_ML)
    if suv is not None:
        yield Measurement(kind.SUV_MEAN, suv * mean, SUV_BODY_WEIGHT)
        yield Measurement(kind.SUV_STANDARD_DEVIATION, suv * deviation, SUV_BODY_WEIGHT)


def _mean_and_deviation(values: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Of the marked values, slice by slice, so that memory holds those of one (Chan's way to join variances).

    Values that are all the same deviate by exactly 0.
    """
    count, mean, squares = 0, 0.0, 0.0
    for plane, marked in zip(values, mask, strict=True):
        inside = plane[marked].astype(np.float64)
        if inside.size:
            offset = float(inside[0])
            own = offset + float((inside - offset).mean())
            share, step = inside.size / (count + inside.size), own - mean
            squares += float(((inside - own) ** 2).sum()) + step**2 * count * share
            mean += step * share
            count += inside.size
    return mean, math.sqrt(squares / count)
