"""Make the card of a checkpoint: what its training images showed, and what tells images unlike them.

Labels are counted on the train split. Likeness is fitted there and its scale set on the validation split; both come
from the features that the model has of every image anyway.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from inference.card import ImageKind, LearnedLabel, ModelCard, Plane, Region, learned_modality
from inference.errors import InferenceError
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.labels import canonical
from inference.medseg_qa.records import Record, windows_of
from inference.medseg_qa.splits import check_split, select_records
from inference.medseg_r.checkpoint import load_checkpoint, set_card
from inference.medseg_r.likeness import Known, Likeness, image_features, pooled
from inference.medseg_r.model import MedSegR
from inference.open import torch_device
from inference.progress import Counter

__all__ = ["LIKENESS_LIMITS", "card_checkpoint", "known_images", "learned_labels", "refused_when_left_out"]

LIKENESS_LIMITS = (0.02, 0.1)
"""Below the first a stack is refused, below the second answered with less confidence; chosen on validation images."""

_FEWEST_IMAGES = 3  # of a label; what two images showed is not learned
_MOST_PER_SET = 360
_BATCH = 8
_KINDS = {
    "US": ImageKind.SONOGRAM, "DX": ImageKind.PROJECTION, "MG": ImageKind.PROJECTION,
    "ES": ImageKind.PHOTOGRAPH, "OP": ImageKind.PHOTOGRAPH, "XC": ImageKind.PHOTOGRAPH,
}  # fmt: skip


class _Of(NamedTuple):
    """What kind of images an entry of the card is of."""

    label: str
    modality: str
    kind: ImageKind


def card_checkpoint(
    folder: Path, qa: Path, *, device: str = "auto", most_per_set: int | None = _MOST_PER_SET
) -> dict[str, Any]:
    """Write a card and the statistics of likeness beside a checkpoint's weights; return what came of it, as values.

    Windows and letters of the set take the place of the card's; codes and languages of a card that is there already
    stay. Progress goes to stderr.
    Raises `CheckpointError` and `SourceError` for what cannot be read, `InferenceError` for a set without images to
    learn from.
    """
    check_split(qa, "train")
    checkpoint = load_checkpoint(folder, accept_research_use=True, device=torch_device(device))
    records = list(select_records(qa, "train", None))
    labels = learned_labels(records)
    if not labels:
        raise InferenceError(f"the train split of {qa} shows no label on {_FEWEST_IMAGES} images or more; add images")
    known = known_images(checkpoint.model, qa, most_per_set)
    likeness = Likeness.fit(known)
    before = checkpoint.card or ModelCard()
    windows = {**before.windows, **_windows(records), **windows_of(qa)}
    letters = {**before.letters, **_letters(records)}
    card = replace(before, labels=labels, windows=windows, letters=letters, likeness_limits=LIKENESS_LIMITS)
    described = set_card(folder, card, likeness)
    return {
        "digest": described.digest,
        "labels": len(card.known_labels),
        "refused_of_known": _refused(likeness, known),
        "refused_when_left_out": refused_when_left_out(known),
        "likeness_limits": list(LIKENESS_LIMITS),
    }


def learned_labels(records: Iterable[Record]) -> tuple[LearnedLabel, ...]:
    """Count labels by kind of images on records of the train split; those that fewer than three show are left out.

    `absent` counts images whose annotators looked for a label and did not see it.
    """
    datasets = load_knowledge().datasets
    shown: Counts[_Of] = Counts()
    absent: Counts[_Of] = Counts()
    regions: dict[_Of, set[Region]] = defaultdict(set)
    planes: dict[_Of, set[Plane]] = defaultdict(set)
    for record in records:
        known, modality = datasets.get(record.dataset, {}), learned_modality(record.modality)
        kind = ImageKind(known.get("kind", _KINDS.get(modality, ImageKind.SECTION)))
        present = {canonical(target.label) for target in record.targets}
        searched = {canonical(label) for label in known.get("absent", ())} - present
        for label in present | searched:
            of = _Of(label, modality, kind)
            (shown if label in present else absent)[of] += 1
            regions[of] |= {Region(region) for region in known.get("regions", ())}
            planes[of] |= {Plane(plane) for plane in known.get("planes", ())}
    return tuple(
        LearnedLabel(*of, frozenset(regions[of]), frozenset(planes[of]), count, absent[of])
        for of, count in sorted(shown.items())
        if count >= _FEWEST_IMAGES
    )


def _windows(records: Iterable[Record]) -> dict[str, tuple[float, float]]:
    """Return what the sets of 8-bit pictures are known to have been shown in, by modality."""
    datasets = load_knowledge().datasets
    windows: dict[str, tuple[float, float]] = {}
    for record in records:
        if shown := datasets.get(record.dataset, {}).get("window"):
            low, high = shown
            windows[learned_modality(record.modality)] = (float(low), float(high))
    return windows


def _letters(records: Iterable[Record]) -> dict[str, tuple[str, str, str, str]]:
    """Return how the pictures lie that a label was learned on, where a display would turn them otherwise."""
    datasets = load_knowledge().datasets
    letters: dict[str, tuple[str, str, str, str]] = {}
    for record in records:
        if lying := datasets.get(record.dataset, {}).get("letters"):
            left, right, top, bottom = lying
            letters |= {canonical(target.label): (left, right, top, bottom) for target in record.targets}
    return letters


def known_images(model: MedSegR, qa: Path, most_per_set: int | None = _MOST_PER_SET) -> list[Known]:
    """Return the features of a set's train and validation images, for `Likeness.fit`.

    `most_per_set`: of each split; evenly spaced.
    """
    by_set: Mapping[tuple[str, str], list[tuple[Record, bool]]] = defaultdict(list)
    for split in ("train", "val"):
        for record in select_records(qa, split, most_per_set):
            by_set[record.dataset, learned_modality(record.modality)].append((record, split == "val"))
    total, done = sum(map(len, by_set.values())), 0
    known = []
    with Counter("images") as progress:
        for (dataset, modality), records in sorted(by_set.items()):
            if all(held_out for _, held_out in records):  # nothing to be alike to
                continue
            rows = []
            for start in range(0, len(records), _BATCH):
                rows.append(_features(model, qa, [record for record, _ in records[start : start + _BATCH]]))
                progress(min(total, done := done + _BATCH), total)
            held_out = np.array([held_out for _, held_out in records])
            groups = [record.group for record, _ in records]
            known.append(Known(dataset, modality, np.concatenate(rows), groups, held_out, _taught(records)))
    return known


def _taught(records: Iterable[tuple[Record, bool]]) -> tuple[str, ...]:
    """Return the labels that a set's training images showed."""
    shown = {canonical(target.label) for record, held_out in records if not held_out for target in record.targets}
    return tuple(sorted(shown))


@torch.inference_mode()
def _features(model: MedSegR, qa: Path, records: Sequence[Record]) -> np.ndarray[Any, np.dtype[np.float32]]:
    pictures = []
    for record in records:
        with Image.open(qa / record.image) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    return pooled(*image_features(model, pictures))


def refused_when_left_out(known: Sequence[Known]) -> dict[str, dict[str, float]]:
    """Refit without each set in turn, and return how many of its images would be refused as unlike the others.

    They are said to be of the modality of each of the others. `limit`: the share below the first of `LIKENESS_LIMITS`,
    the least over modalities; `at_5_percent`: where 5 % of the others' held-out images are refused.
    """
    told: dict[str, dict[str, float]] = {}
    for left_out in known:
        others = [one for one in known if one.name != left_out.name]
        if not others:
            continue
        likeness = Likeness.fit(others)
        shares = [likeness.shares(left_out.rows, modality) for modality in sorted({one.modality for one in others})]
        told[left_out.name] = {
            "limit": round(min(float((values < LIKENESS_LIMITS[0]).mean()) for values in shares), 4),
            "at_5_percent": round(min(float((values < 0.05).mean()) for values in shares), 4),
        }
    return told


def _refused(likeness: Likeness, known: Sequence[Known]) -> dict[str, float]:
    """Return the share of each set's held-out images that would be refused."""
    return {
        one.name: round(float((likeness.shares(one.rows[one.held_out], one.modality) < LIKENESS_LIMITS[0]).mean()), 4)
        for one in known
        if one.held_out.any()
    }
