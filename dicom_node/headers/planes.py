"""Planes: how an image lies in the patient, by Image Orientation (Patient) (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["STRAIGHT", "plane_of"]

STRAIGHT = 0.9
"""Cosine: slices that are turned by more than 26 degrees are oblique."""
_NAMES = ("sagittal", "coronal", "axial")


def plane_of(orientation: Sequence[float]) -> str:
    """axial, coronal, sagittal or oblique; "" where `orientation` is not the directions of rows and of columns."""
    if len(orientation) != 6:
        return ""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    if not 0 < length < math.inf:
        return ""
    parts = [abs(part) / length for part in normal]
    return _NAMES[parts.index(max(parts))] if max(parts) >= STRAIGHT else "oblique"
