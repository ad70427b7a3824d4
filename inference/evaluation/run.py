"""Ask a predictor the questions of a MedSeg-QA set, image by image, and score its texts and masks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.errors import AnswerMalformed, InputRefused
from inference.evaluation.scores import TargetScore, score_masks, summary
from inference.evaluation.text import text_scores
from inference.interface import Answer, Predictor, Progress, Question, SliceStack
from inference.medseg_qa.labels import canonical
from inference.medseg_qa.matching import match_phrases, names_label
from inference.medseg_qa.records import Record, Turn
from inference.medseg_qa.splits import select_records
from inference.medseg_qa.stacks import stack_of
from inference.medseg_r.answers import without_markup

__all__ = ["Case", "Evaluation", "evaluate", "stack_of"]


@dataclass(frozen=True)
class Case:
    """One image with one question, for the picture grid; `score`: Dice.

    `image`, `true`: files of the set. `packed`: the predicted mask on `shape` rows and columns, eight pixels to a byte:
    there are as many cases as questions.
    """

    image: str
    label: str
    question: str
    score: float
    true: str
    packed: NDArray[np.uint8]
    shape: tuple[int, int]

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """The predicted mask, bool `rows columns`."""
        rows, columns = self.shape
        return np.unpackbits(self.packed, count=rows * columns).reshape(rows, columns).astype(np.bool_)


@dataclass
class Evaluation:
    """What was measured so far."""

    scored: list[TargetScore] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    refused: int = 0
    images: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return `overall`, `labels`, `kinds`, `text`, `images`, `questions`, `refused`, `seconds_per_image`."""
        result = summary(self.scored)
        result["text"] = text_scores(self.answers, self.references) if self.answers else None
        result["images"], result["questions"], result["refused"] = self.images, len(self.answers), self.refused
        result["seconds_per_image"] = round(self.seconds / max(1, self.images), 4)
        return result


def evaluate(
    predictor: Predictor,
    qa: Path,
    split: str,
    *,
    most_per_set: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask every question of a split (`all`: of every split) that stands alone; images of a set evenly spaced.

    All questions about an image are asked at once, as a node would. A question that the predictor refuses (too
    long), or answers against the grammar, counts as not answered. Raises `SourceError` where `qa` holds no set.
    """
    records = select_records(qa, split, most_per_set)
    result = Evaluation()
    for number, record in enumerate(records):
        turns = [turn for talk in record.conversations for turn in talk.turns if turn.standalone]
        if not turns:
            continue
        stack = stack_of(record, qa)
        started = time.monotonic()
        answers = _answers(predictor, stack, turns)
        result.seconds += time.monotonic() - started
        result.images += 1
        for turn, answer in zip(turns, answers, strict=True):
            _score(result, record, qa, turn, answer)
        if progress is not None:
            progress(number + 1, len(records))
    return result


def _answers(predictor: Predictor, stack: SliceStack, turns: Sequence[Turn]) -> list[Answer | None]:
    questions = [Question(turn.question) for turn in turns]
    try:
        return list(predictor.answer(stack, questions))
    except (AnswerMalformed, InputRefused):  # one of them: ask them one by one, so that the others count
        return [_answer_alone(predictor, stack, question) for question in questions]


def _answer_alone(predictor: Predictor, stack: SliceStack, question: Question) -> Answer | None:
    try:
        return predictor.answer(stack, [question])[0]
    except (AnswerMalformed, InputRefused):
        return None


def _score(result: Evaluation, record: Record, qa: Path, turn: Turn, answer: Answer | None) -> None:
    if answer is None:
        result.refused += 1
    targets = () if answer is None else answer.targets
    places = match_phrases(record, turn, [target.phrase for target in targets])
    given = {label: targets[place] for label, place in places.items()}
    for index in turn.targets:
        target = record.targets[index]
        with Image.open(qa / target.mask) as picture:
            true = np.asarray(picture) > 127
        seen = given.get(target.label)
        mask = None if seen is None else seen.mask[0]
        score = score_masks(canonical(target.label), record.id, mask, true, None if seen is None else seen.confidence)
        named = seen is None or names_label(seen.phrase, {target.label, target.phrase})
        result.scored.append(replace(score, named=named, kind=turn.kind.value))
        packed = np.packbits(np.zeros_like(true) if mask is None else mask)
        result.cases.append(
            Case(record.image, score.label, turn.question, score.dice or 0.0, target.mask, packed, true.shape)
        )
    for label in turn.absent:
        seen = given.get(label)
        mask, confidence = (None, None) if seen is None else (seen.mask[0], seen.confidence)
        score = score_masks(canonical(label), record.id, mask, None, confidence)
        result.scored.append(replace(score, kind=turn.kind.value))
    result.answers.append("" if answer is None else answer.text)
    result.references.append(without_markup(turn.answer).replace(" ;", ";"))
