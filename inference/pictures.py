"""From a stack's values to the pictures that a model sees, and from masks on them back to the stack's grid.

Training and serving both go this way, so that both see the same: sets made of NIfTI or DICOM volumes hold the pictures
that `PictureView.picture` makes, and a model is shown the same when it answers. No torch here, and no DICOM.

1. Window: values that are shown as black and as white, HU for CT, percentiles of the stack for other modalities.
2. Body: a box around the patient, one for all slices, so that air beside the patient takes no room in the square.
3. Turn: a model may have learned a thing on pictures that lie otherwise than a display shows them.

A picture that is RGB already is neither windowed nor cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.sampling import evenly_spaced

__all__ = [
    "AS_IT_IS", "CT_WINDOW_HU", "DISPLAY_LETTERS", "Box", "Letters", "PictureView", "Turn",
    "body_box", "choose_window", "is_fixed_window", "turn_between", "view_of",
]  # fmt: skip

CT_WINDOW_HU = (-1024.0, 1100.0)
"""For a model that does not say otherwise. The abdominal CT that `tiny` learned from is 8 bit, scaled from each image's
least to its greatest value: air is 0 and liver about 135 of 255, so its window reached from -1024 to about 1100 HU."""

_PERCENTILES = (0.5, 99.5)
_SAMPLED_VOXELS = 2_000_000
_BODY_HU = -300.0
_BODY_SIGNAL = 0.05  # of the way from an MR's least value to its brightest: what is darker everywhere is air
_BLOCKS = 256  # the body is looked for on a grid of at most so many blocks a side
_BODY_SLICES = 48  # at most so many, evenly spaced: between them a body hardly reaches beyond the margin
_THIN_BLOCKS = 3  # what is less than twice as wide does not count: the table, a blanket, a bridge of skin to an arm
_LEAST_PART = 0.25  # of the largest part: the other leg, not an arm beside the trunk
_MARGIN_BLOCKS = 3
_IN_PLANE = np.ones((1, 3, 3), dtype=np.bool_)

Box = tuple[int, int, int, int]
"""First row, row behind the last, first column, column behind the last."""


@dataclass(frozen=True)
class Turn:
    """One of the eight ways a picture can lie: `transposed` first, then rows and columns in reverse order."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def apply(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Turn `rows columns [3]`."""
        if self.transposed:
            plane = plane.swapaxes(0, 1)
        return plane[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]

    def undo(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `apply`."""
        plane = plane[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]
        return plane.swapaxes(0, 1) if self.transposed else plane


AS_IT_IS = Turn()
_TURNS = tuple(Turn(*ways) for ways in product((False, True), repeat=3))

DISPLAY_LETTERS = ("R", "L", "A", "P")  # of an axial slice in display orientation
Letters = tuple[str, str, str, str]
"""Which side of the patient (R, L, A, P, H, F) lies at a picture's left, right, top and bottom; empty: not known."""


def turn_between(shown: Letters, learned: Letters) -> Turn | None:
    """Return how a picture that lies as `shown` must be turned to lie as `learned`; None where no turn does that.

    None: a letter is unknown, or the pictures lie in different planes. A letter may be followed by others, for what
    lies askew: the first counts.
    """
    left, right, top, bottom = (letter[:1] for letter in shown)
    sides = np.array([["", top, ""], [left, "", right], ["", bottom, ""]])
    for turn in _TURNS:
        turned = turn.apply(sides)
        if all(shown) and (turned[1, 0], turned[1, 2], turned[0, 1], turned[2, 1]) == learned:
            return turn
    return None


@dataclass(frozen=True)
class PictureView:
    """How slices of a stack, each `rows columns [3]`, become pictures.

    `limits`: the window, None where they are RGB already. `shape`: rows and columns of a slice.
    """

    limits: tuple[float, float] | None
    box: Box
    shape: tuple[int, int]
    turn: Turn = AS_IT_IS

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        rows, columns = self.box[1] - self.box[0], self.box[3] - self.box[2]
        return (columns, rows) if self.turn.transposed else (rows, columns)

    def picture(self, plane: NDArray[Any]) -> NDArray[np.uint8]:
        """Return what a model sees of a slice: uint8 `rows columns 3`."""
        grey_or_colour = self.cut(plane)
        if self.limits is None:
            return np.ascontiguousarray(grey_or_colour, dtype=np.uint8)
        low, high = self.limits
        scaled = (grey_or_colour.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
        return np.repeat(np.clip(scaled, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    def cut(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the part of a slice, or of a mask on it, that the picture shows, turned as the picture is."""
        return self.turn.apply(plane[self.box[0] : self.box[1], self.box[2] : self.box[3]])

    def back(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask on the picture, `rows columns`, on the slice's own grid; outside the box is nothing."""
        whole = np.zeros(self.shape, dtype=np.bool_)
        whole[self.box[0] : self.box[1], self.box[2] : self.box[3]] = self.turn.undo(mask)
        return whole


def view_of(
    values: NDArray[Any], modality: str, windows: Mapping[str, tuple[float, float]], *, turn: Turn = AS_IT_IS
) -> PictureView:
    """Return how a stack is shown: `slices rows columns` in units of its modality, or uint8 `slices rows columns 3`.

    `windows`: by modality, what a model learned from (`ModelCard.windows`).
    """
    rows, columns = values.shape[1:3]
    limits = choose_window(values, modality, windows)
    box = (0, rows, 0, columns) if limits is None else body_box(values, modality)
    return PictureView(limits, box, (rows, columns), turn)


def is_fixed_window(modality: str, windows: Mapping[str, tuple[float, float]]) -> bool:
    """Whether every grey stack of a modality is shown in the same window, instead of its own percentiles."""
    return modality in windows or modality == "CT"


def choose_window(
    values: NDArray[Any], modality: str, windows: Mapping[str, tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the values that are shown as black and as white; None for RGB.

    Percentiles come from every n-th voxel of a large stack, so that the same stack always gives the same window.
    """
    if values.ndim == 4:
        return None
    if modality in windows:
        return windows[modality]
    if modality == "CT":
        return CT_WINDOW_HU
    low, high = np.percentile(_sampled(values), _PERCENTILES)
    if high <= low:
        low, high = values.min(), values.max()
    return float(low), float(high)


def _sampled(values: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th voxel of a large stack."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // _SAMPLED_VOXELS)]


def body_box(values: NDArray[Any], modality: str) -> Box:
    """Return the box around the patient on a CT or MR, `slices rows columns`, with a margin; else the whole image.

    Thin things (the table, cables) do not count, nor do arms that lie beside the trunk; legs do. An image without a
    body is kept whole.
    """
    rows, columns = values.shape[1:3]
    whole = (0, rows, 0, columns)
    match modality:
        case "CT":
            air = _BODY_HU
        case "MR":
            dark, bright = np.percentile(_sampled(values), (0, 99))
            air = float(dark + _BODY_SIGNAL * (bright - dark))
        case _:
            return whole
    block = max(1, -(-max(rows, columns) // _BLOCKS))
    looked_at = evenly_spaced(range(len(values)), _BODY_SLICES)
    dense = np.stack([_blocks(values[index] > air, block) for index in looked_at])
    parts, count = ndimage.label(ndimage.binary_erosion(dense, structure=_IN_PLANE, iterations=_THIN_BLOCKS))
    if not count:
        return whole
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    trunk = (sizes >= _LEAST_PART * sizes.max())[parts].any(axis=0)
    first_row, rows_end = _reach(trunk.any(axis=1), block, rows)
    first_column, columns_end = _reach(trunk.any(axis=0), block, columns)
    return first_row, rows_end, first_column, columns_end


def _blocks(plane: NDArray[np.bool_], block: int) -> NDArray[np.bool_]:
    """Return which blocks of `block` pixels a side are at least half filled."""
    rows, columns = plane.shape
    padded = np.pad(plane, ((0, -rows % block), (0, -columns % block)))
    filled = padded.reshape(padded.shape[0] // block, block, -1, block).mean(axis=(1, 3))
    return np.asarray(filled >= 0.5)


def _reach(along: NDArray[np.bool_], block: int, length: int) -> tuple[int, int]:
    """Return where the body begins and ends along one axis, in pixels, with the margin."""
    blocks = np.flatnonzero(along)
    return (
        max(0, (int(blocks[0]) - _THIN_BLOCKS - _MARGIN_BLOCKS) * block),
        min(length, (int(blocks[-1]) + 1 + _THIN_BLOCKS + _MARGIN_BLOCKS) * block),
    )
