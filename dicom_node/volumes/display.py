"""How a volume is turned in plane to be shown as readers expect it, and its masks turned back.

Axial slices are shown with anterior up and the patient's left on the right of the image (PS3.17), sagittal and coronal
ones with the head up. Slices are flipped and transposed, never resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.headers.elements import texts
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume

__all__ = ["DisplayView", "display_view", "displayed_affine", "displayed_sides", "image_sides", "view_of"]

# In-plane axes of the display convention, as unit vectors of patient space (LPS, mm): along a row, down a column.
_DISPLAY_AXES = {
    0: (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])),  # sagittal: posterior right, feet down
    1: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])),  # coronal: patient's left right, feet down
    2: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),  # axial: patient's left right, posterior down
}


@dataclass(frozen=True)
class DisplayView:
    """How the source grid is turned in plane for display: transpose first, then flips. `restore` undoes `apply`."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """`slices rows columns [3]` on the source grid -> the same in display orientation."""
        if self.transpose:
            values = np.swapaxes(values, 1, 2)
        if self.flip_rows:
            values = values[:, ::-1]
        if self.flip_columns:
            values = values[:, :, ::-1]
        return np.ascontiguousarray(values)

    def restore(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `apply`."""
        if self.flip_columns:
            values = values[:, :, ::-1]
        if self.flip_rows:
            values = values[:, ::-1]
        if self.transpose:
            values = np.swapaxes(values, 1, 2)
        return np.ascontiguousarray(values)


def display_view(volume: SeriesVolume) -> DisplayView:
    """The view that shows this volume by the display convention; the identity without patient geometry."""
    return view_of(volume.geometry)


def view_of(geometry: StackGeometry | None) -> DisplayView:
    """The view of a stack whose slices lie so; the identity for None."""
    if geometry is None:
        return DisplayView(False, False, False)
    normal, down, along = geometry.direction.T
    wanted_along, wanted_down = _DISPLAY_AXES[int(np.argmax(np.abs(normal)))]
    transpose = abs(float(along @ wanted_along)) < abs(float(down @ wanted_along))
    if transpose:
        along, down = down, along
    return DisplayView(transpose, float(down @ wanted_down) < 0, float(along @ wanted_along) < 0)


def image_sides(volume: SeriesVolume) -> tuple[str, str] | None:
    """What lies to the right of the image as it is stored and at its bottom, as letters (PS3.3 C.7.6.1.1.1).

    Without patient geometry what the header states; None where it states nothing.
    """
    if volume.geometry is None:
        stated = texts(volume.source, "PatientOrientation")
        return (stated[0], stated[1]) if len(stated) == 2 and all(stated) else None
    return _letter(volume.geometry.right), _letter(volume.geometry.down)


def displayed_sides(volume: SeriesVolume, view: DisplayView) -> tuple[str, str, str, str]:
    """What lies at the left, right, top and bottom of the image as `view` shows it, a letter each.

    Of an oblique side the letter that leads. "" four times where neither geometry nor header says it.
    """
    sides = image_sides(volume)
    if sides is None or any(side[:1] not in _OPPOSITE for side in sides):
        return "", "", "", ""
    right, bottom = (side[0] for side in sides)
    if view.transpose:
        right, bottom = bottom, right
    if view.flip_columns:
        right = _OPPOSITE[right]
    if view.flip_rows:
        bottom = _OPPOSITE[bottom]
    return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
_STRAYS = 0.1
"""Share of the step by which a slice may stray from where even steps would have it."""


def displayed_affine(volume: SeriesVolume, view: DisplayView) -> NDArray[np.float64] | None:
    """4 x 4, from slice, row, column, 1 of the stack as `view` shows it to mm in the patient (LPS).

    None without patient geometry, for a lone slice without a thickness, and where steps between slices are not even.
    """
    geometry = volume.geometry
    if geometry is None:
        return None
    step = _step(geometry)
    if step is None:
        return None
    rows, columns = volume.values.shape[1:3]
    down, along = geometry.down * geometry.pixel_spacing_mm[0], geometry.right * geometry.pixel_spacing_mm[1]
    origin = geometry.positions[0].copy()
    if view.transpose:
        down, along, rows, columns = along, down, columns, rows
    if view.flip_rows:
        origin, down = origin + (rows - 1) * down, -down
    if view.flip_columns:
        origin, along = origin + (columns - 1) * along, -along
    affine = np.eye(4)
    affine[:3] = np.stack([step, down, along, origin], axis=1)
    return affine


def _step(geometry: StackGeometry) -> NDArray[np.float64] | None:
    """From slice to slice, mm; None where steps are not even or not known."""
    count = len(geometry.positions)
    if count == 1:
        thickness = geometry.slice_extents_mm
        return None if thickness is None else geometry.normal * float(thickness[0])
    step = (geometry.positions[-1] - geometry.positions[0]) / (count - 1)
    even = geometry.positions[0] + np.arange(count)[:, None] * step
    strays = np.linalg.norm(geometry.positions - even, axis=1).max()
    return np.asarray(step) if strays <= _STRAYS * float(np.linalg.norm(step)) else None


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("LPH", "RAF")[int(direction[axis] < 0)][axis]
