"""Sides: what lies to the left, right, top and bottom of a picture, as letters (PS3.3 C.7.6.1.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.volumes.display import DisplayView
from dicom_node.volumes.geometry import StackGeometry

__all__ = ["Sides", "sides_of_geometry", "sides_stated"]

_LEAST = 0.25
"""Share of a direction, about 15 degrees, from which an oblique one is named by a further letter."""
_OPPOSITE = str.maketrans("LRAPHFI", "RLPAFHS")


@dataclass(frozen=True)
class Sides:
    """Letters on each side, the nearest direction first: L R A P H F, "" where nobody says.

    Of an oblique picture a side has further letters: "LP" is mainly to the left, and somewhat to the back.
    """

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


def sides_of_geometry(geometry: StackGeometry, view: DisplayView) -> Sides:
    """Of a stack in display orientation."""
    right, down = geometry.right, geometry.down
    if view.transpose:
        right, down = down, right
    if view.flip_columns:
        right = -right
    if view.flip_rows:
        down = -down
    return Sides(left=_letters(-right), right=_letters(right), top=_letters(-down), bottom=_letters(down))


def sides_stated(orientation: Sequence[str]) -> Sides:
    """Of an image without patient geometry, by its Patient Orientation: towards the right, towards the bottom."""
    if len(orientation) != 2 or not all(orientation):
        return Sides()
    right, bottom = (value.upper()[:3] for value in orientation)
    return Sides(left=_opposite(right), right=right, top=_opposite(bottom), bottom=bottom)


def _opposite(letters: str) -> str:
    return letters.translate(_OPPOSITE)


def _letters(direction: NDArray[np.float64]) -> str:
    """Patient axes (LPS) that a direction goes along, the nearest first."""
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [axis for place, axis in enumerate(order) if place == 0 or abs(direction[axis]) >= _LEAST]
    return "".join(("LPH", "RAF")[int(direction[axis] < 0)][axis] for axis in named)
