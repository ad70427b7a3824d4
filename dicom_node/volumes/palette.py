"""Segmented palettes (PS3.3 C.7.9.2): how many entries they expand to, counted before they are expanded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

__all__ = ["require_short_palette"]

_MOST_ENTRIES = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_SEGMENTED = tuple(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))


def require_short_palette(palette: Dataset) -> None:
    """Raise ValueError for a segmented table that expands to more than 65,536 entries, or refers to itself.

    `palette`: with Palette Color Lookup Table Descriptors, and the segmented data as bytes in little endian.
    """
    for keyword in _SEGMENTED:
        if (data := palette.get(keyword)) is None:
            continue
        wide = int(palette.RedPaletteColorLookupTableDescriptor[2]) > 8
        numbers = np.frombuffer(data[: len(data) // 2 * 2] if wide else data, "<u2" if wide else np.uint8).tolist()
        if _entries(numbers, wide, 0, None) > _MOST_ENTRIES:
            raise ValueError(f"its segmented palette expands to more than {_MOST_ENTRIES:,} entries; send it corrected")


def _entries(numbers: Sequence[int], wide: bool, at: int, segments: int | None) -> int:
    """The entries of all segments from `at` on, or of the first few; none of those that are copied copies others."""
    entries, read = 0, 0
    while at + 1 < len(numbers) and read != segments and entries <= _MOST_ENTRIES:
        kind, length = numbers[at], numbers[at + 1]
        at += 2
        if kind == _INDIRECT:
            if segments is not None:
                raise ValueError("a segment of its palette copies one that copies others; send it corrected")
            size = 2 if wide else 4
            offset = sum(number << shift for number, shift in zip(numbers[at : at + size], _SHIFTS[wide], strict=False))
            entries += _entries(numbers, wide, offset, length)
            at += size
        else:
            entries += length
            at += length if kind == _DISCRETE else 1
        read += 1
    return entries


_SHIFTS = {True: (0, 16), False: (0, 8, 16, 24)}
