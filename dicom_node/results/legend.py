"""What stands beneath an overlay picture: lines of text on dark paper, with swatches and bars of confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from dicom_node.results.lettering import font, shown, width_of, wrapped

__all__ = ["AMBER", "DIM", "GREY", "WHITE", "WIDTH", "Line", "capped", "on_paper", "text_lines"]

WHITE, GREY, DIM, AMBER = "#ffffff", "#a7b0b8", "#3a4148", "#ffb74d"
_PAPER = "#14171a"
WIDTH = 768
_MARGIN, _LINE = 16, 24


@dataclass(frozen=True)
class Line:
    """`swatch`: colour of the mark before it; `share`: 0 to 1, a bar behind the text's end."""

    text: str
    colour: str
    size: int = 16
    swatch: str | None = None
    share: float | None = None


def text_lines(text: str, colour: str, size: int = 16, most: int = 4) -> list[Line]:
    """A text in at most so many lines that fit the paper, and one more that says how much is left out."""
    return capped([Line(line, colour, size) for line in wrapped(shown(text), size, WIDTH - 2 * _MARGIN)], most)


def capped(lines: Sequence[Line], most: int) -> list[Line]:
    """At most so many lines, and one more that says how many are left out."""
    if len(lines) <= most:
        return list(lines)
    left_out = len(lines) - most
    told = "1 more line is left out here" if left_out == 1 else f"{left_out} more lines are left out here"
    return [*lines[:most], Line(told, AMBER, 14)]


def on_paper(picture: Image.Image, lines: Sequence[Line]) -> Image.Image:
    """The picture with its lines beneath it."""
    sheet = Image.new("RGB", (WIDTH, picture.height + _LINE * len(lines) + 2 * _MARGIN), _PAPER)
    sheet.paste(picture, ((WIDTH - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        middle = picture.height + _MARGIN + _LINE * row + _LINE / 2
        left: float = _MARGIN
        if line.swatch is not None:
            draw.rounded_rectangle((left, middle - 6, left + 12, middle + 6), 3, fill=line.swatch)
            left += 22
        right = WIDTH - _MARGIN if line.share is None else _right_of_text(line.share)
        draw.text((left, middle), _fitting(line, right - left), fill=line.colour, font=font(line.size), anchor="lm")
        if line.share is not None:
            _draw_confidence(draw, middle, line.share, line.colour)
    return sheet


def _fitting(line: Line, room: float) -> str:
    """The line's text as the font can show it, cut where it would leave the paper."""
    text = shown(line.text)
    first = next(wrapped(text, line.size, room), "")
    return first if first == text else next(wrapped(text, line.size, room - width_of("...", line.size)), "") + "..."


_BAR = 110


def _told(share: float) -> str:
    return f"confidence {share:.2f}"


def _right_of_text(share: float) -> float:
    """Where a text must end that has a bar of confidence behind it."""
    return WIDTH - _MARGIN - _BAR - 12 - width_of(_told(share), 15) - 12


def _draw_confidence(draw: ImageDraw.ImageDraw, middle: float, share: float, colour: str) -> None:
    right, length = WIDTH - _MARGIN, _BAR
    draw.text((right - length - 12, middle), _told(share), fill=GREY, font=font(15), anchor="rm")
    draw.rounded_rectangle((right - length, middle - 4, right, middle + 4), 4, fill=DIM)
    if share > 0:
        draw.rounded_rectangle((right - length, middle - 4, right - length * (1 - share), middle + 4), 4, fill=colour)
