"""What stands beneath an overlay picture: lines of text on dark paper, with swatches and bars of confidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

__all__ = ["DIM", "GREY", "WHITE", "WIDTH", "Line", "font", "on_paper", "wrapped"]

WHITE, GREY, DIM = "#ffffff", "#a7b0b8", "#3a4148"
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


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def wrapped(text: str, size: int) -> Iterator[str]:
    """The text in lines that fit the paper; a word that does not is cut."""
    room = WIDTH - 2 * _MARGIN
    line = ""
    for word in text.split():
        while font(size).getlength(word) > room:
            cut = next(end for end in range(len(word), 0, -1) if end == 1 or font(size).getlength(word[:end]) <= room)
            yield from [line] * bool(line)
            yield word[:cut]
            line, word = "", word[cut:]
        longer = f"{line} {word}".strip()
        if font(size).getlength(longer) > room:
            yield line
            longer = word
        line = longer
    if line:
        yield line


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
        draw.text((left, middle), line.text, fill=line.colour, font=font(line.size), anchor="lm")
        if line.share is not None:
            _draw_confidence(draw, middle, line.share, line.colour)
    return sheet


def _draw_confidence(draw: ImageDraw.ImageDraw, middle: float, share: float, colour: str) -> None:
    right, length = WIDTH - _MARGIN, 110
    draw.text((right - length - 12, middle), f"confidence {share:.2f}", fill=GREY, font=font(15), anchor="rm")
    draw.rounded_rectangle((right - length, middle - 4, right, middle + 4), 4, fill=DIM)
    if share > 0:
        draw.rounded_rectangle((right - length, middle - 4, right - length * (1 - share), middle + 4), 4, fill=colour)
