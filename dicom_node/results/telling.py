"""How much of each slice a mask marks, and how many findings get a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_PICTURES", "marked_pixels"]

MOST_PICTURES = 40
"""A page of a capture has 4 MB; what is left out is said."""


def marked_pixels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many pixels are marked in each slice of a mask `slices rows columns`."""
    # Plane by plane: with an axis numpy adds every pixel up as a number of 8 bytes.
    return np.array([np.count_nonzero(plane) for plane in mask], dtype=np.int64)
