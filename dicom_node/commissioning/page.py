"""The commissioning report: a page with what was sent, what came back, where each mark lies, and one of captures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfgen.canvas import Canvas

from dicom_node.commissioning.body import Body, BodySeries
from dicom_node.commissioning.check import BodyVerdict, MarkVerdict, SeriesVerdict
from dicom_node.commissioning.pictures import capture_page, pairs_of

__all__ = ["COLUMNS", "PageFacts", "shown_off", "write_page"]

_INK, _DIM, _LINE = HexColor("#15191d"), HexColor("#5d6770"), HexColor("#d5dade")
_GOOD, _BAD, _PALE = HexColor("#1b7f3b"), HexColor("#b3261e"), HexColor("#eef1f3")
_MARGIN = 36.0
_PICTURES, _TALL = 284.0, 75.5

COLUMNS: tuple[tuple[str, str], ...] = (
    ("in_images", "in image"), ("by_positions", "by position"), ("by_images", "by reference"),
)  # fmt: skip
"""The ways in which a mark's place is found, and what they are called."""


@dataclass(frozen=True)
class PageFacts:
    """What stands at the top: pairs of a name and a value, and a last line such as what became of the study.

    `not_committed`: the archive was asked to commit itself, and does not.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    ending: str
    not_committed: bool = False


def shown_off(mark: MarkVerdict, way: str, unit: str) -> str:
    """How far off a mark is by one way, in words for a table."""
    if way not in mark.off:
        return "-"
    value = mark.off[way]
    return "lost" if value is None else f"{value:.1f} {unit}"


def write_page(
    path: Path, body: Body, verdict: BodyVerdict, results: Mapping[str, Sequence[Dataset]],
    returned: Mapping[str, Dataset], facts: PageFacts,
) -> None:  # fmt: skip
    """Write the page as PDF, the same bytes for the same input; captures that came back on a second one.

    `results`: objects that came back, by series.
    """
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setTitle(facts.title)
    canvas.setAuthor("MedSeg Node")
    top = _draw_head(canvas, verdict, facts)
    height = (top - 54) / len(body.series)
    for series, said in zip(body.series, verdict.series, strict=True):
        _draw_series(canvas, top, series, said, results.get(series.name, ()), returned)
        top -= height
    canvas.setFillColor(_DIM)
    canvas.setFont("Helvetica", 6.8)
    told = " ".join(filter(None, [verdict.unchecked, facts.ending, _ABOUT]))
    lines = simpleSplit(told, "Helvetica", 6.8, A4[0] - 2 * _MARGIN)
    for number, line in enumerate(lines[:5]):
        canvas.drawString(_MARGIN, 46 - 8.5 * number, line)
    canvas.showPage()
    captures = [(one.name, capture_page(results.get(one.name, ()))) for one in body.series]
    if pages := [(name, picture) for name, picture in captures if picture is not None]:
        _draw_captures(canvas, pages, facts, verdict.unchecked)
    canvas.save()


_ABOUT = (
    "A synthetic body, not a patient. Distances are the farthest between a mark's voxels and what came back: in the "
    "images, by the SEG's own positions, and by the images that it refers to. Letters: right, left, anterior, "
    "posterior, head, feet."
)


def _draw_head(canvas: Canvas, verdict: BodyVerdict, facts: PageFacts) -> float:
    """Title, verdict and facts; returns where the rest begins."""
    wide, tall = A4
    top = tall - 44
    canvas.setFillColor(_INK)
    canvas.setFont("Helvetica-Bold", 17)
    canvas.drawString(_MARGIN, top, facts.title)
    word, colour = verdict.told, _GOOD if verdict.ok else _BAD
    if verdict.ok and facts.not_committed:
        word, colour = "Came back, but not committed to", _BAD
    canvas.setFillColor(colour)
    width = canvas.stringWidth(word, "Helvetica-Bold", 12) + 18
    canvas.roundRect(wide - _MARGIN - width, top - 6, width, 22, 5, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.setFont("Helvetica-Bold", 12)
    canvas.drawString(wide - _MARGIN - width + 9, top, word)
    top -= 20
    half = (wide - 2 * _MARGIN) / 2 + 14
    for number, (name, value) in enumerate(facts.facts):
        left, room = (_MARGIN + half, half - 68) if number % 2 else (_MARGIN, half - 46)
        canvas.setFont("Helvetica", 7.6)
        canvas.setFillColor(_DIM)
        canvas.drawString(left, top, name)
        canvas.setFillColor(_INK)
        canvas.drawString(left + 40, top, _fitting(canvas, value, room, 7.6))
        if number % 2:
            top -= 10.5
    return float(top - (14 if len(facts.facts) % 2 else 4))


def _fitting(canvas: Canvas, text: str, room: float, size: float) -> str:
    """The text, cut where there is no more room."""
    if canvas.stringWidth(text, "Helvetica", size) <= room:
        return text
    while text and canvas.stringWidth(f"{text}...", "Helvetica", size) > room:
        text = text[:-1]
    return f"{text}..."


def _draw_series(
    canvas: Canvas, top: float, series: BodySeries, said: SeriesVerdict, results: Sequence[Dataset],
    returned: Mapping[str, Dataset],
) -> None:  # fmt: skip
    canvas.setStrokeColor(_LINE)
    canvas.line(_MARGIN, top, A4[0] - _MARGIN, top)
    canvas.setFillColor(_INK)
    canvas.setFont("Helvetica-Bold", 9.5)
    canvas.drawString(_MARGIN, top - 11, said.name.capitalize())
    drawn = [one for one in results if one.Modality in ("SEG", "SR")]
    _draw_pictures(canvas, top - 15, series, drawn, returned)
    _draw_table(canvas, top, said)


def _draw_pictures(
    canvas: Canvas, top: float, series: BodySeries, drawn: Sequence[Dataset], returned: Mapping[str, Dataset]
) -> None:
    pairs = pairs_of(series, drawn, returned)
    room = (_PICTURES - 14) / 3
    for number, pair in enumerate(pairs):
        left = _MARGIN + 14 + number * room
        # A lone picture takes the room of all; none is taller than its row.
        wide = min((room if len(pairs) > 1 else 2 * room) - 4, (_TALL - 6) * pair.sent.width / pair.sent.height)
        tall = wide * pair.sent.height / pair.sent.width
        _put(canvas, pair.sent, left, top - tall, wide, tall)
        bottom = top - _TALL - 3
        if pair.back is None:
            canvas.setFillColor(_PALE)
            canvas.rect(left, bottom - tall, wide, tall, stroke=0, fill=1)
            canvas.setFillColor(_BAD)
            canvas.setFont("Helvetica-Bold", 7)
            canvas.drawCentredString(left + wide / 2, bottom - tall / 2, "did not come back")
        else:
            _put(canvas, pair.back, left, bottom - tall, wide, tall)
        canvas.setFillColor(_DIM)
        canvas.setFont("Helvetica", 5.6)
        canvas.drawString(left, bottom - tall - 7, _fitting(canvas, pair.title, wide, 5.6))
    for word, middle in (("sent", top - _TALL / 2), ("came back", top - _TALL * 1.5 - 3)):
        canvas.saveState()
        canvas.translate(_MARGIN + 8, middle)
        canvas.rotate(90)
        canvas.setFillColor(_DIM)
        canvas.setFont("Helvetica", 6.5)
        canvas.drawCentredString(0, 0, word)
        canvas.restoreState()


def _put(canvas: Canvas, picture: Image.Image, left: float, bottom: float, wide: float, tall: float) -> None:
    whole = BytesIO()
    picture.save(whole, "PNG")
    canvas.drawImage(ImageReader(whole), left, bottom, wide, tall)


def _draw_captures(canvas: Canvas, pages: Sequence[tuple[str, Image.Image]], facts: PageFacts, unchecked: str) -> None:
    """A page of captures as they came back, so large that a contour can be judged."""
    wide, tall = A4
    canvas.setFillColor(_INK)
    canvas.setFont("Helvetica-Bold", 13)
    canvas.drawString(_MARGIN, tall - 44, f"{facts.title}: pictures as they came back")
    canvas.setFont("Helvetica", 8)
    top = tall - 44
    for line in simpleSplit(unchecked, "Helvetica", 8, wide - 2 * _MARGIN):
        top -= 11
        canvas.drawString(_MARGIN, top, line)
    across, down = (wide - 2 * _MARGIN) / 2, (top - 30) / 2
    for number, (name, picture) in enumerate(pages):
        left, head = _MARGIN + number % 2 * across, top - 18 - number // 2 * down
        scale = min((across - 12) / picture.width, (down - 26) / picture.height)
        canvas.setFillColor(_DIM)
        canvas.setFont("Helvetica", 8)
        canvas.drawString(left, head, name)
        height = picture.height * scale
        _put(canvas, picture, left, head - 5 - height, picture.width * scale, height)
    canvas.showPage()


def _draw_table(canvas: Canvas, top: float, said: SeriesVerdict) -> None:
    """What became of each object, then of each mark."""
    left = _MARGIN + _PICTURES + 6
    right = A4[0] - _MARGIN
    y = top - 11
    for one in said.objects:
        canvas.setFillColor(_GOOD if one.ok else _BAD)
        canvas.setFont("Helvetica-Bold", 6.8)
        canvas.drawString(left, y, one.what)
        for line in simpleSplit(one.detail, "Helvetica", 6.8, right - left - 34)[:3]:
            canvas.setFillColor(_INK if one.ok else _BAD)
            canvas.setFont("Helvetica", 6.8)
            canvas.drawString(left + 34, y, line)
            y -= 8.4
    y -= 4
    stops = [left, left + 38, left + 76, left + 118, left + 164, left + 202]
    names = ["mark", *(name for _, name in COLUMNS), "images", "side"]
    canvas.setFillColor(_DIM)
    canvas.setFont("Helvetica", 6.2)
    for stop, name in zip(stops, names, strict=True):
        canvas.drawString(stop, y, name)
    y -= 2.5
    canvas.line(left, y, right, y)
    for mark in said.marks:
        y -= 8.6
        side = mark.side or "-" if mark.side == mark.true_side else f"{mark.side or '-'} not {mark.true_side}"
        canvas.setFillColor(_INK if mark.ok else _BAD)
        canvas.setFont("Helvetica" if mark.ok else "Helvetica-Bold", 6.8)
        came = [*(shown_off(mark, way, said.unit) for way, _ in COLUMNS), mark.slices or "-", side]
        for stop, text in zip(stops, [mark.mark, *came], strict=True):
            canvas.drawString(stop, y, text)
