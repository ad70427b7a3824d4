"""Windows: which values of an image are shown as black and white (PS3.3 C.11.2), and values as 8-bit grey."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.headers.elements import items, numbers, texts
from dicom_node.volumes.planes import macro

__all__ = ["Window", "full_range", "shown_grey", "turned", "windows_of"]

_LEAST_WIDTH = 1e-6
_FARTHEST = 1e9
_PRESETS = {
    "CT": (
        ("Soft tissue", 40.0, 400.0),
        ("Liver", 70.0, 150.0),
        ("Lung", -600.0, 1500.0),
        ("Bone", 400.0, 1800.0),
        ("Brain", 40.0, 80.0),
    )
}


@dataclass(frozen=True)
class Window:
    """`centre` and `width` in the unit of the values; what lies below is black, what lies above is white."""

    name: str
    centre: float
    width: float

    def __post_init__(self) -> None:
        if not (abs(self.centre) <= _FARTHEST and _LEAST_WIDTH <= self.width <= _FARTHEST):
            raise ValueError(f"a window of {self.width:g} at {self.centre:g} shows nothing")


_SAYS_NOTHING = re.compile(r"\s*(window|voi)?[\s_]*\d*\s*$", re.IGNORECASE)
"""Explanations that only count, such as WINDOW1."""


def windows_of(header: Dataset, frame: int | None, modality: str) -> tuple[Window, ...]:
    """Those that the header states, or its VOI LUT spans, and the usual ones of the modality; those come first for CT.

    Empty where there is neither: `full_range` of a slice then serves. Values that are no window are passed over.
    """
    stated = [*_stated(header, frame), *_spanned(header)]
    usual = [Window(*preset) for preset in _PRESETS.get(modality, ())]
    # Scanners state a window for the whole body; which of them suits is told by its name.
    return tuple(_distinct([*usual[:1], *stated, *usual[1:]]))


def _stated(header: Dataset, frame: int | None) -> Iterator[Window]:
    holder = macro(header, frame, "FrameVOILUTSequence")
    if not numbers(holder, "WindowCenter"):
        holder = header
    centres, widths = numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth")
    told = texts(holder, "WindowCenterWidthExplanation")
    names = told if len(told) == len(centres) and all(told) and not any(map(_SAYS_NOTHING.match, told)) else []
    if len(centres) != len(widths):
        return
    for place, (centre, width) in enumerate(zip(centres, widths, strict=True)):
        several = f" {place + 1}" if len(centres) > 1 else ""
        try:
            yield Window(names[place][:40].strip().capitalize() if names else f"As sent{several}", centre, width)
        except ValueError:
            continue


def _spanned(header: Dataset) -> Iterator[Window]:
    """A VOI LUT as the window between the values at which its output begins and ends to move."""
    for place, table in enumerate(items(header, "VOILUTSequence")):
        descriptor, outputs = numbers(table, "LUTDescriptor"), _outputs(table)
        if len(descriptor) != 3 or outputs.size < 2 or outputs.max() == outputs.min():
            continue
        share = (outputs - outputs.min()) / (outputs.max() - outputs.min())
        moving = np.flatnonzero((share > 0.01) & (share < 0.99))
        first, last = (int(moving[0]), int(moving[-1])) if moving.size else (0, outputs.size - 1)
        low = descriptor[1] + first
        explained = texts(table, "LUTExplanation")
        name = explained[0][:40] if explained else f"As sent{f' {place + 1}' if place else ''}"
        yield Window(name, low + (last - first) / 2, float(max(1, last - first)))


def _outputs(table: Dataset) -> NDArray[np.float64]:
    value = table.get("LUTData")
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], "<u2").astype(np.float64)
    return np.asarray(value if value is not None else [], dtype=np.float64).reshape(-1)


def _distinct(windows: list[Window]) -> Iterator[Window]:
    seen: set[tuple[float, float]] = set()
    for window in windows:
        if (window.centre, window.width) not in seen:
            seen.add((window.centre, window.width))
            yield window


def turned(window: Window, low: float, high: float) -> Window:
    """The window of a MONOCHROME1 image after its values were turned round between `low` and `high`."""
    return Window(window.name, low + high - window.centre, window.width)


def full_range(values: NDArray[np.generic]) -> Window:
    """A window over nearly all values of a slice: half a percent at each end is left out."""
    finite = np.asarray(values, dtype=np.float32).ravel()[:: max(1, values.size // 65536)]
    finite = finite[np.isfinite(finite)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    return Window("Full range", float(low + high) / 2, max(float(high - low), 1e-3))


def shown_grey(values: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    """Modality values as 8-bit grey, by the linear exact function (PS3.3 C.11.2.1.3.2); no number is black."""
    scaled = (values - np.float32(window.centre - window.width / 2)) * np.float32(255 / window.width)
    np.clip(scaled, 0, 255, out=scaled)
    return np.asarray(np.nan_to_num(np.rint(scaled), nan=0.0), dtype=np.uint8)
