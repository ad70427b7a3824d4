"""An overlay picture for people: the most telling slice with its contours, and what was asked and answered beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, label

from dicom_node.results.finding import Finding, ReadAnswer
from dicom_node.results.measurement import area_mm2, volume_ml
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.projection import SpacingBasis

__all__ = ["write_overlay"]

_COLOURS = ("#ff6b6b", "#4fc3f7", "#ffd54f", "#81c784", "#ce93d8", "#ff8a65", "#4db6ac", "#f48fb1")
_PAPER, _WHITE, _GREY, _DIM, _BLACK = "#14171a", "#ffffff", "#a7b0b8", "#3a4148", "#000000"
_AMBER = "#ffb74d"
_WIDTH, _TALLEST = 768, 960
_MARGIN, _LINE = 16, 24
_FINE = 2
"""Contours are drawn so many times finer than shown, and averaged: smooth lines."""
_FILL = 0.15
_WINDOWS = {"CT": (-160.0, 240.0)}


def write_overlay(volume: SeriesVolume, answers: Sequence[ReadAnswer], path: Path, terms: str | None = None) -> None:
    """Write a PNG of the slice with the most marked voxels (the middle one if nothing was seen).

    In the slice's true shape, with the sides of the patient and a scale where the header gives them. `terms` of the
    weights, such as "research use only", stand in its last line.
    """
    coloured = list(zip((one for answer in answers for one in answer.findings), cycle(_COLOURS), strict=False))
    index = _telling_slice(volume, [finding for finding, _ in coloured])
    picture = _slice_picture(volume, index)
    tags = [
        (place, finding.phrase, colour)
        for finding, colour in coloured
        if (place := _draw_finding(picture, finding.mask[index], colour)) is not None
    ]
    draw = ImageDraw.Draw(picture)
    for place, phrase, colour in tags:
        _draw_tag(draw, picture.size, place, phrase, colour)
    _draw_sides(draw, picture.size, _sides(volume))
    _draw_scale(draw, picture, volume)
    lines = list(_lines(volume, answers, index))
    if terms is not None:
        lines.append(_Line(terms, _AMBER))
    _on_paper(picture, lines).save(path)


def _telling_slice(volume: SeriesVolume, findings: Sequence[Finding]) -> int:
    if not findings:
        return int(volume.values.shape[0]) // 2
    marked = np.zeros(volume.values.shape[0], dtype=np.int64)
    for finding in findings:
        marked += finding.mask.sum(axis=(1, 2))
    return int(np.argmax(marked))


def _slice_picture(volume: SeriesVolume, index: int) -> Image.Image:
    """The slice as it is stored, as large as fits the paper, its pixels in their true proportions."""
    grey = _windowed(volume.values[index], volume)
    rows, columns = grey.shape[:2]
    between_rows, between_columns = volume.pixel_spacing_mm or (1.0, 1.0)
    tall = rows * between_rows / (columns * between_columns)
    width = min(_WIDTH, _TALLEST / tall)
    size = max(1, round(width)), max(1, round(width * tall))
    enlarged = Image.Resampling.BICUBIC if size[0] > columns else Image.Resampling.LANCZOS
    return Image.fromarray(grey).convert("RGB").resize(size, enlarged)


def _windowed(values: NDArray[np.float32] | NDArray[np.uint8], volume: SeriesVolume) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    low, high = _WINDOWS.get(volume.modality, (0.0, 0.0)) if volume.unit is not None else (0.0, 0.0)
    if high <= low:
        low, high = (float(value) for value in np.percentile(values, (1, 99)))
    grey: NDArray[np.uint8] = (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return grey


# --- On the image -----------------------------------------------------------------------------------------------------


def _draw_finding(picture: Image.Image, mask: NDArray[np.bool_], colour: str) -> tuple[int, int] | None:
    """Tint the mask and draw its edge, dark outside so that it shows on bright bone too; where its tag may stand."""
    if not mask.any():
        return None
    fine = picture.width * _FINE, picture.height * _FINE
    marked = np.asarray(Image.fromarray(mask).convert("L").resize(fine, Image.Resampling.BILINEAR)) > 127
    if not marked.any():  # a speck that is smaller than a pixel of the picture
        marked = np.asarray(Image.fromarray(mask).convert("L").resize(fine, Image.Resampling.BOX)) > 0
    edge = marked & ~binary_erosion(marked, iterations=2 * _FINE)
    halo = binary_dilation(marked, iterations=_FINE) & ~marked
    for share, ink, strength in ((halo, _BLACK, 0.6), (marked, colour, _FILL), (edge, colour, 1.0)):
        opacity = Image.fromarray((share * (255 * strength)).astype(np.uint8)).resize(
            picture.size, Image.Resampling.BOX
        )
        picture.paste(Image.new("RGB", picture.size, ink), mask=opacity)
    return _top(mask, picture.size)


def _top(mask: NDArray[np.bool_], size: tuple[int, int]) -> tuple[int, int]:
    """Column and row of the picture at the top of the mask's largest part."""
    parts, _ = label(mask)
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    row = int(np.argmax(largest.any(axis=1)))
    column = float(np.flatnonzero(largest[row]).mean()) + 0.5
    return round(column * size[0] / mask.shape[1]), round(row * size[1] / mask.shape[0])


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str, anchor: str, size: int) -> None:
    draw.text(at, text, fill=colour, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=_BLACK)


def _draw_tag(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], place: tuple[int, int], phrase: str, colour: str
) -> None:
    half = draw.textlength(phrase, font=_font(16)) / 2 + 4
    column = min(max(place[0], half), max(size[0] - half, half))
    _text(draw, (column, max(place[1] - 5, 20)), phrase, colour, "ms", 16)


def _sides(volume: SeriesVolume) -> tuple[str, str] | None:
    """What lies to the right of the image and at its bottom, as letters (PS3.3 C.7.6.1.1.1)."""
    if volume.geometry is None:
        stated = [str(value) for value in volume.sources[0].get("PatientOrientation") or ()]
        return (stated[0], stated[1]) if len(stated) == 2 and all(stated) else None
    directions = np.asarray(volume.geometry.direction, dtype=float)
    return _letter(directions[:, 2]), _letter(directions[:, 1])


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("LPH", "RAF")[int(direction[axis] < 0)][axis]


def _draw_sides(draw: ImageDraw.ImageDraw, size: tuple[int, int], sides: tuple[str, str] | None) -> None:
    if sides is None:
        return
    (width, height), (right, bottom) = size, sides
    opposite = str.maketrans("LRPAHF", "RLAPFH")
    for letters, at, anchor in (
        (right, (width - 10, height / 2), "rm"),
        (right.translate(opposite), (10, height / 2), "lm"),
        (bottom, (width / 2, height - 10), "mb"),
        (bottom.translate(opposite), (width / 2, 10), "mt"),
    ):
        _text(draw, at, letters, _GREY, anchor, 18)


def _draw_scale(draw: ImageDraw.ImageDraw, picture: Image.Image, volume: SeriesVolume) -> None:
    """A bar of a round length, at most a quarter of the width."""
    if volume.pixel_spacing_mm is None:
        return
    width_mm = volume.values.shape[2] * volume.pixel_spacing_mm[1]
    power = 10.0 ** np.floor(np.log10(width_mm / 4))
    length_mm = max(step * power for step in (1, 2, 5) if step * power <= width_mm / 4)
    length = round(length_mm / width_mm * picture.width)
    left, bottom = 14, picture.height - 14
    draw.rectangle((left - 1, bottom - 5, left + length + 1, bottom + 1), fill=_BLACK)
    draw.rectangle((left, bottom - 4, left + length, bottom), fill=_WHITE)
    text = f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"
    _text(draw, (left, bottom - 9), text + _CAVEATS.get(volume.spacing_basis, ""), _WHITE, "ls", 15)


_CAVEATS: dict[SpacingBasis | None, str] = {SpacingBasis.DETECTOR: " at the detector"}


# --- Beneath it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """`swatch`: colour of the mark before it; `share`: 0 to 1, a bar behind the text's end."""

    text: str
    colour: str
    size: int = 16
    swatch: str | None = None
    share: float | None = None


def _lines(volume: SeriesVolume, answers: Sequence[ReadAnswer], index: int) -> Iterator[_Line]:
    colours = cycle(_COLOURS)
    if volume.values.shape[0] > 1:
        yield _Line(f"slice {index + 1} of {volume.values.shape[0]}", _GREY, 14)
    for answer in answers:
        yield from (_Line(text, _GREY) for text in _wrapped(answer.question, 16))
        yield from (_Line(text, _WHITE, 18) for text in _wrapped(answer.text, 18))
        for finding, colour in zip(answer.findings, colours, strict=False):
            text = ", ".join([finding.phrase, *_sizes(volume, finding)])
            yield _Line(text, colour, swatch=colour, share=finding.confidence)
        for concept in answer.not_seen:
            yield _Line(f"{concept.label}: looked for and not seen", _GREY, swatch=_DIM)


def _sizes(volume: SeriesVolume, finding: Finding) -> Iterator[str]:
    if (millilitres := volume_ml(volume, finding.mask)) is not None:
        yield f"{millilitres:.3g} ml" if millilitres < 100 else f"{millilitres:.0f} ml"
    if (area := area_mm2(volume, finding.mask)) is not None:
        yield f"{area / 100:.3g} cm2" if area < 10_000 else f"{area / 100:.0f} cm2"


def _wrapped(text: str, size: int) -> Iterator[str]:
    """The text in lines that fit the paper; a word that does not is cut."""
    room = _WIDTH - 2 * _MARGIN
    line = ""
    for word in text.split():
        while _font(size).getlength(word) > room:
            cut = next(end for end in range(len(word), 0, -1) if end == 1 or _font(size).getlength(word[:end]) <= room)
            yield from [line] * bool(line)
            yield word[:cut]
            line, word = "", word[cut:]
        longer = f"{line} {word}".strip()
        if _font(size).getlength(longer) > room:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _on_paper(picture: Image.Image, lines: Sequence[_Line]) -> Image.Image:
    sheet = Image.new("RGB", (_WIDTH, picture.height + _LINE * len(lines) + 2 * _MARGIN), _PAPER)
    sheet.paste(picture, ((_WIDTH - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        middle = picture.height + _MARGIN + _LINE * row + _LINE / 2
        left: float = _MARGIN
        if line.swatch is not None:
            draw.rounded_rectangle((left, middle - 6, left + 12, middle + 6), 3, fill=line.swatch)
            left += 22
        draw.text((left, middle), line.text, fill=line.colour, font=_font(line.size), anchor="lm")
        if line.share is not None:
            _draw_confidence(draw, middle, line.share, line.colour)
    return sheet


def _draw_confidence(draw: ImageDraw.ImageDraw, middle: float, share: float, colour: str) -> None:
    right, length = _WIDTH - _MARGIN, 110
    draw.text((right - length - 12, middle), f"confidence {share:.2f}", fill=_GREY, font=_font(15), anchor="rm")
    draw.rounded_rectangle((right - length, middle - 4, right, middle + 4), 4, fill=_DIM)
    if share > 0:
        draw.rounded_rectangle((right - length, middle - 4, right - length * (1 - share), middle + 4), 4, fill=colour)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
