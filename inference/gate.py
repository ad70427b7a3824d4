"""The gate before the model: may this label be looked for on these images at all?

What the headers say is held against the card first, then how alike the images are to those learned from:

    label      no entry of the card names it
    modality   it was learned on other images only: of another modality, another kind, or grey and these are coloured
    region     the headers name a part of the body that none of its images showed, or parts that exclude each other;
               Body Part Examined alone, often wrong, refuses images that do not look like known ones either
    plane      it was learned on slices that lie otherwise in the patient
    likeness   the images look like none that the model learned from

What a header does not say is no ground for refusal; the likeness then decides alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from inference.card import ImageKind, LearnedLabel, ModelCard, learned_modality
from inference.interface import Alike, NotAssessed, NotAssessedReason, SliceStack
from inference.sampling import evenly_spaced

__all__ = ["ANYTHING", "likeness_factor", "modality_words", "not_assessed", "unlearned"]

ANYTHING = "anything"
"""Stands for whatever a model could look for, where a question names nothing."""

_MODALITY_WORDS = {
    "CT": "CT images", "MR": "MR images", "US": "ultrasound images", "DX": "radiographs", "ES": "endoscopic images",
    "OP": "photographs of the eye", "MG": "mammograms", "PT": "PET images", "NM": "scintigrams", "XA": "angiograms",
    "RF": "fluoroscopic images", "OPT": "tomograms of the eye", "SC": "secondary captures", "SM": "microscopic images",
    "OT": "images of other kinds", "IO": "dental radiographs", "PX": "panoramic radiographs",
}  # fmt: skip
_KIND_WORDS = {
    ImageKind.SECTION: "sections", ImageKind.PROJECTION: "projections",
    ImageKind.SONOGRAM: "sonograms", ImageKind.PHOTOGRAPH: "photographs",
}  # fmt: skip
_COLOURLESS = frozenset({ImageKind.SECTION, ImageKind.PROJECTION})
_COLOURED_BY = 40  # of 255, between a pixel's strongest and weakest channel
_COLOURED_SHARE = 0.03  # of the pixels; a letter or a ruler in colour is less
_LOOKED_AT = 3  # slices
_LEAST_FACTOR = 0.5


def not_assessed(
    label: str,
    stack: SliceStack,
    card: ModelCard,
    likeness: Alike,
    *,
    labels: Sequence[str] = (),
) -> NotAssessed | None:
    """Return why a label may not be looked for on a stack, or None where it may.

    `likeness`: what `Model.likeness` says of the stack. `labels`: those that `label` stands for, where it is the name
    of something that the card lists under several labels (kidneys).
    """
    refused = _by_card(label, labels or (label,), stack, card)
    alike = _alike(likeness, labels or (label,)) if card.likeness_limits else None
    least, enough = card.likeness_limits or (0.0, 0.0)
    if refused is None and (alike is None or alike < enough):
        refused = _by_unsure_region(label, labels or (label,), stack, card)
    if refused is None and alike is not None and alike < least:
        refused = NotAssessedReason.UNLIKE, "these images are unlike those that this model learned from"
    return None if refused is None else NotAssessed(label, *refused)


def unlearned(label: str, shown: str = "", known: str = "") -> str:
    """Return why a label is not looked for, as a clause. `shown`: on what; `known`: on what it was learned."""
    what = "has learned nothing" if label == ANYTHING else f"has not learned {label}"
    here = f" on {shown}" if shown else ""
    elsewhere = f"; it has learned {'from' if label == ANYTHING else 'it on'} {known}" if known else ""
    return f"this model {what}{here}{elsewhere}"


def likeness_factor(card: ModelCard, likeness: Alike, label: str) -> float:
    """Return by what confidence is multiplied on images that are less alike: from 0.5 at the first limit to 1."""
    alike = _alike(likeness, (label,))
    if alike is None or card.likeness_limits is None:
        return 1.0
    least, enough = card.likeness_limits
    return _LEAST_FACTOR + (1 - _LEAST_FACTOR) * min(1.0, max(0.0, (alike - least) / (enough - least)))


def _alike(likeness: Alike, labels: Sequence[str]) -> float | None:
    """Return the likeness that counts for labels: the most of theirs; of all where none of them has one."""
    if not isinstance(likeness, Mapping):
        return likeness
    of_labels = [likeness[label] for label in labels if label in likeness]
    return max(of_labels or likeness.values(), default=None)


def _by_card(
    label: str, labels: Sequence[str], stack: SliceStack, card: ModelCard
) -> tuple[NotAssessedReason, str] | None:
    entries, context = [entry for one in labels for entry in card.learned(one)], stack.context
    if not entries and not card.open_set:
        return NotAssessedReason.LABEL, unlearned(label)
    here = _of_modality(entries, stack.modality)
    if not here:
        of_card = entries or card.labels
        if card.open_set and (not card.labels or _of_modality(card.labels, stack.modality)):
            return None
        known, shown = _joined(modality_words(entry.modality) for entry in of_card), modality_words(stack.modality)
        return NotAssessedReason.MODALITY, unlearned(label, shown, known)
    if context.kind is not None and context.kind not in {entry.kind for entry in here}:
        known = _joined(_KIND_WORDS[entry.kind] for entry in here)
        return NotAssessedReason.MODALITY, unlearned(label, _KIND_WORDS[context.kind], known)
    if all(entry.kind in _COLOURLESS for entry in here) and _coloured(stack):
        return NotAssessedReason.MODALITY, unlearned(label, "images in colour", "grey ones")
    return _by_region(label, stack, here) or _by_plane(label, stack, here)


def _by_region(label: str, stack: SliceStack, entries: Sequence[LearnedLabel]) -> tuple[NotAssessedReason, str] | None:
    context, learned = stack.context, {region for entry in entries for region in entry.regions}
    if context.contradicted:
        return (
            NotAssessedReason.REGION,
            f"the headers contradict each other about the part of the body, and {label} is sought in one only",
        )
    if not context.regions or not all(entry.regions for entry in entries) or context.regions & learned:
        return None
    return (
        NotAssessedReason.REGION,
        unlearned(label, f"images of the {_joined(sorted(context.regions))}", f"the {_joined(sorted(learned))}"),
    )


def _by_unsure_region(
    label: str, labels: Sequence[str], stack: SliceStack, card: ModelCard
) -> tuple[NotAssessedReason, str] | None:
    perhaps, entries = stack.context.perhaps_of, [entry for one in labels for entry in card.learned(one)]
    learned = {region for entry in entries for region in entry.regions}
    if not perhaps or not entries or not all(entry.regions for entry in entries) or perhaps & learned:
        return None
    return (
        NotAssessedReason.REGION,
        f"the header calls these images {_joined(sorted(perhaps))}, and nothing else says what they show; "
        f"this model has learned {label} on the {_joined(sorted(learned))}",
    )


def _by_plane(label: str, stack: SliceStack, entries: Sequence[LearnedLabel]) -> tuple[NotAssessedReason, str] | None:
    plane, learned = stack.context.plane, {plane for entry in entries for plane in entry.planes}
    if plane is None or not all(entry.planes for entry in entries) or plane in learned:
        return None
    return NotAssessedReason.PLANE, unlearned(label, f"{plane} slices", f"{_joined(sorted(learned))} ones")


def _of_modality(entries: Iterable[LearnedLabel], modality: str) -> list[LearnedLabel]:
    return [entry for entry in entries if learned_modality(entry.modality) == learned_modality(modality)]


def _coloured(stack: SliceStack) -> bool:
    """Whether a stack's pictures have colours, not only three equal channels."""
    if stack.values.ndim != 4:
        return False
    shown = stack.values[evenly_spaced(range(len(stack.values)), _LOOKED_AT)]
    channels = [shown[..., channel].astype(np.int16) for channel in range(3)]
    spread = np.maximum.reduce(channels) - np.minimum.reduce(channels)
    return bool((spread > _COLOURED_BY).mean() > _COLOURED_SHARE)


def modality_words(code: str) -> str:
    """Return what images of a modality are called."""
    return _MODALITY_WORDS.get(learned_modality(code), f"images of modality {code}" if code else "these images")


def _joined(words: Iterable[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
