"""Where an image's pixels lie in the patient, from its header alone (PS3.3 C.7.6.2.1.1).

Commissioning proves the rest of the node with it, so it shares no code with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

__all__ = ["Placement", "edge_letters", "placement_of", "side_of"]


@dataclass(frozen=True)
class Placement:
    """`position`: centre of the first pixel, mm LPS; `along`, `down`: unit vectors of a row and of a column.

    `spacing_mm`: between rows, between columns.
    """

    position: NDArray[np.float64]
    along: NDArray[np.float64]
    down: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.asarray(np.cross(self.along, self.down), dtype=np.float64)

    def centres(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Pixels `points 2` (row, column) -> their centres `points 3`, mm LPS."""
        rows, columns = np.asarray(pixels, dtype=np.float64).reshape(-1, 2).T
        between_rows, between_columns = self.spacing_mm
        return np.asarray(
            self.position + np.outer(columns * between_columns, self.along) + np.outer(rows * between_rows, self.down)
        )


def placement_of(image: Dataset) -> Placement | None:
    """The place of a single-frame image; None where its header gives none that can be followed."""
    keywords = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    numbers = [np.array(image.get(keyword) or (), dtype=np.float64) for keyword in keywords]
    if [values.size for values in numbers] != [3, 6, 2]:
        return None
    position, cosines, spacing = numbers
    between_rows, between_columns = spacing.tolist()
    return Placement(position, cosines[:3], cosines[3:], (between_rows, between_columns))


_LETTERS = ("RL", "AP", "FH")


def side_of(direction: NDArray[np.float64], least: float = 0.35) -> str:
    """A direction in the patient in letters (PS3.3 C.7.6.1.1.1), the longest part first, such as "L" or "LH".

    `least`: parts shorter than this share of the longest one are left out. Empty for no direction.
    """
    lengths = [abs(float(part)) for part in direction]
    if not any(lengths):
        return ""
    axes = sorted(range(3), key=lambda axis: -lengths[axis])
    kept = [axis for axis in axes if lengths[axis] >= least * max(lengths)]
    return "".join(_LETTERS[axis][int(direction[axis] > 0)] for axis in kept)


def edge_letters(image: Dataset) -> tuple[str, str] | None:
    """What lies to the right of the image and at its bottom: by its place, else as it states; None if neither."""
    placement = placement_of(image)
    if placement is not None:
        return side_of(placement.along, 1.0), side_of(placement.down, 1.0)
    stated: Any = image.get("PatientOrientation") or ()
    return (str(stated[0]), str(stated[1])) if len(stated) == 2 else None
