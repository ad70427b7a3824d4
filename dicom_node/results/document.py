"""Encapsulated PDF of a job's answer (PS3.3 A.45.1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage
from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from dicom_node.headers.elements import text
from dicom_node.results import codes
from dicom_node.results.captures import content_pages
from dicom_node.results.companion import coded, companion, sources_of
from dicom_node.results.finding import ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.lettering import font_file
from dicom_node.results.page import PAPER, BoxMark, Figure, Ink, Page, PictureMark, TextMark
from dicom_node.results.summary import banner

__all__ = ["SERIES_NUMBER_DOCUMENT", "build_document"]

SERIES_NUMBER_DOCUMENT = 9304
_WIDTH, _HEIGHT = (float(side) for side in A4)
_SCALE = _WIDTH / PAPER.width
_FONTS = {False: "MedSegVera", True: "MedSegVeraBold"}
_TITLE = "AI result report"


def build_document(
    parts: Sequence[ReadPart],
    context: ResultContext,
    identity: ResultIdentity,
    notes: Sequence[str],
    report: Dataset | None,
    drawn: Sequence[Figure] | None = None,
) -> Dataset:
    """The document; `report`: the job's SR where there is one. `drawn`: its pictures, where they are made.

    It says what the capture says, on A4, in text that can be selected. The same input gives the same bytes.
    """
    document = companion(EncapsulatedPDFStorage, "DOC", SERIES_NUMBER_DOCUMENT, "document", parts, context)
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = None  # of no single image
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = f"{_TITLE} ({banner(context)})"
    document.ConceptNameCodeSequence = [coded(codes.AI_RESULT_REPORT)]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.SourceInstanceSequence = [
        _reference(source) for source in ([report] if report is not None else []) + sources_of(parts)
    ]
    pdf = _pdf(content_pages(parts, context, identity, notes, PAPER, drawn), document.DocumentTitle)
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return document


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
        text(source, "SOPClassUID"),
        text(source, "SOPInstanceUID"),
    )
    return item


def _pdf(pages: Sequence[Page], title: str) -> bytes:
    """The pages as PDF; `invariant` keeps clock and chance out of it. The patient's name is not in its properties."""
    rl_config.useA85 = 0  # pictures as bytes: as text they take a second each, and a quarter more room
    for bold, name in _FONTS.items():
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(font_file(bold=bold))))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle(title)
    canvas.setCreator("MedSeg Node")
    for page in pages:
        for mark in page:
            _put(canvas, mark)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _put(canvas: Any, mark: TextMark | BoxMark | PictureMark) -> None:
    """PDF counts upwards from the bottom of the page."""
    if isinstance(mark, TextMark):
        canvas.setFillColorRGB(*_share(PAPER.inks[mark.ink]))
        canvas.setFont(_FONTS[mark.bold], mark.size * _SCALE)
        canvas.drawString(mark.left * _SCALE, _up(mark.baseline), mark.text)
    elif isinstance(mark, BoxMark):
        canvas.setFillColorRGB(*_share(PAPER.inks[mark.ink] if isinstance(mark.ink, Ink) else mark.ink))
        width, height = (mark.right - mark.left) * _SCALE, (mark.bottom - mark.top) * _SCALE
        radius = min(mark.radius * _SCALE, width / 2, height / 2)
        canvas.roundRect(mark.left * _SCALE, _up(mark.bottom), width, height, radius, stroke=0, fill=1)
    else:
        place = mark.left * _SCALE, _up(mark.top + mark.height), mark.width * _SCALE, mark.height * _SCALE
        file = io.BytesIO()
        mark.picture.save(file, "JPEG", quality=95, subsampling=0)
        canvas.drawImage(ImageReader(file), *place)


def _up(down: float) -> float:
    return _HEIGHT - down * _SCALE


def _share(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
