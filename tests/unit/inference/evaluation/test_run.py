"""Asking a whole set, with a predictor that draws what the test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.errors import InputRefused
from inference.evaluation.run import evaluate
from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from inference.medseg_qa.records import Record, read_records

Draw = Callable[[str, Record], Sequence[tuple[str, np.ndarray]]]


class Scripted:
    """A predictor that knows which record it is shown and draws what it was told to."""

    description = PredictorDescription("scripted", "0", "0" * 64, None)

    def __init__(self, qa: Path, draw: Draw) -> None:
        self._draw = draw
        self._records = {
            np.asarray(Image.open(qa / one.image).convert("RGB")).tobytes(): one for one in read_records(qa)
        }

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        record = self._records[stack.values.tobytes()]
        answers = []
        for question in questions:
            drawn = self._draw(question.text, record)
            targets = tuple(SeenTarget(phrase, 0.5, mask[None]) for phrase, mask in drawn)
            answers.append(Answer(question, "something", targets, (0,)))
        return tuple(answers)


def _everything(qa: Path) -> Draw:
    """Draw every target of the record exactly, whatever is asked."""

    def draw(_: str, record: Record) -> Sequence[tuple[str, np.ndarray]]:
        return [(one.phrase, np.asarray(Image.open(qa / one.mask)) > 127) for one in record.targets]

    return draw


def test_exact_masks_score_one(qa_set: Path) -> None:
    result = evaluate(Scripted(qa_set, _everything(qa_set)), qa_set, "test").to_json()
    assert result["overall"]["present_recall"] == 1.0
    assert {row["dice"] for row in result["labels"].values() if row["n"]} == {1.0}
    asked = {
        turn.kind.value
        for record in read_records(qa_set, "test")
        for one in record.conversations
        for turn in one.turns
        if turn.asked
    }
    assert set(result["kinds"]) == asked
    assert result["questions"] == sum(
        len(one.turns) for record in read_records(qa_set, "test") for one in record.conversations
    )


def test_nothing_drawn_scores_zero_and_is_right_about_what_is_absent(qa_set: Path) -> None:
    result = evaluate(Scripted(qa_set, lambda *_: []), qa_set, "all").to_json()
    assert result["overall"]["present_recall"] == 0.0
    assert result["overall"]["absent_specificity"] == 1.0
    assert result["overall"]["giou"] in (0.0, None)
    assert result["images"] == len(list(read_records(qa_set)))


def test_masks_under_another_name_are_counted(qa_set: Path) -> None:
    def renamed(_: str, record: Record) -> Sequence[tuple[str, np.ndarray]]:
        return [("retinal fold", np.ones(record.size, dtype=np.bool_)) for one in record.targets]

    result = evaluate(Scripted(qa_set, renamed), qa_set, "test").to_json()
    assert result["overall"]["misnamed"] == 1.0
    right = evaluate(Scripted(qa_set, _everything(qa_set)), qa_set, "test").to_json()
    assert right["overall"]["misnamed"] == 0.0


def test_a_mask_in_another_place_does_not_count(qa_set: Path) -> None:
    def swapped(_: str, record: Record) -> Sequence[tuple[str, np.ndarray]]:
        shape = record.size
        corner = np.zeros(shape, dtype=np.bool_)
        corner[-1, -1] = True
        return [(one.phrase, corner) for one in record.targets]

    result = evaluate(Scripted(qa_set, swapped), qa_set, "test").to_json()
    assert result["overall"]["present_recall"] == 1.0
    assert all(row["dice"] == 0.0 for row in result["labels"].values() if row["n"])


def test_a_refused_question_costs_no_other(qa_set: Path) -> None:
    inner = Scripted(qa_set, _everything(qa_set))
    first = next(turn for one in read_records(qa_set, "test") for talk in one.conversations for turn in talk.turns)

    class Refusing(Scripted):
        def answer(
            self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
        ) -> tuple[Answer, ...]:
            if any(one.text == first.question for one in questions):
                raise InputRefused("too long")
            return inner.answer(stack, questions)

    result = evaluate(Refusing(qa_set, _everything(qa_set)), qa_set, "test").to_json()
    assert 0 < result["refused"] < result["questions"]


def test_images_of_a_set_are_evenly_spaced(qa_set: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate(
        Scripted(qa_set, lambda *_: []), qa_set, "all", most_per_set=2, progress=lambda *done: seen.append(done)
    )
    assert result.images == 2
    assert seen == [(1, 2), (2, 2)]


@pytest.fixture
def qa_set(make_qa: Callable[[], Path]) -> Path:
    return make_qa()
