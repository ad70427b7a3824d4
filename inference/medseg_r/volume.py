"""Many slices, one answer: which slices are asked, when a target counts as named, and which parts of a mask are kept.

1. Asked are at most `asked_slices` of the slices that show something, evenly spaced from the first to the last.
2. A slice whose answer breaks the grammar is unanswered: nothing of it is used, and the log says so. Where every slice
   asked broke it there is no answer, and that is an error.
3. A target counts as named where at least `NAMED_SHARE` of the answers name it; its prompt is the mean of theirs.
4. Every slice gets a mask for every named target's prompt. A mask is dropped where the object score (the quality, in a
   model without one) or its size is below the checkpoint's thresholds; a target left without any mask is not seen.
5. A denial is told where at least `DENIED_SHARE` of the answers make it: a slice or two may speak of anything.
6. In a volume the logits of a slice take in a share of its neighbours', the more, the nearer they lie. What came of
   it on validation volumes stands in `weights/EXPERIMENTS.md`.
7. Parts that do not hang together with the rest go: in a volume, connected parts smaller than `SPECK_SHARE` of a
   target's largest part, or `SPECK_SHARE_THICK` where slices lie so far apart that a part may miss its neighbour. On a
   single slice a thin structure falls into parts that all belong to it, so only those below `SPECK_AREA` of it go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import structlog
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from inference.errors import AnswerMalformed
from inference.interface import Answer, Question, SeenTarget
from inference.medseg_r.answers import NamedPhrase, combined_text, denied_phrases, named_phrases, without_markup
from inference.medseg_r.transform import Extent

__all__ = [
    "DENIED_SHARE",
    "NAMED_SHARE",
    "SPECK_AREA",
    "SPECK_SHARE",
    "SPECK_SHARE_THICK",
    "DraftAnswer",
    "DraftTarget",
    "SliceAnswer",
    "SlicePrediction",
    "draft_answer",
    "finished_answer",
    "neighbour_weight",
    "new_target",
    "seen_target",
    "slices_with_content",
    "smoothed",
    "without_specks",
]

NAMED_SHARE = 0.1
DENIED_SHARE = 0.25
SPECK_SHARE = 0.2
SPECK_SHARE_THICK = 0.1
SPECK_AREA = 8 / 256**2  # eight of the model's pixels; a share cost retinal vessels 0.05 of Dice (validation images)

_THICK_MM = 5.0
_NEAREST_WEIGHT = 0.28
_REACH_MM = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class SliceAnswer:
    """The answer about one slice. `hidden_states`: `[SEG]s language_width`."""

    text: str
    hidden_states: Tensor


@dataclass(frozen=True)
class SlicePrediction:
    """What the grounding says of every target on a slice, by its index in the stack.

    `logits`: `targets size size`. `seen`, `quality`: `targets`. `extent`: as `to_square` gives it.
    """

    index: int
    logits: Tensor
    seen: Tensor
    quality: Tensor
    extent: Extent


@dataclass
class DraftTarget:
    """A named thing whose mask, bool `slices rows columns`, is being filled in slice by slice.

    `hidden_states`: `slices language_width`, of its [SEG]. `scores`: quality estimate and pixels of each slice kept.
    """

    phrase: str
    hidden_states: list[Tensor]
    mask: NDArray[np.bool_]
    scores: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class DraftAnswer:
    """A question, the slices that answered it with their texts, and the targets that they named."""

    question: Question
    slices: tuple[int, ...]
    texts: tuple[str, ...]
    targets: tuple[DraftTarget, ...]


def slices_with_content(values: NDArray[np.float32] | NDArray[np.uint8]) -> list[int]:
    """Return which slices of `slices rows columns [3]` are not of one value, or of one colour, throughout."""
    return [index for index, plane in enumerate(values) if (plane != plane[0, 0]).any()]


def draft_answer(
    question: Question, slice_answers: Mapping[int, SliceAnswer], shape: tuple[int, int, int]
) -> DraftAnswer:
    """Make targets of the slices' answers to a question, by slice index; `shape`: slices, rows, columns.

    Raises `AnswerMalformed` where no slice kept to the grammar.
    """
    states: dict[NamedPhrase, list[Tensor]] = {}
    texts: dict[int, str] = {}
    broken: dict[int, AnswerMalformed] = {}
    for index, answer in slice_answers.items():
        try:
            phrases = named_phrases(answer.text, len(answer.hidden_states))
        except AnswerMalformed as error:
            broken[index] = error
            continue
        texts[index] = answer.text
        for phrase, state in zip(phrases, answer.hidden_states, strict=True):
            states.setdefault(phrase, []).append(state)
    if broken:
        _log.warning("slices left unanswered: grammar broken", slices=sorted(broken), asked=len(slice_answers))
    if not texts:
        raise AnswerMalformed(f"no slice gave an answer that keeps to the grammar: {next(iter(broken.values()))}")
    targets = tuple(
        new_target(named.phrase, of_phrase, shape)
        for named, of_phrase in states.items()
        if len(of_phrase) >= NAMED_SHARE * len(texts)
    )
    return DraftAnswer(question, tuple(texts), tuple(texts.values()), targets)


def new_target(phrase: str, hidden_states: list[Tensor], shape: tuple[int, int, int]) -> DraftTarget:
    """Return a target without a mask yet; `shape`: slices, rows, columns."""
    return DraftTarget(phrase, hidden_states, np.zeros(shape, dtype=np.bool_))


def neighbour_weight(spacing_mm: tuple[float, float, float] | None) -> float:
    """Return the share of each neighbouring slice in a slice's smoothed logits: less, the farther apart they lie.

    A quarter at 1 mm, a tenth at 10 mm. Nothing where the distance is not known.
    """
    return 0.0 if spacing_mm is None else _NEAREST_WEIGHT * math.exp(-spacing_mm[0] / _REACH_MM)


def smoothed(predictions: Iterable[SlicePrediction], weight: float) -> Iterator[SlicePrediction]:
    """Yield predictions with a share of their neighbours' logits, in the same order.

    A slice with no neighbour on one side, at an end or beside a blank one, keeps that share itself.
    """
    if weight == 0:
        yield from predictions
        return
    before: SlicePrediction | None = None
    current: SlicePrediction | None = None
    end: list[SlicePrediction | None] = [None]
    for following in chain(predictions, end):
        if current is not None:
            logits = (1 - 2 * weight) * current.logits
            for other in (before, following):
                beside = other is not None and abs(other.index - current.index) == 1
                logits += weight * (other.logits.to(logits.device) if other and beside else current.logits)
            yield replace(current, logits=logits)
        before, current = current, following


def seen_target(
    target: DraftTarget,
    calibration: Sequence[tuple[float, float]],
    spacing_mm: tuple[float, float, float] | None = None,
) -> SeenTarget | None:
    """Return a target whose mask was filled in, without specks; None where nothing is left of it."""
    mask = without_specks(target.mask, spacing_mm)
    return SeenTarget(target.phrase, _confidence(target.scores, calibration), mask) if mask.any() else None


def finished_answer(
    draft: DraftAnswer,
    calibration: Sequence[tuple[float, float]],
    spacing_mm: tuple[float, float, float] | None = None,
) -> Answer:
    """Return the answer for the whole stack, once the masks of its targets are filled in."""
    seen, without_mask = [], []
    for target in draft.targets:
        if (shown := seen_target(target, calibration, spacing_mm)) is not None:
            seen.append(shown)
        else:
            without_mask.append(target.phrase)
    if len(draft.texts) == 1 and not without_mask:
        text = without_markup(draft.texts[0])
    else:
        named = [target.phrase for target in seen]
        denied = Counter(phrase for text in draft.texts for phrase in dict.fromkeys(denied_phrases(text)))
        absent = [phrase for phrase, count in denied.items() if count >= DENIED_SHARE * len(draft.texts)]
        text = combined_text(draft.texts, named, [phrase for phrase in [*without_mask, *absent] if phrase not in named])
    return Answer(draft.question, text, tuple(seen), draft.slices)


def _confidence(scores: Sequence[tuple[float, int]], calibration: Sequence[tuple[float, float]]) -> float:
    """Return the quality head's estimate, slices weighted by their area, calibrated, within 0 to 1."""
    area = sum(pixels for _, pixels in scores)
    if area == 0:
        return 0.0
    raw = sum(quality * pixels for quality, pixels in scores) / area
    if calibration:
        raw = float(np.interp(raw, [pair[0] for pair in calibration], [pair[1] for pair in calibration]))
    return min(1.0, max(0.0, raw))


def without_specks(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float] | None = None) -> NDArray[np.bool_]:
    """Drop connected parts (faces, edges and corners connect) that are specks, never the largest; in place."""
    [box] = ndimage.find_objects(mask.view(np.uint8)) or [None]
    if box is None:
        return mask
    inside = mask[box]
    parts, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.reshape(-1))
        sizes[0] = 0
        share = SPECK_SHARE_THICK if spacing_mm is None or spacing_mm[0] > _THICK_MM else SPECK_SHARE
        fewest = share * sizes.max() if len(mask) > 1 else min(SPECK_AREA * mask.size, sizes.max())
        inside &= (sizes >= fewest)[parts]
    return mask
