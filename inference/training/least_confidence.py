"""Choose from which confidence on a label is claimed: what most validation images without it keep to.

One threshold on the object score serves all labels, and some are drawn on half of the images that do not show them.
Where raising the bar for one label alone refuses enough of those, at little cost to its masks, the card notes it.
Masks are judged on validation images alone; of a label that hardly any of those lack, training images without it count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from inference.card import ModelCard, learned_modality
from inference.interface import Model
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.labels import canonical
from inference.medseg_qa.records import Record
from inference.medseg_qa.splits import select_records
from inference.medseg_qa.stacks import stack_of
from inference.overlap import dice

__all__ = ["Looked", "claimed_from", "least_confidences", "looked_for"]

_POOR = 0.75  # a label that is drawn on less than a quarter of the images without it is left alone
_SPECIFICITY = 0.85  # wanted of the others, so that 0.8 holds on other images
_MOST_LOST = 0.05  # of a label's mean Dice
_FEWEST = 8  # images without a label; fewer say nothing
_TRAINED_ON = 160  # images of each set, for labels of which the split has fewer


@dataclass(frozen=True)
class Looked:
    """A label that was looked for on an image. `confidence`: 0 without a mask. `dice`: None where it is not there."""

    label: str
    modality: str
    image: str
    confidence: float
    dice: float | None


def looked_for(
    model: Model,
    qa: Path,
    split: str,
    *,
    most_per_set: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Looked]:
    """Look on every image of a split for what it shows and for what its annotators looked for in vain.

    Labels that too few of them lack are looked for in vain on training images, too.
    """
    looked = _looked_for(model, qa, select_records(qa, split, most_per_set), None, progress)
    lacking = Counter((one.label, one.modality) for one in looked if one.dice is None)
    short = {(one.label, one.modality) for one in looked if lacking[one.label, one.modality] < _FEWEST}
    if short and split != "train":
        looked += _looked_for(model, qa, select_records(qa, "train", _TRAINED_ON), short, progress)
    return looked


def _looked_for(
    model: Model,
    qa: Path,
    records: Sequence[Record],
    in_vain: Collection[tuple[str, str]] | None,
    progress: Callable[[int, int], None] | None,
) -> list[Looked]:
    """Look on records; `in_vain`: for these labels alone, by modality, on images without them."""
    looked: list[Looked] = []
    for number, record in enumerate(records):
        modality, stack = learned_modality(record.modality), stack_of(record, qa)
        true = _true_masks(record, qa)
        searched = (canonical(label) for label in load_knowledge().datasets.get(record.dataset, {}).get("absent", ()))
        labels = [label for label in dict.fromkeys((*true, *searched)) if model.card.learned(label, modality)]
        if in_vain is not None:
            labels = [label for label in labels if label not in true and (label, modality) in in_vain]
        for label, target in zip(labels, model.locate(stack, labels) if labels else (), strict=True):
            score = None if label not in true else 0.0 if target is None else dice(target.mask[0], true[label])
            confidence = 0.0 if target is None else target.confidence
            looked.append(Looked(label, modality, record.id, confidence, score))
        if progress is not None:
            progress(number + 1, len(records))
    return looked


def least_confidences(
    looked: Sequence[Looked], *, specificity: float = _SPECIFICITY, most_lost: float = _MOST_LOST
) -> dict[tuple[str, str], float]:
    """Return by label and modality from which confidence on it is claimed; labels that need no such bar are left out.

    The least bar that refuses `specificity` of the images without the label, and never more than costs `most_lost` of
    its mean Dice: where that is not to be had for the price, as much of it as the price buys.
    """
    chosen = {}
    by_label: Mapping[tuple[str, str], list[Looked]] = defaultdict(list)
    for one in looked:
        by_label[one.label, one.modality].append(one)
    for key, of_label in sorted(by_label.items()):
        absent = np.array([one.confidence for one in of_label if one.dice is None])
        there = [(one.confidence, one.dice) for one in of_label if one.dice is not None]
        if len(absent) < _FEWEST or (absent == 0).mean() >= min(_POOR, specificity) or not there:
            continue
        confidences, scores = np.array(there, dtype=np.float64).T
        for bar in sorted({round(float(confidence) + 0.0051, 2) for confidence in absent if confidence}):
            if np.where(confidences >= bar, scores, 0).mean() < scores.mean() - most_lost:
                break
            chosen[key] = min(1.0, bar)
            if (absent < bar).mean() >= specificity:
                break
    return chosen


def claimed_from(card: ModelCard, least: Mapping[tuple[str, str], float]) -> ModelCard:
    """Return a card whose labels are claimed from `least` on, by label and modality."""
    labels = tuple(
        replace(entry, least_confidence=least.get((entry.label, learned_modality(entry.modality))))
        for entry in card.labels
    )
    return replace(card, labels=labels)


def _true_masks(record: Record, qa: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return by canonical label what is there; of several masks of one label their union."""
    masks: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]] = {}
    for target in record.targets:
        with Image.open(qa / target.mask) as picture:
            mask, label = np.asarray(picture) > 127, canonical(target.label)
        masks[label] = masks[label] | mask if label in masks else mask
    return masks
