"""Pages: blocks of a summary, and pictures, set as texts, boxes and pictures at places; and painted as RGB images.

Captures and documents share it: what stands where is decided once, and only then painted with PIL or as PDF.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from PIL import Image, ImageDraw

from dicom_node.results.lettering import font, width_of, wrapped
from dicom_node.results.summary import Block, Fields, FindingRow, Findings, Paragraph, Style

__all__ = [
    "CAPTURE", "PAPER", "BoxMark", "Figure", "Format", "Ink", "Page", "PictureMark", "TextMark", "lay_out", "paint",
]  # fmt: skip

RGB = tuple[int, int, int]
_MOST_PAGES = 12


class Ink(Enum):
    """What a colour is for; a `Format` says which it is."""

    PAPER = "paper"
    TEXT = "text"
    QUIET = "quiet"
    RULE = "rule"
    WARNING = "warning"
    BANNER = "banner"
    ON_BANNER = "on banner"


@dataclass(frozen=True)
class Format:
    """A kind of page, in pixels of a capture or in units of a document. `figure`: width and height that a picture has.

    `figure_pages`: whether each picture has a page of its own.
    """

    width: int
    height: int
    margin: int
    figure: tuple[int, int]
    figure_pages: bool
    inks: dict[Ink, RGB] = field(hash=False)


CAPTURE = Format(
    1024,
    1280,
    36,
    (1024, 830),
    True,
    {
        Ink.PAPER: (16, 18, 21),
        Ink.TEXT: (244, 246, 248),
        Ink.QUIET: (168, 178, 188),
        Ink.RULE: (62, 70, 78),
        Ink.WARNING: (255, 193, 94),
        Ink.BANNER: (255, 179, 0),
        Ink.ON_BANNER: (0, 0, 0),
    },
)
"""Upright, so that a phone shows it whole; no letter is lower than 22 pixels."""

PAPER = Format(
    1240,
    1754,
    76,
    (1088, 560),
    False,
    {
        Ink.PAPER: (255, 255, 255),
        Ink.TEXT: (17, 19, 22),
        Ink.QUIET: (84, 92, 100),
        Ink.RULE: (196, 202, 208),
        Ink.WARNING: (150, 78, 0),
        Ink.BANNER: (255, 179, 0),
        Ink.ON_BANNER: (0, 0, 0),
    },
)
"""A4 at 150 units to the inch."""


@dataclass(frozen=True)
class Figure:
    """A picture with what stands beneath it. `colour`: of the finding that it shows."""

    picture: Image.Image
    colour: RGB
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class TextMark:
    """A line of text. `left`, `baseline`: where it begins."""

    left: float
    baseline: float
    text: str
    size: int
    ink: Ink
    bold: bool = False


@dataclass(frozen=True)
class BoxMark:
    """A filled box with round corners."""

    left: float
    top: float
    right: float
    bottom: float
    ink: Ink | RGB
    radius: float = 0.0


@dataclass(frozen=True)
class PictureMark:
    """A picture, enlarged or reduced to its box."""

    left: float
    top: float
    width: float
    height: float
    picture: Image.Image = field(compare=False)


Page = list[TextMark | BoxMark | PictureMark]

_STYLES: dict[Style, tuple[int, Ink, bool]] = {
    Style.HEADING: (26, Ink.QUIET, True),
    Style.QUESTION: (25, Ink.QUIET, False),
    Style.ANSWER: (29, Ink.TEXT, False),
    Style.PLAIN: (24, Ink.TEXT, False),
    Style.QUIET: (22, Ink.QUIET, False),
    Style.WARNING: (24, Ink.WARNING, False),
}
_BANNER, _LEAD = 64, 1.36
_SMALL, _CELL, _TITLE = 22, 24, 30
_KEPT = 280
"""A question starts a new page where not even its answer's first lines have a place beneath it."""
_SHORT = 3
"""Paragraphs of so many lines are not broken over pages."""
_COLUMNS = (("Finding", 0.0), ("Side", 0.27), ("Size", 0.37), ("Long axis", 0.62), ("Confidence", 0.87))
"""Where the columns of the table begin, as a share of its width."""


def lay_out(
    blocks: Iterable[Block], figures: Sequence[Figure], page_format: Format, banner: str, state: str, identity: str
) -> list[Page]:
    """Blocks, then pictures, on as many pages as they need, up to twelve without pictures of their own.

    What is too much is left out, and the last page says how many lines that are. Every page has the `banner`, the
    `state` of the result (none: "") and the `identity` of the patient.
    """
    layout = _Layout(page_format, banner, state, identity)
    for block in blocks:
        layout.put(block)
    layout.say_what_is_left_out()
    for figure in figures:
        layout.put_figure(figure)
    layout.finish()
    return layout.pages


class _Layout:
    def __init__(self, page_format: Format, banner: str, state: str, identity: str) -> None:
        self._format, self._banner, self._state = page_format, banner, state
        self._room = page_format.width - 2 * page_format.margin
        self._footer = [*wrapped(identity, _SMALL, self._room - 190)][:3]
        self._bottom = page_format.height - 30 - len(self._footer) * _SMALL * _LEAD
        self._y = self._top = _BANNER + (56.0 if state else 16.0)
        self._left_out = 0
        self.pages: list[Page] = []
        self._begin()

    def put(self, block: Block) -> None:
        if isinstance(block, Paragraph):
            self._paragraph(block)
        elif isinstance(block, Fields):
            self._fields(block)
        elif isinstance(block, Findings):
            self._findings(block)
        else:
            assert_never(block)

    def say_what_is_left_out(self) -> None:
        if self._left_out:
            baseline = self._bottom - 8
            text = f"{self._left_out} more lines are left out: they do not fit these {_MOST_PAGES} pages."
            self._text(self._format.margin, baseline, text, 24, Ink.WARNING)

    def put_figure(self, figure: Figure) -> None:
        width, height = self._format.figure
        scale = min(width / figure.picture.width, height / figure.picture.height)
        size = figure.picture.width * scale, figure.picture.height * scale
        lines = [line for text in figure.lines for line in wrapped(text, _CELL, self._room)]
        caption = _TITLE * _LEAD + 16 + len(lines) * _CELL * _LEAD
        if self._format.figure_pages or self._y + size[1] + caption > self._bottom:
            self._begin()
        left = (self._format.width - size[0]) / 2
        self.pages[-1].append(PictureMark(left, self._y, *size, figure.picture))
        self._y += size[1] + 12
        middle = self._y + _TITLE * _LEAD / 2
        self._box(self._format.margin, middle - 13, self._format.margin + 26, middle + 13, figure.colour, 5)
        title = next(wrapped(figure.title, _TITLE, self._room - 40, bold=True), "")
        self._text(self._format.margin + 40, middle + _TITLE * 0.36, title, _TITLE, Ink.TEXT, bold=True)
        self._y += _TITLE * _LEAD + 4
        for line in lines:
            self._y += _CELL * _LEAD
            self._text(self._format.margin, self._y - 8, line, _CELL, Ink.TEXT)
        self._y += 28

    def finish(self) -> None:
        margin, count = self._format.margin, len(self.pages)
        for number, page in enumerate(self.pages, start=1):
            top = self._bottom + 8
            page.append(BoxMark(margin, top, self._format.width - margin, top + 2, Ink.RULE))
            for place, line in enumerate(self._footer):
                baseline = top + 28 + place * _SMALL * _LEAD
                page.append(TextMark(margin, baseline, line, _SMALL, Ink.QUIET))
            told = f"page {number} of {count}"
            left = self._format.width - margin - width_of(told, _SMALL)
            page.append(TextMark(left, top + 28, told, _SMALL, Ink.QUIET))

    # --- Pages and lines ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        width = self._format.width
        page: Page = [BoxMark(0, 0, width, _BANNER, Ink.BANNER)]
        size = next((size for size in (34, 30, 26) if width_of(self._banner, size, bold=True) < width - 40), 22)
        line = next(wrapped(self._banner, size, width - 40, bold=True), "")
        left = (width - width_of(line, size, bold=True)) / 2
        page.append(TextMark(left, _BANNER / 2 + size * 0.36, line, size, Ink.ON_BANNER, bold=True))
        if self._state:
            page.append(TextMark(self._format.margin, _BANNER + 36, self._state, 24, Ink.WARNING, bold=True))
        self.pages.append(page)
        self._y = self._top

    def _need(self, height: float) -> bool:
        """Whether so much has a place, on a new page if need be; False where no page is left."""
        last = len(self.pages) == _MOST_PAGES
        if self._left_out or (last and self._y + height > self._bottom - 40):
            self._left_out += 1
            return False
        if self._y + height > self._bottom:
            self._begin()
        return True

    def _keep_together(self, height: float) -> None:
        """Begin a new page for what has no place on this one and has on a whole one."""
        whole = self._bottom - self._top
        if self._y + height > self._bottom and height <= whole and len(self.pages) < _MOST_PAGES and not self._left_out:
            self._begin()

    def _text(self, left: float, baseline: float, text: str, size: int, ink: Ink, *, bold: bool = False) -> None:
        self.pages[-1].append(TextMark(left, baseline, text, size, ink, bold))

    def _box(self, left: float, top: float, right: float, bottom: float, ink: Ink | RGB, radius: float = 0) -> None:
        self.pages[-1].append(BoxMark(left, top, right, bottom, ink, radius))

    def _paragraph(self, paragraph: Paragraph) -> None:
        size, ink, bold = _STYLES[paragraph.style]
        begins = paragraph.style in (Style.HEADING, Style.QUESTION)
        height = size * _LEAD
        if begins and self._y + _KEPT > self._bottom and len(self.pages) < _MOST_PAGES:
            self._begin()
        if begins and self._y + 24 + 4 * height < self._bottom and not self._left_out:
            self._y += 12
            self._box(self._format.margin, self._y, self._format.width - self._format.margin, self._y + 2, Ink.RULE)
            self._y += 8
        lines = [*wrapped(paragraph.text, size, self._room, bold=bold)]
        if len(lines) <= _SHORT:
            self._keep_together(len(lines) * height)
        for line in lines:
            if self._need(height):
                self._y += height
                self._text(self._format.margin, self._y - size * 0.32, line, size, ink, bold=bold)
        self._y += 6

    def _fields(self, fields: Fields) -> None:
        beside = 240
        for name, value in fields.values:
            for place, line in enumerate(wrapped(value, _CELL, self._room - beside)):
                if self._need(_CELL * _LEAD):
                    self._y += _CELL * _LEAD
                    if place == 0:
                        self._text(self._format.margin, self._y - 8, name, _CELL, Ink.QUIET)
                    self._text(self._format.margin + beside, self._y - 8, line, _CELL, Ink.TEXT)
        self._y += 8

    # --- The table ----------------------------------------------------------------------------------------------------

    def _findings(self, findings: Findings) -> None:
        headed = None
        for row in findings.rows:
            cells = [
                [*wrapped(text, _CELL, self._width(place) - (40 if place == 0 else 14), bold=place == 0)]
                for place, text in enumerate((row.name, row.side, row.size, row.long_axis))
            ]
            height = max(len(lines) for lines in cells) * _CELL * _LEAD + 14
            beneath = [line for text in row.beneath for line in wrapped(text, _SMALL, self._room - 40)]
            self._keep_together(height + (len(beneath) + 1) * _SMALL * _LEAD + 8)
            if not self._need(height + _SMALL * _LEAD):
                self._left_out += len(beneath)
                continue
            if headed is not self.pages[-1]:
                headed = self.pages[-1]
                self._heads()
            self._row(row, cells)
            self._y += height - 2
            self._beneath(row, beneath)
            self._y += 8
        self._y += 6

    def _beneath(self, row: FindingRow, lines: Sequence[str]) -> None:
        """What goes with a row; where it goes on over the page, the name again."""
        page = self.pages[-1]
        for line in lines:
            if not self._need(_SMALL * _LEAD):
                continue
            if page is not self.pages[-1]:
                page = self.pages[-1]
                self._y += _CELL * _LEAD
                self._box(self._left(0), self._y - 27, self._left(0) + 26, self._y - 1, row.colour, 5)
                name = next(wrapped(f"{row.name} (continued)", _CELL, self._room - 40, bold=True))
                self._text(self._left(0) + 40, self._y - 6, name, _CELL, Ink.TEXT, bold=True)
            self._y += _SMALL * _LEAD
            self._text(self._format.margin + 40, self._y - 8, line, _SMALL, Ink.QUIET)

    def _left(self, place: int) -> float:
        return self._format.margin + _COLUMNS[place][1] * self._room

    def _width(self, place: int) -> float:
        end = self._left(place + 1) if place + 1 < len(_COLUMNS) else self._format.margin + self._room
        return end - self._left(place)

    def _heads(self) -> None:
        self._y += _SMALL * _LEAD
        for place, (name, _) in enumerate(_COLUMNS):
            self._text(self._left(place) + (40 if place == 0 else 0), self._y - 8, name, _SMALL, Ink.QUIET)

    def _row(self, row: FindingRow, cells: Sequence[Sequence[str]]) -> None:
        first = self._y + _CELL * _LEAD
        self._box(self._left(0), first - 27, self._left(0) + 26, first - 1, row.colour, 5)
        for place, lines in enumerate(cells):
            for number, line in enumerate(lines):
                baseline = first + number * _CELL * _LEAD - 6
                left = self._left(place) + (40 if place == 0 else 0)
                self._text(left, baseline, line, _CELL, Ink.TEXT, bold=place == 0)
        left, right = self._left(4), self._format.margin + self._room
        if row.confidence is None:
            self._text(left, first - 6, "-", _CELL, Ink.TEXT)
            return
        self._text(left, first - 6, f"{row.confidence:.2f}", _CELL, Ink.TEXT)
        self._box(left, first + 4, right, first + 11, Ink.RULE, 3)
        if row.confidence > 0:
            share = min(row.confidence, 1.0)
            self._box(left, first + 4, left + max(6.0, share * (right - left)), first + 11, row.colour, 3)


def paint(page: Page, page_format: Format) -> Image.Image:
    """A page as an RGB image of the format's size."""
    sheet = Image.new("RGB", (page_format.width, page_format.height), page_format.inks[Ink.PAPER])
    draw = ImageDraw.Draw(sheet)
    for mark in page:
        if isinstance(mark, TextMark):
            at, letters = (mark.left, mark.baseline), font(mark.size, bold=mark.bold)
            draw.text(at, mark.text, fill=page_format.inks[mark.ink], font=letters, anchor="ls")
        elif isinstance(mark, BoxMark):
            fill = page_format.inks[mark.ink] if isinstance(mark.ink, Ink) else mark.ink
            draw.rounded_rectangle((mark.left, mark.top, mark.right - 1, mark.bottom - 1), mark.radius, fill=fill)
        else:
            size = round(mark.width), round(mark.height)
            picture = mark.picture if mark.picture.size == size else mark.picture.resize(size)
            sheet.paste(picture, (round(mark.left), round(mark.top)))
    return sheet
