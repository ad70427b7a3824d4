"""Questions, answers and the stack of slices they are about. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Answer",
    "Exchange",
    "Predictor",
    "PredictorDescription",
    "Progress",
    "Question",
    "SeenTarget",
    "SliceStack",
]

Progress = Callable[[int, int], None]
"""Called with (slices done, slices in all)."""


@dataclass(frozen=True)
class Exchange:
    """An earlier question about the same stack, and what was answered; with `<p>`, `</p>` and `[SEG]` where known."""

    question: str
    answer: str


@dataclass(frozen=True)
class Question:
    """A clinical question as a person would ask it, e.g. "Where is the liver?".

    `earlier`: the conversation that it goes on from, oldest first.
    """

    text: str
    earlier: tuple[Exchange, ...] = ()


@dataclass(frozen=True)
class SliceStack:
    """Slices of one series as the model sees them, in display orientation.

    `values`: float32 `slices rows columns` in modality units (HU for CT), or uint8 `slices rows columns 3` RGB.
    `modality`: DICOM modality code (CT, MR, DX, US, ES, OP ...).
    `spacing_mm`: distance between slices, rows and columns, or None where it is not known.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    modality: str
    spacing_mm: tuple[float, float, float] | None


@dataclass(frozen=True)
class SeenTarget:
    """One thing the answer named between <p> and </p> [SEG], with its mask.

    `mask`: bool `slices rows columns` on the stack's grid. `confidence`: 0 to 1.
    """

    phrase: str
    confidence: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """A text answer and a mask for each thing it names; no targets means "not seen".

    `asked_slices`: indices of the slices whose answers this one is made of; masks are drawn on all slices.
    """

    question: Question
    text: str
    targets: tuple[SeenTarget, ...]
    asked_slices: tuple[int, ...]


@dataclass(frozen=True)
class PredictorDescription:
    """Which model answers. `digest` is sha256 over all weights; `terms` such as "research use only", or None."""

    name: str
    version: str
    digest: str
    terms: str | None


class Predictor(Protocol):
    """Answers questions about a stack of slices; deterministic for the same input."""

    @property
    def description(self) -> PredictorDescription: ...

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]: ...
