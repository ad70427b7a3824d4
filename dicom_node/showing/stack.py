"""ShownStack: what a part of a series is, and where each of its slices is read, from headers alone.

Order, geometry and values are those of `load_series`; headers themselves are not kept, so a stack is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.headers.elements import integer, text, texts
from dicom_node.showing.sides import Sides, sides_of_geometry, sides_stated
from dicom_node.showing.windows import Window, turned, windows_of
from dicom_node.volumes.display import DisplayView, view_of
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import one_slice, planned_series, spacing_of, turned_ranges, unit_of_slices
from dicom_node.volumes.pixels import is_color
from dicom_node.volumes.rescale import Rescale, rescale_of
from dicom_node.volumes.stacks import Planned

__all__ = ["ShownSlice", "ShownStack", "shown_stacks"]

Values = NDArray[np.float32] | NDArray[np.uint8]
_UNITS = {"[hnsf'U]": "HU", "g/ml{SUVbw}": "SUV"}


@dataclass(frozen=True)
class ShownSlice:
    """One slice. `frame`: from 0, None for an instance without frames. `turned`: lowest and highest value that a
    MONOCHROME1 slice may have, which is turned round between them; None for any other."""

    path: Path
    frame: int | None
    sop_instance_uid: str
    name: str
    rescale: Rescale
    turned: tuple[float, float] | None


@dataclass(frozen=True)
class ShownStack:
    """One part of a series, in the order in which `load_series` has its slices.

    `geometry`: None for images without places in the patient. `pixel_spacing_mm`: between rows, between columns, of the
    source grid. `unit`: of values, as people write it, or "". `windows`: the first is how it is shown at first; empty
    for colour. `sides`: what lies on each side of the picture in display orientation. `study`: facts of the study.
    """

    slices: tuple[ShownSlice, ...]
    rows: int
    columns: int
    color: bool
    geometry: StackGeometry | None
    pixel_spacing_mm: tuple[float, float] | None
    unit: str
    modality: str
    windows: tuple[Window, ...]
    sides: Sides
    name: str

    @property
    def view(self) -> DisplayView:
        """How the source grid is turned for display."""
        return view_of(self.geometry)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices, rows and columns; None where any of them is not known."""
        return None if self.geometry is None else self.geometry.spacing_mm

    def values(self, index: int) -> Values:
        """One slice on the source grid, float32 `rows columns` in modality units, or uint8 `rows columns 3` RGB.

        Raises VolumeRefused and OSError.
        """
        item = self.slices[index]
        expected = (self.rows, self.columns, 3) if self.color else (self.rows, self.columns)
        values = one_slice(item.path, item.frame, item.rescale, expected, item.name)
        if item.turned is None:
            return values
        low, high = item.turned
        return np.asarray(np.float32(low + high) - values, dtype=np.float32)

    def displayed(self, index: int) -> Values:
        """The same in display orientation."""
        shown: Values = self.view.apply(self.values(index)[None])[0]
        return shown


def shown_stacks(paths: Sequence[Path], frames: FrameChoice = MIDDLE_FRAME) -> tuple[ShownStack, ...]:
    """The parts of a series, from the headers of its files. Raises VolumeRefused as `load_series` does."""
    return tuple(_stack(part) for part in planned_series(paths, frames).parts)


def _stack(part: Planned) -> ShownStack:
    header = part.slices[0].header
    rescales = [rescale_of(item.header, item.frame) for item in part.slices]
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1"
    color = is_color(header)
    rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
    ranges = _ranges(part, rescales, rows, columns) if inverted else [None] * len(rescales)
    unit = None if inverted else unit_of_slices(part.slices, rescales)
    middle = part.slices[len(part.slices) // 2]
    windows = () if color else windows_of(middle.header, middle.frame, text(header, "Modality"))
    around = ranges[len(ranges) // 2]
    return ShownStack(
        slices=tuple(
            ShownSlice(item.path, item.frame, text(item.header, "SOPInstanceUID"), item.name, rescale, around_it)
            for item, rescale, around_it in zip(part.slices, rescales, ranges, strict=True)
        ),
        rows=rows,
        columns=columns,
        color=color,
        geometry=part.geometry,
        pixel_spacing_mm=spacing_of(part)[0],
        unit="" if unit is None else _UNITS.get(unit.value, unit.value),
        modality=text(header, "Modality"),
        windows=windows if around is None else tuple(turned(one, *around) for one in windows),
        sides=_sides(header, part.geometry),
        name=part.name,
    )


def _sides(header: Dataset, geometry: StackGeometry | None) -> Sides:
    if geometry is None:
        return sides_stated(texts(header, "PatientOrientation"))
    return sides_of_geometry(geometry, view_of(geometry))


def _ranges(
    part: Planned, rescales: Sequence[Rescale], rows: int, columns: int
) -> Sequence[tuple[float, float] | None]:
    """Of each slice of a MONOCHROME1 stack what it is turned round between. Floating-point ones have to be read."""
    nothing = np.full((len(rescales), 1), np.nan, dtype=np.float32)
    found = turned_ranges(part.slices[0].header, rescales, nothing)
    if np.isnan(found).any():
        read = [
            one_slice(item.path, item.frame, rescale, (rows, columns), item.name)
            for item, rescale in zip(part.slices, rescales, strict=True)
        ]
        lowest, highest = min(float(one.min()) for one in read), max(float(one.max()) for one in read)
        return [(lowest, highest)] * len(read)
    return [(float(low), float(high)) for low, high in found]
