"""A program that we do not know, held to what it promised: what it gives is checked before anything is made of it.

A mask under another name, on another grid or with a confidence that is none would be delivered as a finding otherwise.
What comes from a remote predictor is checked where it is unpacked; words and likeness are checked here for both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from inference.card import ModelCard
from inference.errors import AnswerMalformed
from inference.interface import (
    Alike,
    Answer,
    Model,
    NotAssessed,
    Predictor,
    PredictorDescription,
    Progress,
    Question,
    SeenTarget,
    SliceStack,
)

__all__ = ["CheckedModel", "CheckedPredictor", "ends_nothing", "plain_text"]

_LONGEST_NAME, _LONGEST_REASON, _LONGEST_TEXT = 128, 500, 100_000
_UNSEEN = re.compile(r"[^\S\n]+")


class CheckedPredictor:
    """A predictor whose answers are taken only where they are answers to what was asked.

    `answer` raises `AnswerMalformed` for others, and what the predictor raises.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def description(self) -> PredictorDescription:
        """Which model answers."""
        return self.predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Have each question answered; masks are bool `slices rows columns` on the stack's grid."""
        with ends_nothing():
            answers = self.predictor.answer(stack, questions, progress=progress)
        return _answers(answers, questions, stack)


class CheckedModel:
    """A `Model` that draws only what it was asked for. Raises `AnswerMalformed`, and what the model raises."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def description(self) -> PredictorDescription:
        """Which model answers."""
        return self.model.description

    @property
    def card(self) -> ModelCard:
        """What it has learned."""
        return self.model.card

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        """Have each label looked for; a target under another name is not taken for it."""
        with ends_nothing():
            targets = self.model.locate(stack, labels, progress=progress)
        if len(targets) != len(labels):
            raise AnswerMalformed(f"{len(labels)} labels were asked for, and {len(targets)} targets came")
        for label, target in zip(labels, targets, strict=True):
            if target is not None:
                _check_target(target, stack)
                if target.phrase != label:
                    raise AnswerMalformed(f"{label!r} was asked for, and {target.phrase!r} came")
        return tuple(targets)

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Have questions answered as they are. Raises `NotImplementedError` where it can only look for labels."""
        with ends_nothing():
            answers = self.model.free_answer(stack, questions, progress=progress)
        return _answers(answers, questions, stack)

    def likeness(self, stack: SliceStack) -> Alike:
        """How like the images that it learned from the stack is; needed where its card sets limits."""
        with ends_nothing():
            likeness = self.model.likeness(stack)
        if likeness is None:
            if self.card.likeness_limits is not None:
                raise AnswerMalformed(
                    "its card sets limits of likeness, and it does not say how alike these images are"
                )
            return None
        if isinstance(likeness, Mapping):
            return {str(label): _share(value) for label, value in likeness.items()}
        return _share(likeness)


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is not either
        raise AnswerMalformed(f"a likeness of {value} is not from 0 to 1")
    return float(value)


@contextmanager
def ends_nothing() -> Iterator[None]:
    """Keep a program that we do not know from ending ours."""
    try:
        yield
    except SystemExit as error:
        raise AnswerMalformed("the model's program wanted to end (sys.exit)") from error


def plain_text(text: str) -> str:
    """Return a text without characters that cannot be seen, such as NUL or those that turn the direction of writing."""
    seen = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return _UNSEEN.sub(" ", seen).strip()


def _answers(answers: Sequence[Answer], questions: Sequence[Question], stack: SliceStack) -> tuple[Answer, ...]:
    if len(answers) != len(questions):
        raise AnswerMalformed(f"{len(questions)} questions were asked, and {len(answers)} answers came")
    return tuple(_answer(answer, question, stack) for answer, question in zip(answers, questions, strict=True))


def _answer(answer: Answer, question: Question, stack: SliceStack) -> Answer:
    for target in answer.targets:
        _check_target(target, stack)
    for name in (*answer.not_seen, *(one.phrase for one in answer.not_assessed)):
        _check_name(name)
    if not isinstance(answer.text, str) or len(answer.text) > _LONGEST_TEXT:
        raise AnswerMalformed(f"its text is none, or longer than {_LONGEST_TEXT} characters")
    if not all(0 <= index < len(stack.values) for index in answer.asked_slices):
        raise AnswerMalformed(f"it speaks of slices that are not there; the stack has {len(stack.values)}")
    reasons = tuple(_reasoned(one) for one in answer.not_assessed)
    return replace(answer, question=question, text=plain_text(answer.text), not_assessed=reasons)


def _reasoned(one: NotAssessed) -> NotAssessed:
    return replace(one, reason=plain_text(one.reason)[:_LONGEST_REASON])


def _check_target(target: SeenTarget, stack: SliceStack) -> None:
    _check_name(target.phrase)
    mask, confidence = target.mask, target.confidence
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != stack.values.shape[:3]:
        kind = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise AnswerMalformed(f"the mask of {target.phrase!r} is {kind}; the stack has {stack.values.shape[:3]}")
    if not isinstance(confidence, int | float | np.floating) or not (
        math.isfinite(confidence) and 0 <= confidence <= 1
    ):
        raise AnswerMalformed(f"the confidence of {target.phrase!r} is {confidence!r:.20}, not from 0 to 1")
    if not mask.any():
        raise AnswerMalformed(f"{target.phrase!r} is said to be seen, and nothing is marked")


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise AnswerMalformed(f"a name is empty, longer than {_LONGEST_NAME} characters, or not printable")
