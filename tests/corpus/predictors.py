"""Predictors that always mark something: most faults of geometry and of writing pass when nothing is marked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack

__all__ = ["Mark", "MarkingPredictor", "bright", "middle"]

Mark = Callable[[SliceStack], NDArray[np.bool_]]
"""What is marked of a stack: bool `slices rows columns`."""

PHRASE = "bright voxels"
"""A phrase that has a code on every kind of image."""


def middle(stack: SliceStack) -> NDArray[np.bool_]:
    """An L in the middle of every slice but the first and the last, of every slice where there are no more than two.

    No turn and no flip leaves an L as it is.
    """
    slices, rows, columns = stack.values.shape[:3]
    mask = np.zeros((slices, rows, columns), dtype=np.bool_)
    inner = slice(1, -1) if slices > 2 else slice(None)
    mask[inner, rows // 3 : rows // 2 + 1, columns // 4 : columns // 2 + 1] = True
    mask[inner, rows // 2 : 2 * rows // 3 + 1, columns // 4 : columns // 4 + columns // 8 + 1] = True
    return mask


def bright(stack: SliceStack) -> NDArray[np.bool_]:
    """What is brighter than half way from the darkest to the brightest value of the stack."""
    values = stack.values if stack.values.ndim == 3 else stack.values.mean(axis=-1)
    low, high = float(values.min()), float(values.max())
    return np.asarray(values > low + 0.5 * (high - low))


class MarkingPredictor:
    """Answers every question with one target, `mark` of the stack. `marked`: voxels of each stack it was given."""

    description = PredictorDescription(
        name="marking", version="1", digest=hashlib.sha256(b"marking 1").hexdigest(), terms=None
    )

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self.marked: list[int] = []

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        mask = self._mark(stack)
        self.marked.append(int(mask.sum()))
        target = SeenTarget(PHRASE, 0.9, mask)
        slices = tuple(range(mask.shape[0]))
        return tuple(Answer(question, f"There are {PHRASE}.", (target,), slices) for question in questions)
