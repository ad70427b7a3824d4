"""What a mask says: size, box, centre and side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.medseg_qa.records import Target

__all__ = ["measured_target", "percent_text", "side_text", "zone_text"]

_SIDE_SHARE = 0.8


def measured_target(
    label: str, phrase: str, code: str, path: str, mask: NDArray[np.bool_], spacing_mm: tuple[float, float] | None
) -> Target:
    """The target of a mask, bool `rows columns`, not empty; spacing is row, column."""
    rows, columns = np.nonzero(mask)
    pixels = int(rows.size)
    share = float((columns < mask.shape[1] / 2).mean())
    side = "left" if share >= _SIDE_SHARE else "right" if share <= 1 - _SIDE_SHARE else None
    return Target(
        label=label,
        phrase=phrase,
        code=code,
        mask=path,
        pixels=pixels,
        bbox=(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1),
        centroid=(round(float(rows.mean()), 1), round(float(columns.mean()), 1)),
        side=side,
        area_mm2=None if spacing_mm is None else round(pixels * spacing_mm[0] * spacing_mm[1], 1),
    )


def percent_text(target: Target, size: tuple[int, int]) -> str:
    """Share of the image, as "12.3 %"."""
    share = 100 * target.pixels / (size[0] * size[1])
    return "less than 0.1 %" if share < 0.1 else f"{share:.1f} %"


def zone_text(target: Target, size: tuple[int, int]) -> str:
    """The ninth of the image in which the centre lies, as "upper left part"."""
    row = ("upper", "middle", "lower")[min(2, int(3 * target.centroid[0] / size[0]))]
    column = ("left", "central", "right")[min(2, int(3 * target.centroid[1] / size[1]))]
    if row == "middle":
        return f"{column} part"
    return f"{row} {'middle' if column == 'central' else column} part"


def side_text(target: Target, orientation: str) -> str | None:
    """The side in words, with the patient's side where the orientation tells it; None without a clear side."""
    if target.side is None:
        return None
    if orientation != "radiological":
        return f"in the {target.side} half of the image"
    patient = "right" if target.side == "left" else "left"
    return f"on the patient's {patient} ({target.side} half of the image)"
