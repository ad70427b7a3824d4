"""A model that draws what it is told to: a double of what stands behind `AnsweringPredictor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.card import ImageKind, LearnedLabel, ModelCard, Plane, Region
from inference.interface import Alike, Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack

ABDOMEN = frozenset({Region.ABDOMEN})


def learned(label: str, modality: str = "CT", *, least: float | None = None) -> LearnedLabel:
    """An entry of a card: a label of the abdomen on axial sections."""
    return LearnedLabel(label, modality, ImageKind.SECTION, ABDOMEN, frozenset({Plane.AXIAL}), 90, 20, least)


DESCRIPTION = PredictorDescription("fake", "1", "0" * 64, None)
CARD = ModelCard(
    labels=(
        learned("liver"),
        learned("spleen", least=0.6),
        learned("kidney left"),
        learned("kidney right"),
        learned("left ventricle cavity", "MR"),
    ),
    likeness_limits=(0.02, 0.1),
)


def stack(modality: str = "CT", slices: int = 2) -> SliceStack:
    values = np.arange(slices * 16 * 16, dtype=np.float32).reshape(slices, 16, 16)
    return SliceStack(values, modality, (5.0, 1.0, 1.0))


@dataclass
class FakeModel:
    """`confidences`: of what it sees, by label. `says`: its own answers, in order; None: it only looks for labels.

    `looked_for`: what `locate` was called with, call by call. `encoded`: how often it looked at images.
    """

    confidences: Mapping[str, float]
    card: ModelCard = CARD
    alike: Alike = None
    says: Sequence[Mapping[str, float]] | None = None
    looked_for: list[tuple[str, ...]] = field(default_factory=list)
    description: PredictorDescription = DESCRIPTION

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        self.looked_for.append(tuple(labels))
        self._tell(stack, progress)
        return tuple(
            _target(stack, label, self.confidences[label]) if label in self.confidences else None for label in labels
        )

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        if self.says is None:
            raise NotImplementedError
        self._tell(stack, progress)
        return tuple(
            Answer(question, "own words", tuple(_target(stack, *item) for item in named.items()), (0,))
            for question, named in zip(questions, self.says, strict=True)
        )

    def likeness(self, stack: SliceStack) -> Alike:
        return self.alike

    @staticmethod
    def _tell(stack: SliceStack, progress: Progress | None) -> None:
        for number in range(len(stack.values)):
            if progress is not None:
                progress(number + 1, len(stack.values))


def _target(stack: SliceStack, label: str, confidence: float) -> SeenTarget:
    mask = np.zeros(stack.values.shape[:3], dtype=np.bool_)
    mask[:, 4:8, 4:8] = True
    return SeenTarget(label, confidence, mask)
