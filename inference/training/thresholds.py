"""Choose when a drawn mask counts as seen, and what its confidence is worth, on images kept out of training.

Prompted by the labels' fixed vectors, so that the grounding alone is judged; each label of an image's set is asked.
The thresholds are chosen on the validation split and, since some of its sets are tiny (three radiographs, five CT
slices), on the same number of evenly spaced training images of each set: the candidate that is best on the mean of both
halves wins. What that is worth is told by cross-validation: chosen on four fifths of the images, scored on the rest.
Confidence is calibrated on the validation split alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.description import Thresholds, checked_calibration
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.transform import standardise
from inference.overlap import dice, iou
from inference.sampling import evenly_spaced
from inference.training.packing import Pack

__all__ = ["MASK_LOGITS", "Judged", "Outcome", "Wanted", "calibrated", "choose_thresholds", "cross_validated", "judge"]

_MOST_PER_SET = 24
MASK_LOGITS = (-1.0, -0.5, 0.0, 0.5)  # candidates
_SEEN = (-9.0, *np.arange(0.02, 0.97, 0.04).round(2).tolist())
_FEWEST_PIXELS = (1, 8, 16, 32, 64)
_FOLDS = 5
_KNOTS = 12  # of the calibration curve


@dataclass(frozen=True)
class Judged:
    """One label asked of one image. Per candidate mask logit: `pixels`, `dice` (-1 if absent), `iou`.

    `seen`: the score that decides whether a mask is kept; `quality`: the raw estimate of its IoU.
    """

    image: int
    label: int
    validation: bool
    seen: float
    quality: float
    pixels: tuple[int, ...]
    dice: tuple[float, ...]
    iou: tuple[float, ...]

    @property
    def present(self) -> bool:
        """Whether the label is there."""
        return self.dice[0] >= 0


class Outcome(NamedTuple):
    """Mean Dice over labels, the share of absent targets without a mask, and that of present ones with one."""

    dice: float
    specificity: float
    recall: float


@dataclass(frozen=True)
class Wanted:
    """What thresholds are to reach before Dice counts: shares of absent targets without, of present ones with a mask.

    Without values: of the grounding alone. The language side will deny many of what is absent, and lose a few more.
    """

    specificity: float = 0.85
    recall: float = 0.94


def judge(pack: Pack, grounding: Grounding, prompts: Tensor) -> list[Judged]:
    """Ask every label of its set of at most 24 validation and as many training images of each set."""
    grounding.train(mode=False)
    judged = []
    for name, own in DATASETS.items():
        asked = prompts[[LABELS.index(label) for label in own]]
        for split in ("val", "train"):
            records = np.flatnonzero((pack.splits == split) & (pack.datasets == name)).tolist()
            for record in evenly_spaced(records, _MOST_PER_SET):
                square = torch.from_numpy(standardise(np.asarray(pack.images[record]))).permute(2, 0, 1)[None]
                with torch.inference_mode():
                    predicted = grounding.decode(grounding.encode(square)[0], asked)
                present = pack.present(record)
                for i, label in enumerate(own):
                    true = pack.mask(record, label)
                    drawn = [(predicted.logits[i] > least).numpy() for least in MASK_LOGITS]
                    judged.append(
                        Judged(
                            record,
                            LABELS.index(label),
                            split == "val",
                            float(predicted.seen[i]),
                            float(predicted.quality[i]),
                            tuple(int(one.sum()) for one in drawn),
                            tuple(dice(one, true) if label in present else -1.0 for one in drawn),
                            tuple(iou(one, true) for one in drawn),
                        )
                    )
    return judged


def choose_thresholds(judged: Sequence[Judged], wanted: Wanted | None = None) -> Thresholds:
    """Return the thresholds with the best mean Dice over labels, less what recall and specificity lack."""
    wanted = wanted or Wanted()
    kinds = ([one for one in judged if one.validation is kind] for kind in (True, False))
    halves = [half for half in kinds if any(one.present for one in half)]
    best, chosen = -1.0, Thresholds()
    for place, logit in enumerate(MASK_LOGITS):
        for least in _SEEN:
            for fewest in _FEWEST_PIXELS:
                results = np.array([_outcome(half, place, least, fewest) for half in halves])
                score, specificity, recall = results.mean(axis=0)
                value = score - max(0.0, wanted.specificity - specificity) - max(0.0, wanted.recall - recall)
                if value > best:
                    best, chosen = value, Thresholds(logit, least, fewest)
    return chosen


def cross_validated(judged: Sequence[Judged], wanted: Wanted | None = None) -> Outcome | None:
    """Return what thresholds come to on images that they were not chosen on: the mean over five folds of images.

    A fold of which nothing is there, or beside which nothing is, is left out; None where that leaves none.
    """
    results = []
    for fold in range(_FOLDS):
        held_out = [one for one in judged if one.image % _FOLDS == fold]
        others = [one for one in judged if one.image % _FOLDS != fold]
        if all(any(one.present for one in part) for part in (held_out, others)):
            kept = choose_thresholds(others, wanted)
            results.append(_outcome(held_out, MASK_LOGITS.index(kept.mask_logit), kept.seen, kept.fewest_pixels))
    return Outcome(*np.mean(results, axis=0).round(4).tolist()) if results else None


def calibrated(judged: Sequence[Judged], thresholds: Thresholds) -> tuple[tuple[float, float], ...]:
    """Return (raw quality, expected IoU) pairs, both rising: isotonic regression on the masks that would be given.

    They begin at (0, 0): below the worst mask that was given, nothing says that it is worth as much as that.
    """
    place = MASK_LOGITS.index(thresholds.mask_logit)
    given = [
        one
        for one in judged
        if one.validation and one.seen >= thresholds.seen and one.pixels[place] >= thresholds.fewest_pixels
    ]
    if not given:
        return ()
    given.sort(key=lambda one: one.quality)
    raw = np.array([one.quality for one in given])
    fitted = isotonic_regression(np.array([one.iou[place] for one in given])).x
    knots = np.unique(np.linspace(0, len(given) - 1, _KNOTS).round().astype(int))
    pairs = {round(float(raw[knot]), 4): round(float(fitted[knot]), 4) for knot in knots}
    return checked_calibration(sorted(pairs.items()))


def _outcome(judged: Sequence[Judged], place: int, least: float, fewest: int) -> NDArray[np.float64]:
    """Return the mean Dice over labels, the specificity of absent and the recall of present targets."""
    score = np.array([one.dice[place] for one in judged])
    label = np.array([one.label for one in judged])
    kept = np.array([one.seen >= least and one.pixels[place] >= fewest for one in judged])
    present = score >= 0
    gained = [np.where(kept, score, 0)[present & (label == one)].mean() for one in np.unique(label[present])]
    absent = (~kept[~present]).mean() if (~present).any() else 1.0
    return np.array([np.mean(gained), absent, kept[present].mean()])
