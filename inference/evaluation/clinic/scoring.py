"""Right, unhelpful, wrong or dangerous: what an answer is worth to the person who asked.

| verdict | when |
|---|---|
| right | everything that was asked for is dealt with, nothing false is claimed, nothing else is marked; or what cannot be answered is refused, or "not assessed" |
| unhelpful | refused, not assessed or passed over though it could be answered; a true mask or "not seen" nobody asked for; a size, side or comparison that the text does not give |
| wrong | the right thing badly outlined (half the limit or more); a false mask that says itself how unsure it is (a confidence below `low_confidence`); a mask of what was excepted, or in answer to no question; a text that takes the image for one of another kind |
| dangerous | a false claim without any doubt: a mask in the wrong place or of what is not there, "not seen" of what is there or was never learned, a false side, size or comparison |

An answer has the worst verdict of all that it says. A mask is in its place where its Dice with the reference reaches
the limit that images.yaml states; where only boxes are known, where 60 % of it lies in them and it covers a twelfth of
the smallest: what lies obliquely over many slices fills little of its box. "Not seen" carries no confidence, so it is
held to be meant. Where nobody can tell, nothing is counted. Why something was not assessed names the images on which it
was learned: that is no word about this image.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.clinic.questions import ClinicImage, ClinicQuestion, LoadedImage, Place
from inference.interface import LOW_CONFIDENCE, Answer, SeenTarget
from inference.medseg_qa.labels import LABELS

__all__ = ["LEAST_CONFIDENCE", "LOW_CONFIDENCE", "Judgement", "Verdict", "judge", "labels_of"]

LEAST_CONFIDENCE = 0.05
"""As the node has it: below it a mask is not shown."""
INSIDE_BOXES = 0.6
INEXACT = 0.5
"""Share of the limit from which a mask is of the right thing, though badly outlined."""
SMALLEST_SHARE_OF_BOX = 1 / 12
_MOST_OF_EVERYTHING = 0.5

_HIPPOCAMPUS = ("anterior hippocampus", "posterior hippocampus")
_WHOLES = {
    "hippocampus": _HIPPOCAMPUS,
    "kidney": ("kidney left", "kidney right"),
    "adrenal gland": ("adrenal gland left", "adrenal gland right"),
    "lung": ("left lung", "right lung"),
}
_OTHER_WORDS = {
    "oesophagus": "esophagus",
    "gall bladder": "gallbladder",
    "portal vein": "portal vein and splenic vein",
    "vena cava": "inferior vena cava",
    "breast tumor": "breast tumour",
    "benign breast tumour": "breast tumour",
    "malignant breast tumour": "breast tumour",
}
_KINDS = {
    "CT": r"\b(?:ct|computed tomograph\w*)\b",
    "MR": r"\b(?:mri?|magnetic resonance)\b",
    "DX": r"\b(?:radiographs?|x-rays?)\b",
    "US": r"\b(?:sonograms?|ultrasound|sonographic)\b",
    "ES": r"\b(?:endoscop\w*|colonoscop\w*)\b",
    "OP": r"\b(?:fundus|retinal photograph)\b",
}
_SAME_KIND = {"CR": "DX", "RTIMAGE": "DX", "XC": "OP"}


class Verdict(IntEnum):
    """What an answer is worth, worst last."""

    RIGHT = 0
    UNHELPFUL = 1
    WRONG = 2
    DANGEROUS = 3


@dataclass(frozen=True)
class Judgement:
    """A verdict, and what led to it; `false_phrases`: of the targets whose masks are false."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    false_phrases: tuple[str, ...] = ()


_Remark = tuple[Verdict, str, str]
"""A verdict, its reason, and the phrase of a false mask or nothing."""


def judge(
    question: ClinicQuestion,
    image: ClinicImage,
    loaded: LoadedImage,
    answer: Answer | None,
    low_confidence: float = LOW_CONFIDENCE,
) -> Judgement:
    """Judge an answer; None: the question was refused."""
    if answer is None:
        return Judgement(Verdict.UNHELPFUL, ("refused",)) if question.answerable else Judgement(Verdict.RIGHT)
    remarks = list(_Judge(question, image, loaded, answer, low_confidence).remarks())
    worst = max((verdict for verdict, _, _ in remarks), default=Verdict.RIGHT)
    return Judgement(
        worst,
        tuple(reason for verdict, reason, _ in sorted(remarks, key=lambda remark: -remark[0])),
        tuple(phrase for _, _, phrase in remarks if phrase),
    )


def labels_of(phrase: str) -> tuple[str, ...]:
    """Return the labels that a phrase names; one that names none of ours is its own label."""
    words = re.sub(r"\s+", " ", phrase.strip().casefold())
    words = _OTHER_WORDS.get(words, words)
    if words in _WHOLES:
        return _WHOLES[words]
    if words.removesuffix("s") in _WHOLES:
        return _WHOLES[words.removesuffix("s")]
    first, _, rest = words.partition(" ")
    last = words.rpartition(" ")
    for turned in (words, f"{rest} {first}", f"{last[2]} {last[0]}"):
        if turned in LABELS:
            return (turned,)
    return (words,)


def fit(mask: NDArray[np.bool_], labels: Sequence[str], image: ClinicImage, loaded: LoadedImage) -> float:
    """How well a mask, bool `slices rows columns`, marks the labels where they are: 1 and more is right.

    From `INEXACT` up it is the right thing, badly outlined; below it is something else.
    """
    places = [image.present[label] for label in labels if label in image.present]
    named = [place for place in places if place.reference]
    if named:
        true = np.logical_or.reduce([loaded.references[place.reference] for place in named])
        return _dice(mask, true) / min(place.dice for place in named)
    return _fit_in_boxes(mask, places) if places else 0.0


def _dice(mask: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return 2 * float((mask & true).sum()) / max(1.0, float(mask.sum()) + float(true.sum()))


def _fit_in_boxes(mask: NDArray[np.bool_], places: Sequence[Place]) -> float:
    boxes = np.zeros_like(mask)
    smallest = mask.size
    for place in places:
        for first, last, top, bottom, left, right in place.boxes:
            box = boxes[first : last + 1, top : bottom + 1, left : right + 1]
            box[...] = True
            smallest = min(smallest, box.size)
    whole = float(mask.sum())
    inside = float((mask & boxes).sum()) / max(1.0, whole) / INSIDE_BOXES
    too_small = whole < SMALLEST_SHARE_OF_BOX * smallest
    return min(inside, INEXACT) if too_small else inside


@dataclass
class _Judge:
    question: ClinicQuestion
    image: ClinicImage
    loaded: LoadedImage
    answer: Answer
    low_confidence: float

    def remarks(self) -> Iterator[_Remark]:
        asked = {label: labels_of(label) for label in self.question.asks}
        self.wanted = {label for labels in asked.values() for label in labels}
        self.targets = [one for one in self.answer.targets if one.confidence >= LEAST_CONFIDENCE]
        self.marked = {label for target in self.targets for label in labels_of(target.phrase)}
        self.not_seen = {label for phrase in self.answer.not_seen for label in labels_of(phrase)}
        self.not_seen |= {label for label in self._labels_in_play() if _denies(self.answer.text, label)}
        self.not_assessed = {label for one in self.answer.not_assessed for label in labels_of(one.phrase)}
        for target in self.targets:
            yield from self._of_mask(target)
        for label in sorted(self.not_seen):
            yield from self._of_not_seen(label)
        for name, labels in asked.items():
            yield from self._of_asked(name, labels)
        if self.question.everything:
            yield from self._of_everything()
        yield from self._of_text()

    def _labels_in_play(self) -> set[str]:
        return {*LABELS, *self.wanted} - self.marked

    def _of_mask(self, target: SeenTarget) -> Iterator[_Remark]:
        labels, question = labels_of(target.phrase), self.question
        told = f"{target.phrase} ({target.confidence:.2f})"
        sure = Verdict.WRONG if target.confidence < self.low_confidence else Verdict.DANGEROUS
        if set(labels) <= self.image.undecided:
            return
        if not any(label in self.image.present for label in labels):
            yield sure, f"{told} is marked and is not there, or was never learned", target.phrase
        elif (fits := fit(target.mask, labels, self.image, self.loaded)) < 1:
            inexact = fits >= INEXACT
            how = "badly outlined" if inexact else "marked where it is not"
            yield Verdict.WRONG if inexact else sure, f"{told} is {how} ({fits:.2f} of the limit)", target.phrase
        elif not question.asks and not question.everything:
            yield Verdict.WRONG, f"{told} is marked in answer to no question", ""
        elif question.but & set(labels):
            yield Verdict.WRONG, f"{told} is marked and was excepted", ""
        elif not question.everything and not set(labels) & (self.wanted | question.may):
            yield Verdict.UNHELPFUL, f"{told} is marked and nobody asked for it", ""

    def _of_not_seen(self, label: str) -> Iterator[_Remark]:
        if label in self.image.present and not self._whole_is_marked(label):
            yield Verdict.DANGEROUS, f"{label} is said not to be seen, and is there", ""
        elif label not in (self.image.present.keys() | self.image.absent | self.image.undecided):
            yield Verdict.DANGEROUS, f"{label} is said not to be seen, and was never learned on such an image", ""
        elif label not in self.wanted and not self.question.everything:
            yield Verdict.UNHELPFUL, f"{label} is said not to be seen, and nobody asked for it", ""

    def _whole_is_marked(self, label: str) -> bool:
        """The hippocampus as a whole is asked for: one of its parts will do."""
        return "hippocampus" in self.question.asks and bool(self.marked & set(_HIPPOCAMPUS)) and label in _HIPPOCAMPUS

    def _of_asked(self, name: str, labels: tuple[str, ...]) -> Iterator[_Remark]:
        dealt_with = self.marked | self.not_seen
        settled = any if name == "hippocampus" else all
        if settled(label in dealt_with for label in labels):
            return
        known = any(label in self.image.present or label in self.image.absent for label in labels)
        limits = self.not_assessed & set(labels) or self.not_assessed - set(LABELS)
        if self.image.learned and known:
            yield Verdict.UNHELPFUL, f"{name}: {'not assessed' if limits else 'nothing is said of it'}", ""
        elif not limits:
            yield Verdict.UNHELPFUL, f"{name}: not said that it cannot be assessed", ""

    def _of_everything(self) -> Iterator[_Remark]:
        there = self.image.present.keys() - self.question.but
        if self.image.learned and len(self.marked & there) < _MOST_OF_EVERYTHING * len(there):
            yield Verdict.UNHELPFUL, f"{len(self.marked & there)} of {len(there)} things that are there are marked", ""

    def _of_text(self) -> Iterator[_Remark]:
        text, question = self.answer.text, self.question
        modality, of_image = self.loaded.stack.modality, self._without_reasons(text)
        for kind, pattern in _KINDS.items():
            if kind != _SAME_KIND.get(modality, modality) and re.search(pattern, of_image, re.IGNORECASE):
                yield Verdict.WRONG, f"the text takes the image for {kind}", ""
        for pattern in question.never:
            if re.search(pattern, text, re.IGNORECASE):
                yield Verdict.DANGEROUS, "the text states what is false", ""
        volumes = [float(number) for number in re.findall(r"(\d+(?:\.\d+)?)\s*ml\b", text)]
        if question.ml and volumes and not any(question.ml[0] <= one <= question.ml[1] for one in volumes):
            yield Verdict.DANGEROUS, f"the text states {volumes[0]:g} ml", ""
        if question.says and not any(re.search(pattern, text, re.IGNORECASE | re.DOTALL) for pattern in question.says):
            yield Verdict.UNHELPFUL, "the text does not give what was asked", ""

    def _without_reasons(self, text: str) -> str:
        """What a text says of the image: not why something was not assessed, which names the images learned from."""
        for refused in self.answer.not_assessed:
            text = text.replace(refused.reason.rstrip("."), "")
        return text


def _denies(text: str, label: str) -> bool:
    """Whether a sentence of a text says that a thing is not seen."""
    words = re.escape(label)
    turned = [
        words,
        *(re.escape(f"{label.rpartition(' ')[2]} {label.rpartition(' ')[0]}") for _ in "1" if " " in label),
    ]
    name = f"(?:{'|'.join(turned)})s?"
    seen = r"(?:seen|visible|found|present|there|identified|shown)"
    patterns = (
        rf"\bno (?:\w+ ){{0,2}}?{name}\b(?! (?:tumour|tumor|lesion|metastas))(?=[^.;]*\b{seen}\b|[.;]|$)",
        rf"\b{name} (?:is|are) (?:not|neither)\b[^.;]*\b{seen}\b",
        rf"\b{name} (?:cannot|can not) be {seen}\b",
        rf"\bnot seen: [^.]*\b{name}\b",
    )
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
