"""Pixel spacing of images without patient geometry, and where it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydicom.dataset import Dataset

from dicom_node.headers.elements import integer, items, number, numbers, text

__all__ = ["ProjectedSpacing", "SpacingBasis", "projected_spacing"]

_CENTIMETERS = 3
"""Physical Units X Direction, PS3.3 C.8.5.5.1.15."""
_SAME = 1e-3
"""Relative difference below which Pixel Spacing repeats Imager Pixel Spacing: decimal strings are rounded."""


class SpacingBasis(Enum):
    """Where a pixel spacing was measured, and so what a length or an area means (PS3.3 10.7.1.3)."""

    PATIENT = "in the patient"
    CALIBRATED = "corrected for magnification by whoever made the image"
    ESTIMATED = "detector spacing divided by the estimated magnification"
    DETECTOR = "in the plane of the detector, larger than the patient by the magnification"
    UNSTATED = "nobody says whether it was corrected for magnification"


_NARROWEST_MM, _WIDEST_MM = 1e-6, 1e4
"""A spacing outside is no spacing."""


@dataclass(frozen=True)
class ProjectedSpacing:
    """`mm`: between rows, between columns."""

    mm: tuple[float, float]
    basis: SpacingBasis


def projected_spacing(header: Dataset) -> ProjectedSpacing | None:
    """The best spacing that the header gives, with its basis; None where it gives none.

    Pixel Spacing counts as calibrated where its calibration type says so or where it differs from the spacing at the
    detector (Imager Pixel Spacing) or on the film (Nominal Scanned Pixel Spacing); where it repeats that, it is that
    (PS3.3 10.7.1.3). Detector spacing is divided by the estimated magnification where there is one. Ultrasound gives
    its spacing per region: the one region's, in centimetres.
    """
    spacing = _pair(numbers(header, "PixelSpacing"))
    uncorrected = _pair(numbers(header, "ImagerPixelSpacing")) or _pair(numbers(header, "NominalScannedPixelSpacing"))
    if spacing is not None:
        if text(header, "PixelSpacingCalibrationType") or (uncorrected is not None and not _same(spacing, uncorrected)):
            return ProjectedSpacing(spacing, SpacingBasis.CALIBRATED)
        if uncorrected is None:
            return ProjectedSpacing(spacing, SpacingBasis.UNSTATED)
    if uncorrected is not None:
        magnification = number(header, "EstimatedRadiographicMagnificationFactor")
        if magnification and magnification > 0:
            estimated = _pair(tuple(mm / magnification for mm in uncorrected))
            return None if estimated is None else ProjectedSpacing(estimated, SpacingBasis.ESTIMATED)
        return ProjectedSpacing(uncorrected, SpacingBasis.DETECTOR)
    scanned = _ultrasound_spacing_mm(header)
    return None if scanned is None else ProjectedSpacing(scanned, SpacingBasis.PATIENT)


def _pair(values: tuple[float, ...]) -> tuple[float, float] | None:
    if len(values) != 2 or not all(_NARROWEST_MM <= value <= _WIDEST_MM for value in values):
        return None
    return values[0], values[1]


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(first / second - 1) < _SAME for first, second in zip(one, other, strict=True))


def _ultrasound_spacing_mm(header: Dataset) -> tuple[float, float] | None:
    regions = list(items(header, "SequenceOfUltrasoundRegions"))
    if len(regions) != 1:
        return None
    region = regions[0]
    units = integer(region, "PhysicalUnitsXDirection"), integer(region, "PhysicalUnitsYDirection")
    x, y = number(region, "PhysicalDeltaX"), number(region, "PhysicalDeltaY")
    if units != (_CENTIMETERS, _CENTIMETERS) or not x or not y:
        return None
    return _pair((abs(y) * 10, abs(x) * 10))
