"""Secondary captures for a PACS that shows neither SEG nor SR (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from dicom_node.headers.elements import text, texts
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.companion import coded, companion, sources_of
from dicom_node.results.figures import figures, pictured
from dicom_node.results.finding import ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.page import CAPTURE, Figure, Format, Page, lay_out, paint
from dicom_node.results.stand_ins import Reference
from dicom_node.results.summary import UNVERIFIED, Paragraph, Style, banner, identity_line, summary

__all__ = ["SERIES_NUMBER_CAPTURE", "build_captures", "content_pages"]

SERIES_NUMBER_CAPTURE = 9303
_TAGS_OF_PAGE_NUMBERS = 0x00182001
_LOSSY = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")


def build_captures(
    parts: Sequence[ReadPart],
    context: ResultContext,
    identity: ResultIdentity,
    notes: Sequence[str],
    *,
    single_images: bool,
    drawn: Sequence[Figure] | None = None,
) -> list[Dataset]:
    """One multi-frame capture, or its frames as single images.

    First the pages of the summary, then each finding in the slice where it is largest; 1024 x 1280 pixels, RGB. The
    same input gives the same bytes. `drawn`: the job's pictures, where they are made already.
    """
    pages = content_pages(parts, context, identity, notes, CAPTURE, drawn)
    painted = [np.asarray(paint(page, CAPTURE)) for page in pages]
    if single_images:
        return [_single(pixels, number, parts, context) for number, pixels in enumerate(painted, start=1)]
    capture = _capture(MultiFrameTrueColorSecondaryCaptureImageStorage, "capture", parts, context)
    _put_pixels(capture, painted)
    capture.NumberOfFrames = len(painted)
    if len(painted) > 1:
        # Pages, not moments: with a frame time a viewer would play them as a film (PS3.3 C.8.6.4).
        capture.FrameIncrementPointer = _TAGS_OF_PAGE_NUMBERS
        capture.PageNumberVector = list(range(1, len(painted) + 1))
    return [capture]


def content_pages(
    parts: Sequence[ReadPart],
    context: ResultContext,
    identity: ResultIdentity,
    notes: Sequence[str],
    page_format: Format,
    drawn: Sequence[Figure] | None = None,
) -> list[Page]:
    """The pages of a job in a format; `drawn`: its pictures, where they are made already."""
    blocks = [*summary(parts, context, identity, notes)]
    marked = sum(bool(finding.pixels_by_slice.any()) for part in parts for finding in part.findings)
    if (left_out := marked - len(pictured(parts))) > 0:
        blocks.append(Paragraph(f"Pictures of {left_out} more findings are left out here.", Style.WARNING))
    # Without terms the banner says it already.
    state = "; ".join(filter(None, [UNVERIFIED if context.terms else "", "" if context.complete else "not complete"]))
    pictures = [*figures(parts)] if drawn is None else drawn
    return lay_out(blocks, pictures, page_format, banner(context), state, identity_line(identity))


def _single(pixels: np.ndarray, number: int, parts: Sequence[ReadPart], context: ResultContext) -> Dataset:
    capture = _capture(SecondaryCaptureImageStorage, "capture images", parts, context)
    capture.SOPInstanceUID = derived_uid(context.object_key, "capture images", str(number))
    capture.InstanceNumber = number
    _put_pixels(capture, [pixels])
    return capture


def _capture(sop_class_uid: str, kind: str, parts: Sequence[ReadPart], context: ResultContext) -> Dataset:
    capture = companion(sop_class_uid, "OT", SERIES_NUMBER_CAPTURE, kind, parts, context)
    capture.ConversionType = "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.Laterality = None  # type 2C; sides stand in the pages
    capture.PatientOrientation = None  # several slices lie in one image: no orientation holds (PS3.3 C.7.6.1.1.1)
    capture.BurnedInAnnotation = "YES"
    capture.SourceImageSequence = list(_shown_images(parts))
    _put_losses(capture, sources_of(parts))
    return capture


def _shown_images(parts: Sequence[ReadPart]) -> Iterator[Dataset]:
    """Each slice that is shown, once; the first source where none is, so that it is known what was read."""
    shown = [Reference.to(part.volume.slices[finding.largest_slice]) for part, finding in pictured(parts)]
    for reference in dict.fromkeys(shown or [Reference.to(part.volume.slices[0]) for part in parts]):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
        if reference.frame_number is not None:
            item.ReferencedFrameNumber = reference.frame_number
        item.PurposeOfReferenceCodeSequence = [coded(codes.PROCESSED_SOURCE)]
        yield item


def _put_losses(capture: Dataset, sources: Sequence[Dataset]) -> None:
    """What was once compressed with loss stays so (PS3.3 C.7.6.1.1.5)."""
    lossy = next((source for source in sources if text(source, "LossyImageCompression") == "01"), None)
    if lossy is not None:
        capture.LossyImageCompression = "01"
        if all(texts(lossy, keyword) for keyword in _LOSSY):
            for keyword in _LOSSY:
                capture[keyword] = lossy[keyword]


def _put_pixels(capture: Dataset, painted: Sequence[np.ndarray]) -> None:
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.Rows, capture.Columns = CAPTURE.height, CAPTURE.width
    capture.BitsAllocated, capture.BitsStored, capture.HighBit, capture.PixelRepresentation = 8, 8, 7, 0
    capture.PixelData = b"".join(pixels.tobytes() for pixels in painted)
    capture["PixelData"].VR = "OB"
