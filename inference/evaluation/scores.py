"""Scores of answers: Dice of what is there, and whether what is not there is said not to be.

Dice is taken per question whose target is present, and is 0 where no mask is given; it is averaged per label, then over
the labels with at least five such images. Recall of the present: the share of them that got a mask. Specificity of the
absent: the share of questions about what is not there that got none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST_IMAGES", "Scored", "dice", "summary"]

FEWEST_IMAGES = 5


@dataclass(frozen=True)
class Scored:
    """One question. `dice` is None where the target is absent; `answered` tells whether a mask was given."""

    label: str
    dice: float | None
    answered: bool
    foreign: bool = False  # a label of another kind of image


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of one shape; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total


def summary(scored: Iterable[Scored]) -> dict[str, Any]:
    """Return `overall` and `labels` as plain values for JSON."""
    everything = list(scored)
    labels: dict[str, dict[str, Any]] = {}
    for label in sorted({one.label for one in everything}):
        own = [one for one in everything if one.label == label]
        dices = [one.dice for one in own if one.dice is not None]
        labels[label] = {
            "dice": _mean(dices),
            "n": len(dices),
            "present_recall": _mean([one.answered for one in own if one.dice is not None]),
            "absent_specificity": _mean([not one.answered for one in own if one.dice is None and not one.foreign]),
            "absent_n": sum(one.dice is None and not one.foreign for one in own),
        }
    enough = [row["dice"] for row in labels.values() if row["n"] >= FEWEST_IMAGES]
    present = [one for one in everything if one.dice is not None]
    absent = [one for one in everything if one.dice is None]
    return {
        "overall": {
            "dice": _mean(enough),
            "labels": len(enough),
            "present_recall": _mean([one.answered for one in present]),
            "absent_specificity": _mean([not one.answered for one in absent]),
            "absent_specificity_same_kind": _mean([not one.answered for one in absent if not one.foreign]),
            "absent_specificity_other_kind": _mean([not one.answered for one in absent if one.foreign]),
            "n": len(present),
            "absent_n": len(absent),
        },
        "labels": labels,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
