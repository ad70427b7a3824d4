"""Some of many, the same at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["evenly_spaced"]

_Item = TypeVar("_Item")


def evenly_spaced(items: Sequence[_Item], most: int | None) -> list[_Item]:
    """Return at most `most` items, evenly spaced from the first to the last; None for all."""
    count = len(items) if most is None else min(len(items), most)
    return [items[place] for place in np.linspace(0, len(items) - 1, count).round().astype(int)]
