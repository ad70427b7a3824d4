"""The one colour of a finding: in the SEG, the overlay picture, captures and presentation states alike."""

from __future__ import annotations

import zlib

import highdicom as hd

from dicom_node.results.codes import COMMISSIONING_CONCEPT, LABELS, UNSIDED

__all__ = ["cielab_of", "colour_of", "hex_of"]

_PALETTE = (
    "#ff695a", "#00ff00", "#00e1ff", "#e100ff", "#fff087", "#ffb400", "#2d87ff", "#ffb4f0", "#00ffb4", "#a58700",
    "#ff2da5", "#d2ff00", "#009696", "#b46996", "#ffb496", "#d278ff", "#96c32d", "#1e963c", "#4ba5e1", "#b4785a",
    "#ff1e00", "#87d2a5", "#00d24b", "#f07800", "#a5ff78", "#c3b469", "#ff87a5", "#ff1e69", "#a5a5ff", "#a5fff0",
    "#c3ffb4", "#ffe100", "#78e100", "#ff3ce1", "#e1964b", "#ff78d2", "#00c378", "#78964b", "#8778c3", "#d25a69",
)  # fmt: skip
"""Each is the one farthest in CIELab from all before it, of those bright and vivid enough to show on a dark image;
but the sixth and the eighteenth have changed places: aorta and spleen, often in one picture, would both be green."""

_PLACES = {label: place for place, label in enumerate((*LABELS, *UNSIDED, COMMISSIONING_CONCEPT.label))}


def colour_of(label: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255 (sRGB), that a finding's label always has.

    `label`: of the finding's concept. Of those that the node knows no two look alike; any other has one of the same
    colours.
    """
    red, green, blue = bytes.fromhex(hex_of(label)[1:])
    return red, green, blue


def hex_of(label: str) -> str:
    """The same colour as people write it, such as "#ff695a"."""
    place = _PLACES.get(label, zlib.crc32(label.encode()))
    return _PALETTE[place % len(_PALETTE)]


def cielab_of(label: str) -> hd.color.CIELabColor:
    """The same colour as DICOM has it (PS3.3 C.10.7.1.1); a viewer's way back to RGB gives `colour_of`."""
    return hd.color.CIELabColor.from_rgb(*colour_of(label))
