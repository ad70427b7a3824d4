"""Pictures for captures and documents: each finding in the slice where it is largest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from dicom_node.headers.elements import integer
from dicom_node.results.caveats import size_caveat
from dicom_node.results.colours import colour_of, hex_of
from dicom_node.results.finding import Finding, ReadPart
from dicom_node.results.lettering import shown
from dicom_node.results.measurement import MeasurementKind
from dicom_node.results.overlay import draw_finding, draw_scale, draw_sides, draw_tag, slice_picture, window_of
from dicom_node.results.page import CAPTURE, Figure
from dicom_node.results.summary import part_heading
from dicom_node.results.telling import MOST_PICTURES
from dicom_node.volumes.display import image_sides
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.rescale import HOUNSFIELD

__all__ = ["figures", "pictured"]

_LUNG = (-1350.0, 150.0)
_LUNG_BELOW_HU = -300.0


def pictured(parts: Sequence[ReadPart]) -> list[tuple[ReadPart, Finding]]:
    """The findings that get a picture, in order."""
    marked = [(part, finding) for part in parts for finding in part.findings if finding.pixels_by_slice.any()]
    return marked[:MOST_PICTURES]


def figures(parts: Sequence[ReadPart]) -> Iterator[Figure]:
    """A picture of each of `pictured`: contour, name, sides, scale, and beneath it what it is."""
    for part, finding in pictured(parts):
        volume, index = part.volume, finding.largest_slice
        window = _window(volume, index, finding.mask[index])
        picture = slice_picture(volume, index, CAPTURE.figure, window)
        spot = draw_finding(picture, finding.mask[index], hex_of(finding.concept.label))
        draw = ImageDraw.Draw(picture)
        if spot is not None:
            draw_tag(draw, picture.size, spot, shown(finding.label), hex_of(finding.concept.label), 26)
        draw_sides(draw, picture.size, image_sides(volume), 30)
        draw_scale(draw, picture, volume, 24)
        name = shown(finding.label)
        yield Figure(
            picture,
            colour_of(finding.concept.label),
            f"{name[:1].upper()}{name[1:]}",
            (_sizes(part, finding), _where(part, index, window, len(parts) > 1)),
        )


def _window(volume: SeriesVolume, index: int, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """That of the lung where what is marked is mostly air; else that of the picture."""
    if _in_hounsfield(volume):
        inside = volume.values[index][mask]
        if inside.size and float(np.median(inside)) < _LUNG_BELOW_HU:
            return _LUNG
    return window_of(volume, index)


def _sizes(part: ReadPart, finding: Finding) -> str:
    kinds = (MeasurementKind.VOLUME, MeasurementKind.AREA, MeasurementKind.LONG_AXIS, MeasurementKind.SHORT_AXIS)
    sizes = [f"{item.name} {item.text}" for item in finding.measurements if item.kind in kinds]
    if caveat := size_caveat(part, finding):
        sizes.append(caveat if sizes else f"size {caveat}")
    side = finding.concept.laterality
    told = [f"side: {shown(side.meaning).lower()}"] if side is not None else []
    if finding.low_confidence:
        told.append("not measured")
    return "; ".join([*told, *sizes, finding.assurance])


def _where(part: ReadPart, index: int, window: tuple[float, float], several: bool) -> str:
    volume, source = part.volume, part.volume.slices[index]
    number = integer(source.header, "InstanceNumber")
    told = [f"part {part.ordinal + 1} ({part_heading(part)})"] if several else []
    if len(volume.slices) > 1:
        told.append(f"slice {index + 1} of {len(volume.slices)}, its largest")
    if number is not None:
        told.append(f"image {number}")
    if source.frame_number is not None:
        told.append(f"frame {source.frame_number}")
    if not volume.is_color:
        told.append(f"window {window[0]:.4g} to {window[1]:.4g}{' HU' if _in_hounsfield(volume) else ''}")
    return ", ".join(told)


def _in_hounsfield(volume: SeriesVolume) -> bool:
    return volume.unit is not None and volume.unit == HOUNSFIELD  # a Code cannot be compared with None
