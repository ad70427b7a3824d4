"""Scores of answers: how well what is there is drawn, and whether what is not there is said not to be.

A *present* question-target is a label that a question asks for and the image has; an *absent* one is not there.

- Dice and gIoU: per present question-target, 0 where no mask is given for it; averaged per label, then over the labels
  with at least `FEWEST_IMAGES` images.
- cIoU: intersections summed over all present question-targets, divided by their summed unions.
- present_recall: the share of present question-targets that got a mask; absent_specificity: the share of absent ones
  that got none; seen_precision: of the masks given for a label that was asked, the share whose label is there.
- misnamed: of the masks given for present question-targets, the share whose phrase is not the target's name. They count
  as given all the same: a question that implies its target is answered by the mask, and Dice says where it lies wrong.
  A mask that an answer gives beyond what was asked counts nowhere.
- ece: masks in ten bins of confidence; the mean distance of confidence from true IoU (0 for what is absent), weighted
  by the masks in a bin. Confidence is an estimate of that IoU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST_IMAGES", "Scored", "calibration_error", "dice", "iou", "score_masks", "summary"]

FEWEST_IMAGES = 5
_BINS = 10


@dataclass(frozen=True)
class Scored:
    """One question-target. `dice`, `intersection`, `union` (pixels) are None where the target is absent.

    `given`: a mask was given for it; `confidence` of that mask, 0 to 1; `named`: its phrase is the target's name.
    `image`: which image it was asked of. `kind`: of the question (`QuestionKind`), or empty.
    """

    label: str
    image: str
    given: bool
    confidence: float | None = None
    dice: float | None = None
    intersection: int | None = None
    union: int | None = None
    named: bool = True
    kind: str = ""

    @property
    def present(self) -> bool:
        """Whether the target is there."""
        return self.dice is not None

    @property
    def iou(self) -> float:
        """Intersection over union; 0 for what is absent or was not drawn."""
        return self.intersection / self.union if self.intersection and self.union else 0.0


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of one shape; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the intersection over the union of two masks of one shape; 0 where both are empty."""
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 0.0


def score_masks(
    label: str, image: str, drawn: NDArray[np.bool_] | None, true: NDArray[np.bool_] | None, confidence: float | None
) -> Scored:
    """Compare what was drawn for a label, or None, with what is true, or None where absent; `rows columns` each."""
    if true is None:
        return Scored(label, image, drawn is not None, confidence)
    mask = np.zeros_like(true) if drawn is None else drawn
    both, either = int((mask & true).sum()), int((mask | true).sum())
    return Scored(label, image, drawn is not None, confidence, dice(mask, true), both, either)


def summary(scored: Iterable[Scored]) -> dict[str, Any]:
    """Return `overall`, `labels` and `kinds` as plain values for JSON; rates are None where nothing is to be counted.

    `kinds` tells the kinds of question apart; there, Dice and gIoU are means over the targets, whatever their label.
    """
    everything = list(scored)
    labels = {
        label: _rates([one for one in everything if one.label == label])
        for label in sorted({one.label for one in everything})
    }
    kinds = {
        kind: _rates([one for one in everything if one.kind == kind])
        for kind in sorted({one.kind for one in everything if one.kind})
    }
    enough = [row for row in labels.values() if row["images"] >= FEWEST_IMAGES]
    overall = _rates(everything)
    overall["dice"] = _mean(row["dice"] for row in enough)
    overall["giou"] = _mean(row["giou"] for row in enough)
    overall["labels"] = len(enough)
    overall["ece"] = calibration_error(
        [one.confidence for one in everything if one.given and one.confidence is not None],
        [one.iou for one in everything if one.given and one.confidence is not None],
    )
    return {"overall": overall, "labels": labels, "kinds": kinds}


def calibration_error(confidences: Sequence[float], truths: Sequence[float]) -> float | None:
    """Return the expected calibration error of `confidences` against `truths`, both 0 to 1; None without any."""
    if not confidences:
        return None
    said, true = np.asarray(confidences), np.asarray(truths)
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    gaps = [abs(said[bins == one].mean() - true[bins == one].mean()) * (bins == one).mean() for one in np.unique(bins)]
    return round(float(np.sum(gaps)), 4)


def _rates(scored: Sequence[Scored]) -> dict[str, Any]:
    present = [one for one in scored if one.present]
    absent = [one for one in scored if not one.present]
    unions = sum(one.union or 0 for one in present)
    return {
        "dice": _mean(one.dice for one in present),
        "giou": _mean(one.iou for one in present),
        "ciou": round(sum(one.intersection or 0 for one in present) / unions, 4) if unions else None,
        "present_recall": _mean(one.given for one in present),
        "absent_specificity": _mean(not one.given for one in absent),
        "seen_precision": _mean(one.present for one in scored if one.given),
        "misnamed": _mean(not one.named for one in present if one.given),
        "n": len(present),
        "absent_n": len(absent),
        "images": len({one.image for one in present}),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
