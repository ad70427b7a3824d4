"""Stacks, questions, answers and descriptions as messages, and back; what comes from the other side is checked whole.

A message that came names its arrays by number. Keys that are not known are passed over, so that one side may be newer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from inference.card import LabelCode, ModelCard, card_from_json, card_to_json
from inference.errors import CheckpointError
from inference.interface import (
    Answer,
    ImageContext,
    NotAssessed,
    PredictorDescription,
    Question,
    SeenTarget,
    SliceStack,
)
from inference.wire.frame import MOST_BYTES, BadMessage

__all__ = [
    "PROTOCOL", "Description", "answers_from", "answers_message", "description_from", "description_message",
    "questions_from", "questions_message", "stack_from", "stack_message", "target_from", "targets_message", "texts",
]  # fmt: skip

PROTOCOL = 1
"""The version that both sides must speak."""

_MOST_TEXT, _MOST_ENTRIES, _LONGEST_NAME = 100_000, 10_000, 128
_Any = TypeVar("_Any")


@dataclass(frozen=True)
class Description:
    """What a server says of itself. `card`: None for a predictor, which draws its own limits and takes questions only.

    `most_bytes`: the largest message that it takes.
    """

    predictor: PredictorDescription
    card: ModelCard | None
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class _Stack:
    array: int
    modality: str
    spacing_mm: tuple[float, float, float] | None
    context: ImageContext


@dataclass(frozen=True)
class _Target:
    phrase: str
    confidence: float
    array: int
    code: LabelCode | None = None


@dataclass(frozen=True)
class _Answer:
    text: str
    targets: tuple[_Target, ...] = ()
    asked_slices: tuple[int, ...] = ()
    not_seen: tuple[str, ...] = ()
    not_assessed: tuple[NotAssessed, ...] = ()


# --- Descriptions -----------------------------------------------------------------------------------------------------


def description_message(description: Description) -> dict[str, Any]:
    """What a server says of itself, as JSON."""
    return {"protocol": PROTOCOL, **_plain(Description, description)}


def description_from(message: object) -> Description:
    """The inverse. Raises `BadMessage`, for another version of the protocol too."""
    if not isinstance(message, Mapping) or message.get("protocol") != PROTOCOL:
        raise BadMessage(f"it does not speak version {PROTOCOL} of the protocol: another program, or a newer one")
    described = _read(Description, message, "its description")
    if described.card is not None:
        try:  # what a card must not say in a file it must not say here
            card_from_json(card_to_json(described.card), "its card")
        except CheckpointError as error:
            raise BadMessage(str(error)) from error
    if described.most_bytes < 1:
        raise BadMessage("it takes no message at all")
    named = described.predictor
    for key, said in (("name", named.name), ("version", named.version), ("digest", named.digest)):
        if not said.strip() or len(said) > _LONGEST_NAME or not said.isprintable():
            raise BadMessage(f"its {key} is empty, longer than {_LONGEST_NAME} characters, or not printable")
    if len(named.terms or "") > _LONGEST_NAME or not (named.terms or "").isprintable():
        raise BadMessage(f"its terms are longer than {_LONGEST_NAME} characters, or not printable")
    return described


# --- Questions and stacks ---------------------------------------------------------------------------------------------


def stack_message(stack: SliceStack, array: int) -> dict[str, Any]:
    """A stack whose values are the message's array `array`."""
    message: dict[str, Any] = _plain(_Stack, _Stack(array, stack.modality, stack.spacing_mm, stack.context))
    return message


def stack_from(message: object, arrays: Sequence[NDArray[Any]]) -> SliceStack:
    """The inverse: float32 `slices rows columns` or uint8 `slices rows columns 3`. Raises `BadMessage`."""
    stack = _read(_Stack, message, "the stack")
    values = _numbered(arrays, stack.array, "the stack")
    grey = values.ndim == 3 and values.dtype == np.float32
    colour = values.ndim == 4 and values.shape[-1] == 3 and values.dtype == np.uint8
    if not (grey or colour) or 0 in values.shape:
        raise BadMessage(f"the stack is {values.dtype} {values.shape}: neither float32 slices nor uint8 RGB slices")
    if stack.spacing_mm is not None and not all(math.isfinite(mm) and mm > 0 for mm in stack.spacing_mm):
        raise BadMessage("the stack has a spacing that is not above 0")
    affine = stack.context.affine
    if affine is not None and (len(affine) != 4 or any(len(row) != 4 for row in affine)):
        raise BadMessage("the stack's affine is not 4 x 4")
    return SliceStack(values, stack.modality, stack.spacing_mm, stack.context)


def questions_message(questions: Sequence[Question]) -> list[Any]:
    """Questions with their earlier turns and labels."""
    return [_plain(Question, question) for question in questions]


def questions_from(message: object) -> tuple[Question, ...]:
    """The inverse. Raises `BadMessage`."""
    return _read(tuple[Question, ...], message, "the questions")


def texts(message: object, what: str) -> tuple[str, ...]:
    """A list of texts. Raises `BadMessage`."""
    return _read(tuple[str, ...], message, what)


# --- Answers ----------------------------------------------------------------------------------------------------------


def targets_message(targets: Sequence[SeenTarget | None], arrays: list[NDArray[Any]]) -> list[Any]:
    """Targets, whose masks are put behind `arrays`."""
    message: list[Any] = []
    for target in targets:
        if target is None:
            message.append(None)
            continue
        kept = _Target(target.phrase, float(target.confidence), len(arrays), target.code)
        message.append(_plain(_Target, kept))
        arrays.append(np.asarray(target.mask, dtype=np.bool_))
    return message


def target_from(message: object, arrays: Sequence[NDArray[Any]], stack: SliceStack) -> SeenTarget:
    """One target with its mask on the stack's grid, which marks something. Raises `BadMessage`."""
    target = _read(_Target, message, "a target")
    mask = _numbered(arrays, target.array, repr(target.phrase))
    if mask.dtype != np.bool_ or mask.shape != stack.values.shape[:3]:
        raise BadMessage(
            f"the mask of {target.phrase!r} is {mask.dtype} {mask.shape}; the stack has {stack.values.shape[:3]}"
        )
    if not 0 <= target.confidence <= 1:
        raise BadMessage(f"the confidence of {target.phrase!r} is {target.confidence:g}, not from 0 to 1")
    if len(target.phrase) > _LONGEST_NAME or not target.phrase.isprintable():
        raise BadMessage(f"the name of a target is longer than {_LONGEST_NAME} characters, or not printable")
    if not target.phrase.strip() or not mask.any():
        raise BadMessage(f"{target.phrase!r} is said to be seen, and nothing is marked")
    return SeenTarget(target.phrase, target.confidence, mask, target.code)


def answers_message(answers: Sequence[Answer], arrays: list[NDArray[Any]]) -> list[Any]:
    """Answers, whose masks are put behind `arrays`; the questions are not sent back."""
    message = []
    for answer in answers:
        kept = _Answer(answer.text, (), answer.asked_slices, answer.not_seen, answer.not_assessed)
        message.append(_plain(_Answer, kept) | {"targets": targets_message(answer.targets, arrays)})
    return message


def answers_from(
    message: object, arrays: Sequence[NDArray[Any]], stack: SliceStack, questions: Sequence[Question]
) -> tuple[Answer, ...]:
    """An answer to each question, in order. Raises `BadMessage`."""
    if not isinstance(message, list) or len(message) != len(questions):
        raise BadMessage(f"{len(questions)} questions were asked, and that many answers did not come")
    answers = []
    slices = stack.values.shape[0]
    for question, entry in zip(questions, message, strict=True):
        answer = _read(_Answer, entry, "an answer")
        if not all(0 <= index < slices for index in answer.asked_slices):
            raise BadMessage(f"an answer speaks of slices that are not there; the stack has {slices}")
        targets = tuple(target_from(target, arrays, stack) for target in entry.get("targets", ()))
        answers.append(
            Answer(question, answer.text, targets, answer.asked_slices, answer.not_seen, answer.not_assessed)
        )
    return tuple(answers)


# --- Reading and writing ----------------------------------------------------------------------------------------------


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(kind: Any, value: object) -> Any:
    return _adapter(kind).dump_python(value, mode="json")


def _read(kind: type[_Any], message: object, what: str) -> _Any:
    """`message` as `kind`; the error names the key, never the value, which may be of a patient."""
    _check_length(message, what)
    try:
        # Through JSON once more: strict there means that a number is a number, and an enumeration still takes its text.
        read: _Any = _adapter(cast(Hashable, kind)).validate_json(json.dumps(message), strict=True)
    except (ValidationError, RecursionError) as error:
        mistakes = error.errors(include_input=False, include_url=False) if isinstance(error, ValidationError) else []
        where = ".".join(map(str, mistakes[0]["loc"])) if mistakes else ""
        why = mistakes[0]["msg"] if mistakes else "too deep"
        raise BadMessage(f"{what} cannot be read: {where + ': ' if where else ''}{why}") from None
    return read


def _check_length(message: object, what: str) -> None:
    if isinstance(message, str) and len(message) > _MOST_TEXT:
        raise BadMessage(f"{what} holds a text of {len(message)} characters; {_MOST_TEXT} are taken")
    if isinstance(message, list | dict):
        if len(message) > _MOST_ENTRIES:
            raise BadMessage(f"{what} holds a list of {len(message)} entries; {_MOST_ENTRIES} are taken")
        for entry in message.values() if isinstance(message, dict) else message:
            _check_length(entry, what)


def _numbered(arrays: Sequence[NDArray[Any]], number: int, what: str) -> NDArray[Any]:
    if not 0 <= number < len(arrays):
        raise BadMessage(f"{what} names array {number}; there are {len(arrays)}")
    return arrays[number]
