"""Letters of pages and documents: a text as its font can show it, and in lines that fit."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import reportlab
from anyascii import anyascii
from PIL import ImageFont
from reportlab.pdfbase.ttfonts import TTFontFile

__all__ = ["font", "font_file", "shown", "width_of", "wrapped"]

_FILES = {False: "Vera.ttf", True: "VeraBd.ttf"}
_LEFT_OUT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me", "Mc"})
"""Controls, bidirectional and other invisible marks, halves of letters, what nobody assigned, loose accents."""


def font_file(*, bold: bool = False) -> Path:
    """Bitstream Vera, as it comes with reportlab: free to embed, and the same wherever the node runs."""
    return Path(reportlab.__file__).parent / "fonts" / _FILES[bold]


@functools.cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font for PIL. Without layout by libraqm, which is not everywhere: lines are as wide on every machine."""
    return ImageFont.truetype(font_file(bold=bold), size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _repertoire() -> frozenset[str]:
    """What both fonts have a picture for."""
    faces = (TTFontFile(str(font_file(bold=bold))) for bold in (False, True))
    regular, bold_face = ({chr(code) for code in face.charToGlyph} for face in faces)
    return frozenset(regular & bold_face)


@functools.cache
def _letter(letter: str) -> str:
    if letter in _repertoire():
        return letter
    kind = unicodedata.category(letter)
    if kind.startswith("Z"):
        return " "
    if kind in ("Cs", "Co", "Cn"):
        return "?"
    if kind in _LEFT_OUT:
        return "" if kind != "Cc" else " "
    latin = "".join(one for one in anyascii(letter) if one in _repertoire())
    return latin or "?"


def shown(text: str) -> str:
    """A text in one line, in letters that the font has: others as anyascii writes them in Latin, never an empty box.

    What cannot be seen is left out, above all what turns the direction of writing round.
    """
    lines = unicodedata.normalize("NFC", text).splitlines()
    return " ".join(" ".join("".join(map(_letter, line)).split()) for line in lines if line.strip()).strip()


@functools.cache
def _advance(letter: str, size: int, bold: bool) -> float:
    return font(size, bold=bold).getlength(" " if letter == "\u00a0" else letter)


def width_of(text: str, size: int, *, bold: bool = False) -> float:
    """How wide a line is, in pixels or points as `size` is; pairs of letters are not drawn together."""
    return sum(_advance(letter, size, bold) for letter in text)


def wrapped(text: str, size: int, room: float, *, bold: bool = False) -> Iterator[str]:
    """A shown text in lines no wider than `room`; a word that is too long for one is cut."""
    for line in _lines(text, size, room, bold=bold):
        yield line.replace("\u00a0", " ")  # which some fonts draw twice as wide


def _lines(text: str, size: int, room: float, *, bold: bool) -> Iterator[str]:
    """In time that grows as the text does, spaces or none: each letter is measured a bounded number of times."""
    line, width = "", 0.0
    space = width_of(" ", size, bold=bold)
    for word in filter(None, text.split(" ")):  # a no-break space keeps a number with its unit
        begin, (end, length) = 0, _fitting(word, 0, size, room, bold=bold)
        while end < len(word):
            if line:
                yield line
                line, width = "", 0.0
            yield word[begin:end]
            begin, (end, length) = end, _fitting(word, end, size, room, bold=bold)
        rest = word[begin:]
        if line and width + space + length > room:
            yield line
            line, width = rest, length
        else:
            line, width = (f"{line} {rest}", width + space + length) if line else (rest, length)
    if line:
        yield line


def _fitting(word: str, begin: int, size: int, room: float, *, bold: bool) -> tuple[int, float]:
    """Where the letters of a word end that fit from `begin` on, at least one of them; and how wide these are."""
    width = 0.0
    for end in range(begin, len(word)):
        longer = width + _advance(word[end], size, bold)
        if longer > room and end > begin:
            return end, width
        width = longer
    return len(word), width
