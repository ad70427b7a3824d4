"""Whether an object that came back says the same as the one that was sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

__all__ = ["Difference", "compared", "pixels_differ"]

_NUMBERS = frozenset({"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing",
                      "RescaleSlope", "RescaleIntercept", "SliceThickness"})  # fmt: skip
_MUST_STAY = frozenset({
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "PatientName", "Modality", "InstanceNumber", "PatientOrientation", "Rows", "Columns", "NumberOfFrames",
    "ContentSequence", "CurrentRequestedProcedureEvidenceSequence", "SegmentSequence", "ReferencedSeriesSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "GraphicAnnotationSequence",
    "EncapsulatedDocument", "MIMETypeOfEncapsulatedDocument",
}) | _NUMBERS  # fmt: skip
"""What may not be another: an archive that changes what else there is may have its reasons, and it is told."""
_PIXELS = "Pixel Data"
_OF_ENCODING = frozenset({"PixelData", "PlanarConfiguration", "PhotometricInterpretation", "SpecificCharacterSet"})


@dataclass(frozen=True)
class Difference:
    """Names of the attributes that may not differ and do, and of others that do."""

    wrong: tuple[str, ...]
    noted: tuple[str, ...]


def compared(sent: Dataset, back: Dataset) -> Difference:
    """The standard attributes of an object that came back beside those that were sent; pixels as they decode."""
    wrong: list[str] = []
    noted: list[str] = []
    for tag in sorted({*sent.keys(), *back.keys()}):
        if tag.is_private:
            continue
        element = sent[tag] if tag in sent else back[tag]
        if element.keyword in _OF_ENCODING or _same(sent, back, element.keyword, tag):
            continue
        (wrong if element.keyword in _MUST_STAY else noted).append(element.name)
    if "PixelData" in sent and pixels_differ(sent, back):
        wrong.append(_PIXELS)
    return Difference(tuple(wrong), tuple(noted))


def _same(sent: Dataset, back: Dataset, keyword: str, tag: int) -> bool:
    if (tag in sent) != (tag in back):
        return bool((sent if tag in sent else back)[tag].is_empty)
    one, other = sent[tag].value, back[tag].value
    if keyword in _NUMBERS and one and other:
        first, second = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (one, other))
        return first.shape == second.shape and bool(np.allclose(first, second, rtol=0, atol=1e-5))
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one.rstrip(b"\0") == other.rstrip(b"\0")
    return bool(one == other)


def pixels_differ(sent: Dataset, back: Dataset) -> bool:
    """Whether pixels that came back are other values, or none."""
    if "PixelData" not in back:
        return True
    return not np.array_equal(sent.pixel_array, back.pixel_array)
