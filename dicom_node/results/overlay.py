"""An overlay picture for people: the most telling slice with its contours, and what was asked and answered beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion, label

from dicom_node.results.caveats import number_notes
from dicom_node.results.finding import Finding, ReadPart
from dicom_node.results.legend import DIM, GREY, WHITE, WIDTH, Line, font, on_paper, wrapped
from dicom_node.results.measurement import MeasurementKind
from dicom_node.volumes.display import image_sides
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.projection import SpacingBasis

__all__ = ["write_overlay"]

_COLOURS = ("#ff6b6b", "#4fc3f7", "#ffd54f", "#81c784", "#ce93d8", "#ff8a65", "#4db6ac", "#f48fb1")
_BLACK, _AMBER = "#000000", "#ffb74d"
_TALLEST = 960
_FINE = 2
"""Contours are drawn so many times finer than shown, and averaged: smooth lines."""
_FILL = 0.15
_WINDOWS = {"CT": (-160.0, 240.0)}


def write_overlay(part: ReadPart, path: Path, terms: str | None = None) -> None:
    """Write a PNG of the slice of a part with the most marked voxels (the middle one if nothing was seen).

    In the slice's true shape, with the sides of the patient and a scale where the header gives them. `terms` of the
    weights, such as "research use only", stand in its last line.
    """
    volume = part.volume
    coloured = list(zip(part.findings, cycle(_COLOURS), strict=False))
    index = _telling_slice(volume, part.findings)
    picture = _slice_picture(volume, index)
    tags = [
        (place, finding.qualified(finding.phrase), colour)
        for finding, colour in coloured
        if (place := _draw_finding(picture, finding.mask[index], colour)) is not None
    ]
    draw = ImageDraw.Draw(picture)
    for place, phrase, colour in tags:
        _draw_tag(draw, picture.size, place, phrase, colour)
    _draw_sides(draw, picture.size, image_sides(volume))
    _draw_scale(draw, picture, volume)
    lines = list(_lines(part, index))
    if terms is not None:
        lines.append(Line(terms, _AMBER))
    on_paper(picture, lines).save(path)


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
    width = min(WIDTH, _TALLEST / tall)
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
    draw.text(at, text, fill=colour, font=font(size), anchor=anchor, stroke_width=2, stroke_fill=_BLACK)


def _draw_tag(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], place: tuple[int, int], phrase: str, colour: str
) -> None:
    half = draw.textlength(phrase, font=font(16)) / 2 + 4
    column = min(max(place[0], half), max(size[0] - half, half))
    _text(draw, (column, max(place[1] - 5, 20)), phrase, colour, "ms", 16)


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
        _text(draw, at, letters, GREY, anchor, 18)


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
    draw.rectangle((left, bottom - 4, left + length, bottom), fill=WHITE)
    text = f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"
    _text(draw, (left, bottom - 9), text + _CAVEATS.get(volume.spacing_basis, ""), WHITE, "ls", 15)


_SIZES = (MeasurementKind.VOLUME, MeasurementKind.AREA)
_CAVEATS: dict[SpacingBasis | None, str] = {SpacingBasis.DETECTOR: " at the detector"}


def _lines(part: ReadPart, index: int) -> Iterator[Line]:
    colours = cycle(_COLOURS)
    slices = part.volume.values.shape[0]
    source = part.volume.slices[index]
    of_frames = part.volume.geometry is None and source.frame_number is not None
    shown = f"frame {source.frame_number}" if of_frames else f"slice {index + 1} of {slices}" if slices > 1 else ""
    if where := "; ".join(filter(None, [part.volume.name, shown])):
        yield Line(where, GREY, 14)
    for answer in part.answers:
        yield from (Line(text, GREY) for text in wrapped(answer.question, 16))
        yield from (Line(text, WHITE, 18) for text in wrapped(answer.text, 18))
        for finding, colour in zip(answer.findings, colours, strict=False):
            sizes = [item.text for item in finding.measurements if item.kind in _SIZES]
            text = ", ".join([finding.qualified(finding.phrase), *sizes])
            yield Line(text, colour, swatch=colour, share=finding.confidence)
        for concept in answer.not_seen:
            yield Line(f"{concept.label}: looked for and not seen", GREY, swatch=DIM)
    for note in number_notes(part):
        yield from (Line(text, _AMBER, 14) for text in wrapped(note, 14))
