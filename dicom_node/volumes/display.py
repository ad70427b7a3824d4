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

__all__ = ["DisplayView", "display_view", "image_sides", "view_of"]

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


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("LPH", "RAF")[int(direction[axis] < 0)][axis]
