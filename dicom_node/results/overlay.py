"""An overlay picture for people: the most telling slice, contours of what was found, the answer beneath."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from dicom_node.results.finding import Finding, ReadAnswer
from dicom_node.volumes.load import SeriesVolume

__all__ = ["write_overlay"]

_COLOURS = ("#ff5c5c", "#4fc3f7", "#ffd54f", "#81c784", "#ba68c8", "#ff8a65", "#4db6ac", "#f06292")
_WIDTH = 640
_WINDOWS = {"CT": (-160.0, 240.0)}


def write_overlay(volume: SeriesVolume, answers: Sequence[ReadAnswer], path: Path) -> None:
    """Write a PNG of the slice with the most marked voxels (the middle one if nothing was seen)."""
    findings = [finding for answer in answers for finding in answer.findings]
    index = _telling_slice(volume, findings)
    grey = _windowed(volume.values[index], volume)
    rows, columns = grey.shape[:2]
    spacing = volume.pixel_spacing_mm or (1.0, 1.0)
    height = round(_WIDTH * rows * spacing[0] / (columns * spacing[1]))
    picture = Image.fromarray(grey).convert("RGB").resize((_WIDTH, height), Image.Resampling.BICUBIC)
    for number, finding in enumerate(findings):
        if not finding.mask[index].any():
            continue
        mask = Image.fromarray(finding.mask[index]).convert("L").resize((_WIDTH, height), Image.Resampling.NEAREST)
        marked = np.asarray(mask) > 0
        edge = marked & ~binary_erosion(marked, iterations=2)
        picture.paste(_COLOURS[number % len(_COLOURS)], mask=Image.fromarray(edge))
    _with_legend(picture, answers, index, volume).save(path)


def _telling_slice(volume: SeriesVolume, findings: Sequence[Finding]) -> int:
    if not findings:
        return int(volume.values.shape[0]) // 2
    marked = np.zeros(volume.values.shape[0], dtype=np.int64)
    for finding in findings:
        marked += finding.mask.sum(axis=(1, 2))
    return int(np.argmax(marked))


def _windowed(values: NDArray[np.float32] | NDArray[np.uint8], volume: SeriesVolume) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    low, high = _WINDOWS.get(volume.modality, (0.0, 0.0)) if volume.unit is not None else (0.0, 0.0)
    if high <= low:
        low, high = (float(value) for value in np.percentile(values, (1, 99)))
    grey: NDArray[np.uint8] = (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return grey


def _with_legend(picture: Image.Image, answers: Sequence[ReadAnswer], index: int, volume: SeriesVolume) -> Image.Image:
    font = ImageFont.load_default(15)
    lines: list[tuple[str, str]] = [(f"slice {index + 1} of {volume.values.shape[0]}", "#9e9e9e")]
    number = 0
    for answer in answers:
        lines += [(line, "#9e9e9e") for line in textwrap.wrap(answer.question, 82)]
        lines += [(line, "#ffffff") for line in textwrap.wrap(answer.text, 82)]
        for finding in answer.findings:
            colour = _COLOURS[number % len(_COLOURS)]
            lines.append((f"  {finding.concept.label}, confidence {finding.confidence:.2f}", colour))
            number += 1
    sheet = Image.new("RGB", (picture.width, picture.height + 20 * len(lines) + 12), "#101010")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, (line, colour) in enumerate(lines):
        draw.text((8, picture.height + 6 + 20 * row), line, fill=colour, font=font)
    return sheet
