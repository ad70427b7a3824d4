"""What a reader of a part's numbers has to know beside them, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.headers.elements import numbers, text, texts
from dicom_node.results import codes
from dicom_node.results.finding import Finding, ReadPart
from dicom_node.volumes.projection import SpacingBasis
from dicom_node.volumes.uptake import UptakeUnknown, is_pet, suv_factor

__all__ = ["number_notes", "size_caveat"]

_LOSSY = frozenset(
    {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
        *(syntax for syntax in uid.AllTransferSyntaxes if syntax.name.startswith(("MPEG", "HEVC", "Fragmentable"))),
    }
)
_PERHAPS_LOSSY = frozenset({uid.JPEG2000, uid.JPEG2000MC, uid.HTJ2K})


def number_notes(part: ReadPart) -> Iterator[str]:
    """Sentences about the measurements of a part; none where nothing is measured."""
    if not any(finding.measurements for finding in part.findings):
        return
    ratios = [ratio for source in part.volume.sources if (ratio := _lossy_ratio(source)) is not None]
    if ratios:
        ratio = next(filter(None, ratios), "")
        yield f"The source was compressed with loss{ratio and f' (ratio {ratio})'}: numbers are of what is left."
    if is_pet(part.volume):
        try:
            suv_factor(part.volume)
        except UptakeUnknown as missing:
            yield f"SUV cannot be computed: {missing}."


_MAGNIFIED = {
    codes.SPACING_METHODS[SpacingBasis.DETECTOR].value: "at the detector, not corrected for magnification",
    codes.SPACING_METHODS[SpacingBasis.ESTIMATED].value: "corrected by an estimated magnification",
    codes.SPACING_METHODS[
        SpacingBasis.UNSTATED
    ].value: "perhaps not corrected for magnification, the image does not say",
}


def size_caveat(part: ReadPart, finding: Finding) -> str:
    """What holds of the sizes of a finding, or why it has none; "" for nothing."""
    if part.volume.pixel_spacing_mm is None and not finding.low_confidence:
        return "unknown, the image states no pixel spacing"
    methods = [item.method.value for item in finding.measurements if item.method is not None]
    return next((told for method in methods if (told := _MAGNIFIED.get(method))), "")


def _lossy_ratio(source: Dataset) -> str | None:
    """The compression ratio, empty where it is not told; None for a source that lost nothing (PS3.3 C.7.6.1.1.5)."""
    stated = text(source, "LossyImageCompression")
    syntax = uid.UID(text(getattr(source, "file_meta", Dataset()), "TransferSyntaxUID"))
    if stated == "01" or syntax in _LOSSY or (syntax in _PERHAPS_LOSSY and stated != "00"):
        told = bool(numbers(source, "LossyImageCompressionRatio"))
        return ", then ".join(texts(source, "LossyImageCompressionRatio")) if told else ""
    return None
