"""Pixel spacing of images without patient geometry."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.volumes.planes import numbers

__all__ = ["projected_spacing_mm"]

_CENTIMETERS = 3
"""Physical Units X Direction, PS3.3 C.8.5.5.1.15."""


def projected_spacing_mm(header: Dataset) -> tuple[float, float] | None:
    """Between rows and between columns, mm, in the patient; None where nothing calibrated says so.

    Pixel Spacing, else Imager Pixel Spacing corrected by its magnification (PS3.3 10.7.1.3), else the one ultrasound
    region measured in centimetres. Imager Pixel Spacing alone lies in the detector's plane and is not used.
    """
    spacing = _pair(numbers(header, "PixelSpacing"))
    if spacing is not None:
        return spacing
    imager = _pair(numbers(header, "ImagerPixelSpacing"))
    magnification = numbers(header, "EstimatedRadiographicMagnificationFactor")
    if imager is not None and magnification and magnification[0] > 0:
        return imager[0] / magnification[0], imager[1] / magnification[0]
    return _ultrasound_spacing_mm(header)


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    if values is None or len(values) != 2 or min(values) <= 0:
        return None
    return values[0], values[1]


def _ultrasound_spacing_mm(header: Dataset) -> tuple[float, float] | None:
    regions = header.get("SequenceOfUltrasoundRegions") or []
    if len(regions) != 1:
        return None
    region = regions[0]
    units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
    x, y = numbers(region, "PhysicalDeltaX"), numbers(region, "PhysicalDeltaY")
    if units != (_CENTIMETERS, _CENTIMETERS) or not x or not y or not x[0] or not y[0]:
        return None
    return abs(y[0]) * 10, abs(x[0]) * 10
