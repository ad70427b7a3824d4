"""An overlay picture for people: the most telling slice with its contours, and what was asked and answered beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion, label

from dicom_node.results.caveats import number_notes
from dicom_node.results.colours import hex_of
from dicom_node.results.finding import Drawn, Finding, ReadPart
from dicom_node.results.legend import AMBER, DIM, GREY, WHITE, WIDTH, Line, capped, on_paper, text_lines
from dicom_node.results.lettering import font, shown
from dicom_node.results.measurement import MeasurementKind
from dicom_node.volumes.display import image_sides
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.projection import SpacingBasis

__all__ = [
    "Spot",
    "draw_finding",
    "draw_scale",
    "draw_sides",
    "draw_tag",
    "slice_picture",
    "window_of",
    "write_overlay",
]

_BLACK = "#000000"
_TALLEST = 960
_FINE = 2
"""Contours are drawn so many times finer than shown, and averaged: smooth lines."""
_FILL = 0.15
_MOST_OF_QUESTION, _MOST_OF_ANSWER, _MOST_LINES = 6, 24, 120
"""Lines of one question, of one answer, and of all: a picture is for a look, the report has the whole text."""
_SMALL, _RING = 24, 26
"""Pixels of a picture: what is smaller both ways is hard to find, and has a ring of this radius around it."""
_MOST_RINGS = 5
_WINDOWS = {"CT": (-160.0, 240.0)}


@dataclass(frozen=True)
class Spot:
    """Where a finding lies in a picture: column and row. `ring`: the radius of the ring around it; 0 for none.

    Without a ring it is the top of the finding's largest part, with one its middle.
    """

    column: int
    row: int
    ring: int = 0


def write_overlay(part: ReadPart, path: Path, terms: str | None = None) -> None:
    """Write a PNG of the slice of a part with the most marked voxels (the middle one if nothing was seen).

    In the slice's true shape, with the sides of the patient and a scale where the header gives them. `terms` of the
    weights, such as "research use only", stand in its last line.
    """
    volume = part.volume
    index = _telling_slice(volume, part.findings)
    picture = slice_picture(volume, index)
    tags = [
        (spot, finding.qualified(finding.phrase), hex_of(finding.concept.label))
        for finding in part.findings
        if (spot := draw_finding(picture, finding.mask[index], hex_of(finding.concept.label))) is not None
    ]
    draw = ImageDraw.Draw(picture)
    for spot, phrase, colour in tags:
        draw_tag(draw, picture.size, spot, phrase, colour)
    draw_sides(draw, picture.size, image_sides(volume))
    draw_scale(draw, picture, volume)
    lines = capped([*_lines(part, index)], _MOST_LINES)
    for note in number_notes(part):
        lines += text_lines(note, AMBER, 14)
    if terms is not None:
        lines += text_lines(terms, AMBER)
    on_paper(picture, lines).save(path)


def _telling_slice(volume: SeriesVolume, findings: Sequence[Finding]) -> int:
    if not findings:
        return int(volume.values.shape[0]) // 2
    marked = np.zeros(volume.values.shape[0], dtype=np.int64)
    for finding in findings:
        marked += finding.pixels_by_slice
    return int(np.argmax(marked))


def slice_picture(
    volume: SeriesVolume,
    index: int,
    room: tuple[int, int] = (WIDTH, _TALLEST),
    window: tuple[float, float] | None = None,
) -> Image.Image:
    """The slice as it is stored, as large as fits `room` (width, height), its pixels in their true proportions.

    `window`: the values that are black and white; by default `window_of` the slice.
    """
    grey = _windowed(volume.values[index], window or window_of(volume, index))
    rows, columns = grey.shape[:2]
    between_rows, between_columns = volume.pixel_spacing_mm or (1.0, 1.0)
    tall = rows * between_rows / (columns * between_columns)
    width = min(room[0], room[1] / tall)
    size = max(1, round(width)), max(1, round(width * tall))
    enlarged = Image.Resampling.BICUBIC if size[0] > columns else Image.Resampling.LANCZOS
    return Image.fromarray(grey).convert("RGB").resize(size, enlarged)


def window_of(volume: SeriesVolume, index: int) -> tuple[float, float]:
    """The values of a slice that are shown black and white: those of soft tissue in CT, else all but a hundredth."""
    values = volume.values[index]
    if values.dtype == np.uint8:
        return 0.0, 255.0
    low, high = _WINDOWS.get(volume.modality, (0.0, 0.0)) if volume.unit is not None else (0.0, 0.0)
    if high <= low:
        low, high = (float(value) for value in np.percentile(values, (1, 99)))
    return low, high


def _windowed(values: NDArray[np.float32] | NDArray[np.uint8], window: tuple[float, float]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    low, high = window
    grey: NDArray[np.uint8] = (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return grey


def draw_finding(picture: Image.Image, mask: NDArray[np.bool_], colour: str) -> Spot | None:
    """Tint the mask and draw its edge, dark outside so that it shows on bright bone too; where its tag may stand.

    What is too small to be found has a ring around it.
    """
    if not mask.any():
        return None
    box = _around(mask, picture.size)
    fine = picture.width * _FINE, picture.height * _FINE
    grey = Image.fromarray(mask).convert("L")
    corner = box[0] * _FINE, box[1] * _FINE, box[2] * _FINE, box[3] * _FINE
    marked = np.asarray(grey.resize(fine, Image.Resampling.BILINEAR).crop(corner)) > 127
    if not marked.any():  # a speck that is smaller than a pixel of the picture
        marked = np.asarray(grey.resize(fine, Image.Resampling.BOX).crop(corner)) > 0
    edge = marked & ~binary_erosion(marked, iterations=2 * _FINE)
    halo = binary_dilation(marked, iterations=_FINE) & ~marked
    shown = box[2] - box[0], box[3] - box[1]
    for share, ink, strength in ((halo, _BLACK, 0.6), (marked, colour, _FILL), (edge, colour, 1.0)):
        opacity = Image.fromarray((share * (255 * strength)).astype(np.uint8)).resize(shown, Image.Resampling.BOX)
        picture.paste(Image.new("RGB", shown, ink), box[:2], mask=opacity)
    middles = _middles_of_small(mask, picture.size)
    for middle in middles:
        _draw_ring(picture, middle, colour)
    return Spot(*middles[0], _RING) if middles else _top(mask, picture.size)


def _middles_of_small(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Columns and rows of the picture in the middle of a mask that is small in it, or of its few parts that all are.

    The largest part is the first; [] where any part is larger, or there are many.
    """
    if (middle := _middle_of_small(mask, size)) is not None:
        return [middle]
    numbers, count = label(mask)
    if count > _MOST_RINGS:
        return []
    parts = sorted((numbers == number for number in range(1, count + 1)), key=np.count_nonzero, reverse=True)
    middles = [_middle_of_small(part, size) for part in parts]
    return [] if None in middles else [one for one in middles if one is not None]


def _middle_of_small(mask: NDArray[np.bool_], size: tuple[int, int]) -> tuple[int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]
    if max((columns[-1] + 1 - columns[0]) * across, (rows[-1] + 1 - rows[0]) * down) >= _SMALL:
        return None
    return round((columns[0] + columns[-1] + 1) / 2 * across), round((rows[0] + rows[-1] + 1) / 2 * down)


def _draw_ring(picture: Image.Image, middle: tuple[int, int], colour: str) -> None:
    """A ring, dark on both sides, drawn finer and averaged as contours are."""
    room = _RING + 6
    fine = Image.new("L", (2 * room * _FINE, 2 * room * _FINE)), Image.new("L", (2 * room * _FINE, 2 * room * _FINE))
    for layer, outer, width in ((fine[0], _RING + 3, 7), (fine[1], _RING + 1, 3)):
        near, far = (room - outer) * _FINE, (room + outer) * _FINE
        ImageDraw.Draw(layer).ellipse((near, near, far, far), outline=255, width=width * _FINE)
    corner = middle[0] - room, middle[1] - room
    for layer, ink, strength in ((fine[0], _BLACK, 0.6), (fine[1], colour, 1.0)):
        opacity = layer.resize((2 * room, 2 * room), Image.Resampling.BOX).point(lambda value, by=strength: value * by)
        picture.paste(Image.new("RGB", opacity.size, ink), corner, mask=opacity)


def _around(mask: NDArray[np.bool_], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what of the picture the mask and its edge can change."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]
    return (
        max(0, int((columns[0] - 1) * across) - 4),
        max(0, int((rows[0] - 1) * down) - 4),
        min(size[0], int((columns[-1] + 2) * across) + 4),
        min(size[1], int((rows[-1] + 2) * down) + 4),
    )


def _top(mask: NDArray[np.bool_], size: tuple[int, int]) -> Spot:
    """The top of the mask's largest part."""
    parts, _ = label(mask)
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    row = int(np.argmax(largest.any(axis=1)))
    column = float(np.flatnonzero(largest[row]).mean()) + 0.5
    return Spot(round(column * size[0] / mask.shape[1]), round(row * size[1] / mask.shape[0]))


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str, anchor: str, size: int) -> None:
    draw.text(at, text, fill=colour, font=font(size), anchor=anchor, stroke_width=2, stroke_fill=_BLACK)


def draw_tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    spot: Spot,
    phrase: str,
    colour: str,
    letters: int = 16,
) -> None:
    """Write a phrase above a spot, or beside its ring, inside the picture."""
    phrase = shown(phrase)
    wide = draw.textlength(phrase, font=font(letters))
    if spot.ring and wide + 2 * spot.ring < size[0]:
        away = spot.ring + 10
        row = min(max(spot.row, letters), size[1] - letters)
        right = spot.column + away + wide < size[0]
        at = spot.column + (away if right else -away), row
        _text(draw, at, phrase, colour, "lm" if right else "rm", letters)
        return
    half = wide / 2 + 4
    column = min(max(spot.column, half), max(size[0] - half, half))
    _text(draw, (column, max(spot.row - spot.ring - 5, letters + 4)), phrase, colour, "ms", letters)


def draw_sides(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], sides: tuple[str, str] | None, letters: int = 18
) -> None:
    """Write at each edge which side of the patient lies there."""
    if sides is None:
        return
    (width, height), (right, bottom) = size, sides
    opposite = str.maketrans("LRPAHF", "RLAPFH")
    for side, at, anchor in (
        (right, (width - 10, height / 2), "rm"),
        (right.translate(opposite), (10, height / 2), "lm"),
        (bottom, (width / 2, height - 10), "mb"),
        (bottom.translate(opposite), (width / 2, 10), "mt"),
    ):
        _text(draw, at, side, GREY, anchor, letters)


def draw_scale(draw: ImageDraw.ImageDraw, picture: Image.Image, volume: SeriesVolume, letters: int = 15) -> None:
    """A bar of a round length, at most a quarter of the width."""
    if volume.pixel_spacing_mm is None:
        return
    width_mm = volume.values.shape[2] * volume.pixel_spacing_mm[1]
    power = 10.0 ** np.floor(np.log10(width_mm / 4))
    length_mm = max(step * power for step in (1, 2, 5) if step * power <= width_mm / 4)
    length = round(length_mm / width_mm * picture.width)
    left, bottom = 14, picture.height - 14
    draw.rectangle((left - 1, bottom - 5, left + length + 1, bottom + 1), fill=_BLACK)
    draw.rectangle((left, bottom - 4, left + length, bottom), fill=WHITE)
    text = f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"
    _text(draw, (left, bottom - 9), text + _CAVEATS.get(volume.spacing_basis, ""), WHITE, "ls", letters)


_SIZES = (MeasurementKind.VOLUME, MeasurementKind.AREA)
_CAVEATS: dict[SpacingBasis | None, str] = {SpacingBasis.DETECTOR: " at the detector"}


def _lines(part: ReadPart, index: int) -> Iterator[Line]:
    slices = part.volume.values.shape[0]
    source = part.volume.slices[index]
    of_frames = part.volume.geometry is None and source.frame_number is not None
    shown = f"frame {source.frame_number}" if of_frames else f"slice {index + 1} of {slices}" if slices > 1 else ""
    if where := "; ".join(filter(None, [part.volume.name, shown])):
        yield Line(where, GREY, 14)
    for answer in part.answers:
        yield from text_lines(answer.question, GREY, most=_MOST_OF_QUESTION)
        yield from text_lines(answer.text, WHITE, 18, most=_MOST_OF_ANSWER)
        for finding in answer.findings:
            colour = hex_of(finding.concept.label)
            sizes = [item.text for item in finding.measurements if item.kind in _SIZES]
            text = ", ".join([finding.qualified(finding.phrase), *sizes])
            share = finding.confidence if finding.drawn is Drawn.MODEL else None
            yield Line(text, colour, swatch=colour, share=share)
            for change in finding.changes:
                yield from text_lines(change.text, GREY, 14)
        for concept in answer.not_seen:
            yield Line(f"{concept.label}: looked for and not seen", GREY, swatch=DIM)
        for missing in answer.not_assessed:
            yield from text_lines(f"{missing.label}: not assessed: {missing.reason}", GREY, most=_MOST_OF_QUESTION)
        for sentence in answer.compared:
            yield from text_lines(sentence, GREY, 14)
