"""Questions, answers and the stack of slices they are about. No torch here.

A `Predictor` answers any question and knows its limits. A `Model` is what stands behind it: weights that draw what they
have learned. `inference/answering.py` makes a predictor of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.card import ImageKind, LabelCode, ModelCard, Plane, Region

__all__ = [
    "LOW_CONFIDENCE", "Alike", "Answer", "Exchange", "ImageContext", "ImageKind", "LabelCode", "Model", "NotAssessed",
    "NotAssessedReason", "Plane", "Predictor", "PredictorDescription", "Progress", "Question", "Region", "SeenTarget",
    "SliceStack",
]  # fmt: skip

LOW_CONFIDENCE = 0.5
"""Confidence below which a mask is shown and not measured: neither words nor report tell sizes of it."""

Progress = Callable[[int, int], None]
"""Called with (slices done, slices in all)."""

Alike = float | Mapping[str, float] | None
"""How alike a stack is to images that a model learned from, 0 to 1: to all of them, or by label to those that taught
it; None: the model has no measure."""


@dataclass(frozen=True)
class ImageContext:
    """What is known of a stack beside its pixels; every field may be unknown.

    `regions`: what codes and words of the header name; `contradicted`: they name regions that exclude each other.
    `perhaps_of`: what the header says less reliably (Body Part Examined), where nothing else in it names a region.
    `letters`: which side of the patient (R, L, A, P, H, F) lies at the picture's left, right, top and bottom.
    `affine`: 4 x 4, from slice, row, column, 1 of the stack to mm in the patient (LPS). `calibrated`: whether the
    spacing holds inside the patient, as it does not on a plain radiograph. `sex`: M, F, O or empty.
    """

    regions: frozenset[Region] = frozenset()
    contradicted: bool = False
    perhaps_of: frozenset[Region] = frozenset()
    plane: Plane | None = None
    kind: ImageKind | None = None
    letters: tuple[str, str, str, str] = ("", "", "", "")
    affine: tuple[tuple[float, ...], ...] | None = None
    calibrated: bool = False
    age_years: float | None = None
    sex: str = ""


@dataclass(frozen=True)
class Exchange:
    """An earlier question about the same stack, and what was answered; with `<p>`, `</p>` and `[SEG]` where known.

    `phrases`: the things that the answer named.
    """

    question: str
    answer: str
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A clinical question as a person would ask it, e.g. "Where is the liver?".

    `earlier`: the conversation that it goes on from, oldest first. `labels`: what the answer is to be about, as a
    reading protocol names its findings; empty: what the text says.
    """

    text: str
    earlier: tuple[Exchange, ...] = ()
    labels: tuple[str, ...] = ()


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
    context: ImageContext = ImageContext()


@dataclass(frozen=True)
class SeenTarget:
    """One thing the answer named between <p> and </p> [SEG], with its mask.

    `mask`: bool `slices rows columns` on the stack's grid. `confidence`: 0 to 1. `code`: where the model brings one.
    """

    phrase: str
    confidence: float
    mask: NDArray[np.bool_]
    code: LabelCode | None = None


class NotAssessedReason(StrEnum):
    """Why a thing that was asked for was not looked for; the values stand in results."""

    LABEL = "label-not-learned"
    MODALITY = "modality-not-learned"
    REGION = "region-not-learned"
    PLANE = "plane-not-learned"
    UNLIKE = "unlike-the-images-learned-from"
    UNSURE = "too-unsure"


@dataclass(frozen=True)
class NotAssessed:
    """A thing that was asked for and not looked for: neither seen nor not seen. `reason`: a sentence for people."""

    phrase: str
    why: NotAssessedReason
    reason: str


@dataclass(frozen=True)
class Answer:
    """A text answer and a mask for each thing it names.

    `asked_slices`: indices of the slices whose answers this one is made of; masks are drawn on all slices.
    `not_seen`: what was asked for, learned, looked for and not seen. `not_assessed`: what was asked for and could not
    be looked for. `question.labels` that stand in neither and have no target were not addressed.
    """

    question: Question
    text: str
    targets: tuple[SeenTarget, ...]
    asked_slices: tuple[int, ...]
    not_seen: tuple[str, ...] = ()
    not_assessed: tuple[NotAssessed, ...] = ()


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


class Model(Protocol):
    """Weights behind a predictor: they draw what they have learned, and nothing keeps them from drawing more.

    `locate` looks for things by name, each a label of the model's card, and gives one `SeenTarget` for each, None where
    it is not seen. `free_answer` answers a question as it is, where the model can; raises `NotImplementedError` where
    it can only look for labels. `likeness`: from 0, unlike anything it learned from, to 1: the share of its validation
    images that are no more alike; by label where it can tell which images taught what, None where it cannot at all.
    """

    @property
    def description(self) -> PredictorDescription: ...

    @property
    def card(self) -> ModelCard: ...

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]: ...

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]: ...

    def likeness(self, stack: SliceStack) -> Alike: ...
