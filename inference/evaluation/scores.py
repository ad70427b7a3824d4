"""Scores of answers: how well the masks of what is there fit, and whether what is not there is denied.

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

from inference.overlap import dice

__all__ = ["FEWEST_IMAGES", "TargetScore", "calibration_error", "score_masks", "summary"]

FEWEST_IMAGES = 5
_BINS = 10


@dataclass(frozen=True)
class TargetScore:
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
        """Intersection over union; 0 for what is absent or got no mask."""
        return self.intersection / self.union if self.intersection and self.union else 0.0


def score_masks(
    label: str, image: str, mask: NDArray[np.bool_] | None, true: NDArray[np.bool_] | None, confidence: float | None
) -> TargetScore:
    """Compare a label's predicted mask, or None, with the true one, or None where absent; `rows columns` each."""
    if true is None:
        return TargetScore(label, image, mask is not None, confidence)
    predicted = np.zeros_like(true) if mask is None else mask
    both, either = int((predicted & true).sum()), int((predicted | true).sum())
    return TargetScore(label, image, mask is not None, confidence, dice(predicted, true), both, either)


def summary(scored: Iterable[TargetScore]) -> dict[str, Any]:
    """Return `overall`, `labels` and `kinds` as plain values for JSON; rates are None where nothing is to be counted.

    `kinds` tells the kinds of question apart; there, Dice and gIoU are means over the targets, whatever their label.
    """
    everything = list(scored)
    labels = {
        label: _rates([score for score in everything if score.label == label])
        for label in sorted({score.label for score in everything})
    }
    kinds = {
        kind: _rates([score for score in everything if score.kind == kind])
        for kind in sorted({score.kind for score in everything if score.kind})
    }
    enough = [row for row in labels.values() if row["images"] >= FEWEST_IMAGES]
    overall = _rates(everything)
    overall["dice"] = _mean(row["dice"] for row in enough)
    overall["giou"] = _mean(row["giou"] for row in enough)
    overall["labels"] = len(enough)
    overall["ece"] = calibration_error(
        [score.confidence for score in everything if score.given and score.confidence is not None],
        [score.iou for score in everything if score.given and score.confidence is not None],
    )
    return {"overall": overall, "labels": labels, "kinds": kinds}


def calibration_error(confidences: Sequence[float], truths: Sequence[float]) -> float | None:
    """Return the expected calibration error of `confidences` against `truths`, both 0 to 1; None without any."""
    if not confidences:
        return None
    confidence, true = np.asarray(confidences), np.asarray(truths)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(confidence[bins == number].mean() - true[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    ]
    return round(float(np.sum(gaps)), 4)


def _rates(scored: Sequence[TargetScore]) -> dict[str, Any]:
    present = [score for score in scored if score.present]
    absent = [score for score in scored if not score.present]
    unions = sum(score.union or 0 for score in present)
    return {
        "dice": _mean(score.dice for score in present),
        "giou": _mean(score.iou for score in present),
        "ciou": round(sum(score.intersection or 0 for score in present) / unions, 4) if unions else None,
        "present_recall": _mean(score.given for score in present),
        "absent_specificity": _mean(not score.given for score in absent),
        "seen_precision": _mean(score.present for score in scored if score.given),
        "misnamed": _mean(not score.named for score in present if score.given),
        "n": len(present),
        "absent_n": len(absent),
        "images": len({score.image for score in present}),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
