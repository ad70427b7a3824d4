"""Ask a predictor the questions of a MedSeg-QA set, image by image, and score what it says and draws."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.errors import AnswerMalformed, InferenceError, InputRefused
from inference.evaluation.matching import matched, names
from inference.evaluation.scores import Scored, score_masks, summary
from inference.evaluation.text import text_scores
from inference.interface import Answer, Predictor, Question, SliceStack
from inference.medseg_qa.records import Record, Split, Turn, read_records
from inference.training.labels import canonical

__all__ = ["Case", "Evaluation", "check_split", "chosen_records", "evaluate", "stack_of"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Case:
    """One image with one question, for the picture grid; `score`: Dice.

    `image`, `true`: files of the set. `packed`: what was drawn on `shape` rows and columns, eight pixels to a byte:
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
    def drawn(self) -> NDArray[np.bool_]:
        """The mask that was drawn, bool `rows columns`."""
        rows, columns = self.shape
        return np.unpackbits(self.packed, count=rows * columns).reshape(rows, columns).astype(np.bool_)


@dataclass
class Evaluation:
    """What was measured so far."""

    scored: list[Scored] = field(default_factory=list)
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
    records = chosen_records(qa, split, most_per_set)
    result = Evaluation()
    for number, record in enumerate(records):
        turns = [turn for one in record.conversations for turn in one.turns if turn.standalone]
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


def stack_of(record: Record, qa: Path) -> SliceStack:
    """Return a record's image as a stack of one slice: RGB, as it is stored."""
    pixels = np.asarray(Image.open(qa / record.image).convert("RGB"))
    spacing = None if record.spacing_mm is None else (1.0, *record.spacing_mm)
    return SliceStack(pixels[None], record.modality, spacing, (0.0, 255.0))


def check_split(qa: Path, split: str) -> None:
    """Raise `InferenceError` for a split that does not exist or holds no image, `SourceError` where `qa` is no set."""
    names = [one.value for one in Split]
    if split not in names:
        raise InferenceError(f"there is no split {split!r}; it is one of {', '.join(names)}")
    if next(iter(read_records(qa, None if split == "all" else split)), None) is None:
        raise InferenceError(f"the split {split} of {qa} holds no image; choose another split")


def chosen_records(qa: Path, split: str, most_per_set: int | None) -> list[Record]:
    """Return the records of a split (`all`: of every split), at most so many of each data set, evenly spaced."""
    by_set: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(qa, None if split == "all" else split):
        by_set[record.dataset].append(record)
    chosen: list[Record] = []
    for records in by_set.values():
        count = len(records) if most_per_set is None else min(len(records), most_per_set)
        places = np.linspace(0, len(records) - 1, count).round().astype(int)
        chosen += [records[place] for place in places]
    return chosen


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
    places = matched(record, turn, [one.phrase for one in targets])
    given = {label: targets[place] for label, place in places.items()}
    for index in turn.targets:
        target = record.targets[index]
        with Image.open(qa / target.mask) as picture:
            true = np.asarray(picture) > 127
        found = given.get(target.label)
        drawn = None if found is None else found.mask[0]
        confidence = None if found is None else found.confidence
        one = score_masks(canonical(target.label), record.id, drawn, true, confidence)
        named = found is None or names(found.phrase, {target.label, target.phrase})
        result.scored.append(replace(one, named=named, kind=turn.kind.value))
        packed = np.packbits(np.zeros_like(true) if drawn is None else drawn)
        result.cases.append(
            Case(record.image, one.label, turn.question, one.dice or 0.0, target.mask, packed, true.shape)
        )
    for label in turn.absent:
        found = given.get(label)
        drawn, confidence = (None, None) if found is None else (found.mask[0], found.confidence)
        one = score_masks(canonical(label), record.id, drawn, None, confidence)
        result.scored.append(replace(one, kind=turn.kind.value))
    result.answers.append("" if answer is None else answer.text)
    result.references.append(_plain(turn.answer))


def _plain(text: str) -> str:
    """Return an answer without its marks, as a predictor's text is."""
    for mark in ("<p>", "</p>", "[SEG]"):
        text = text.replace(mark, " ")
    return " ".join(text.split()).replace(" .", ".").replace(" ,", ",").replace(" ;", ";")
