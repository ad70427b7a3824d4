"""Many slices, one answer: which slices are asked, when a target counts as named, and which parts of a mask are kept.

1. Asked are at most `asked_slices` of the slices that show something, evenly spaced from the first to the last.
2. A slice whose answer breaks the grammar is unanswered: nothing of it is used, and the log says so. Where every slice
   asked broke it there is no answer, and that is an error.
3. A target counts as named where at least `NAMED_SHARE` of the answers name it; its prompt is the mean of theirs.
4. Every slice is drawn with every named target's prompt. Its mask there is dropped where the object score (or for want
   of it the quality) or its size puts it below the checkpoint's thresholds; a target left without any mask is not seen.
5. A denial is told where at least `DENIED_SHARE` of the answers make it: a slice or two may speak of anything.
6. Specks go: in a volume, connected parts smaller than `SPECK_SHARE` of a target's largest part. On a single slice a
   thin structure falls into parts that all belong to it, so only those below `SPECK_AREA` of the image go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from inference.errors import AnswerMalformed
from inference.interface import Answer, Question, SeenTarget
from inference.medseg_r.answers import Statement, absent_in, composed, readable, statements

__all__ = [
    "DENIED_SHARE",
    "NAMED_SHARE",
    "SPECK_AREA",
    "SPECK_SHARE",
    "Asked",
    "Said",
    "Target",
    "gathered",
    "showing",
    "spread",
    "volume_answer",
]

NAMED_SHARE = 0.1
DENIED_SHARE = 0.25
SPECK_SHARE = 0.05
SPECK_AREA = 8 / 256**2  # eight of the model's pixels; a share cost retinal vessels 0.05 of Dice (validation images)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Said:
    """What was said about one slice. `states`: `[SEG]s language_width`."""

    text: str
    states: Tensor


@dataclass
class Target:
    """A named thing on its way to a mask: bool `slices rows columns`. `states`: `slices language_width`, of its [SEG].

    `scores`: quality estimate and pixels of each slice that was kept.
    """

    phrase: str
    states: list[Tensor]
    mask: NDArray[np.bool_]
    scores: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A question, the slices that answered it and what they said, and the targets that came of it."""

    question: Question
    slices: tuple[int, ...]
    texts: tuple[str, ...]
    targets: tuple[Target, ...]


def showing(values: NDArray[np.float32] | NDArray[np.uint8]) -> list[int]:
    """Return which slices of `slices rows columns [3]` are not of one value, or of one colour, throughout."""
    return [index for index, plane in enumerate(values) if (plane != plane[0, 0]).any()]


def spread(slices: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of `slices`, evenly spaced from the first to the last."""
    places = np.unique(np.linspace(0, len(slices) - 1, min(len(slices), most)).round().astype(int))
    return [slices[place] for place in places]


def gathered(question: Question, said: Mapping[int, Said], shape: tuple[int, int, int]) -> Asked:
    """Make targets of what slices said about a question, by their index; `shape`: slices, rows, columns.

    Raises `AnswerMalformed` where no slice kept to the grammar.
    """
    states: dict[Statement, list[Tensor]] = {}
    texts: dict[int, str] = {}
    broken: dict[int, AnswerMalformed] = {}
    for index, one in said.items():
        try:
            found = statements(one.text, len(one.states))
        except AnswerMalformed as error:
            broken[index] = error
            continue
        texts[index] = one.text
        for statement, state in zip(found, one.states, strict=True):
            states.setdefault(statement, []).append(state)
    if broken:
        _log.warning("slices left unanswered: grammar broken", slices=sorted(broken), asked=len(said))
    if not texts:
        raise AnswerMalformed(f"no slice gave an answer that keeps to the grammar: {next(iter(broken.values()))}")
    targets = tuple(
        Target(statement.phrase, own, np.zeros(shape, dtype=np.bool_))
        for statement, own in states.items()
        if len(own) >= NAMED_SHARE * len(texts)
    )
    return Asked(question, tuple(texts), tuple(texts.values()), targets)


def volume_answer(asked: Asked, calibration: Sequence[tuple[float, float]]) -> Answer:
    """Return the answer for the whole stack, once its targets are drawn."""
    seen, lost = [], []
    for target in asked.targets:
        mask = _without_specks(target.mask)
        if mask.any():
            seen.append(SeenTarget(target.phrase, _confidence(target.scores, calibration), mask))
        else:
            lost.append(target.phrase)
    if len(asked.texts) == 1 and not lost:
        text = readable(asked.texts[0])
    else:
        named = [target.phrase for target in seen]
        denied = Counter(phrase for one in asked.texts for phrase in dict.fromkeys(absent_in(one)))
        absent = [phrase for phrase, count in denied.items() if count >= DENIED_SHARE * len(asked.texts)]
        text = composed(asked.texts, named, [phrase for phrase in [*lost, *absent] if phrase not in named])
    return Answer(asked.question, text, tuple(seen), asked.slices)


def _confidence(scores: Sequence[tuple[float, int]], calibration: Sequence[tuple[float, float]]) -> float:
    """Return the quality head's estimate, slices weighted by their area, calibrated, within 0 to 1."""
    area = sum(pixels for _, pixels in scores)
    if area == 0:
        return 0.0
    raw = sum(quality * pixels for quality, pixels in scores) / area
    if calibration:
        raw = float(np.interp(raw, [pair[0] for pair in calibration], [pair[1] for pair in calibration]))
    return min(1.0, max(0.0, raw))


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop connected parts (faces, edges and corners connect) that are specks, never the largest; in place."""
    [box] = ndimage.find_objects(mask.view(np.uint8)) or [None]
    if box is None:
        return mask
    inside = mask[box]
    parts, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.reshape(-1))
        sizes[0] = 0
        fewest = SPECK_SHARE * sizes.max() if len(mask) > 1 else min(SPECK_AREA * mask.size, sizes.max())
        inside &= (sizes >= fewest)[parts]
    return mask
