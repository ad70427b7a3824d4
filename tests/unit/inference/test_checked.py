"""A class of an installed package that promises one thing and gives another: nothing of it is delivered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inference.answering import AnsweringPredictor
from inference.checked import CheckedModel, CheckedPredictor
from inference.errors import AnswerMalformed
from inference.interface import Answer, NotAssessed, NotAssessedReason, Question, SeenTarget
from tests.unit.inference.fake_model import FakeModel, stack

LIVER = Question("Where is the liver?")
Spoil = Callable[[SeenTarget], SeenTarget]


class Lying(FakeModel):
    """Spoils what it has drawn."""

    spoil: Spoil

    def locate(self, *asked: Any, **how: Any) -> tuple[SeenTarget | None, ...]:
        return tuple(target and self.spoil(target) for target in super().locate(*asked, **how))


LIES: dict[str, Spoil] = {
    "'liver' was asked for, and 'spleen' came": lambda target: replace(target, phrase="spleen"),
    "confidence of 'liver' is nan": lambda target: replace(target, confidence=float("nan")),
    "confidence of 'liver' is -1": lambda target: replace(target, confidence=-1.0),
    r"mask of 'liver' is bool \(2, 8, 16\)": lambda target: replace(target, mask=target.mask[:, :8]),
    "mask of 'liver' is uint8": lambda target: replace(target, mask=target.mask.astype(np.uint8)),
    "nothing is marked": lambda target: replace(target, mask=np.zeros_like(target.mask)),
    "wanted to end": lambda _target: sys.exit(3),
}


@pytest.mark.parametrize("said", LIES)
def test_what_is_no_answer_to_what_was_asked_is_named_and_not_delivered(said: str) -> None:
    model = Lying({"liver": 0.9}, alike=0.5)
    model.spoil = LIES[said]
    with pytest.raises(AnswerMalformed, match=said):
        AnsweringPredictor(CheckedModel(model)).answer(stack(), [LIVER])


@pytest.mark.parametrize("alike", [float("nan"), 9.0, None])
def test_a_likeness_that_is_none_opens_no_gate(alike: float | None) -> None:
    with pytest.raises(AnswerMalformed, match="like"):
        AnsweringPredictor(CheckedModel(FakeModel({"liver": 0.9}, alike=alike))).answer(stack(), [LIVER])


class Saying:
    """A predictor with words of its own."""

    description = FakeModel({}).description

    def __init__(self, answer: Answer) -> None:
        self.said = answer

    def answer(self, *_asked: object, **_how: object) -> tuple[Answer, ...]:
        return (self.said,)


def test_words_that_cannot_be_seen_are_taken_out_of_what_another_says() -> None:
    hidden = "liver\x00 \x1b[31m\u202espleen"
    said = Answer(LIVER, hidden, (), (), (), (NotAssessed("liver", NotAssessedReason.UNSURE, hidden * 99),))
    [answer] = CheckedPredictor(Saying(said)).answer(stack(), [LIVER])
    assert answer.text == "liver [31m spleen"
    assert len(answer.not_assessed[0].reason) == 500 and answer.not_assessed[0].reason.isprintable()
    for wrong in (
        replace(said, not_seen=("liver\x00",)),
        replace(said, asked_slices=(9,)),
        replace(said, text="a" * 10**6),
    ):
        with pytest.raises(AnswerMalformed):
            CheckedPredictor(Saying(wrong)).answer(stack(), [LIVER])
    with pytest.raises(AnswerMalformed, match="2 questions were asked, and 1 answers came"):
        CheckedPredictor(Saying(said)).answer(stack(), [LIVER, LIVER])
