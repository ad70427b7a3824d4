"""Models that need no weights: one that does what it must, and others that do not. Named `doubles:Class` by tests."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence

import numpy as np

from inference.card import ImageKind, LabelCode, LearnedLabel, ModelCard, Region
from inference.errors import InputRefused
from inference.interface import (
    Answer,
    NotAssessed,
    NotAssessedReason,
    PredictorDescription,
    Progress,
    Question,
    SeenTarget,
    SliceStack,
)

RANGES = {"liver": (90, 117), "spleen": (118, 150), "kidney left": (160, 193), "kidney right": (160, 193)}
LIVER = LabelCode("10200004", "SCT", "Liver")


def described(name: str) -> PredictorDescription:
    return PredictorDescription(name, "1", hashlib.sha256(name.encode()).hexdigest(), None)


class Threshold:
    """Draws organs of the phantom by their HU, and tells sides by the stack's letters."""

    description = described("threshold")

    @property
    def card(self) -> ModelCard:
        learned = (
            LearnedLabel(label, "CT", ImageKind.SECTION, frozenset({Region.ABDOMEN}), frozenset(), 10)
            for label in RANGES
        )
        return ModelCard(tuple(learned), {"CT": (-160.0, 240.0)}, {"liver": LIVER}, (0.1, 0.3))

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        if not np.isfinite(stack.values).all():
            raise InputRefused("the stack holds values that are not finite")
        return tuple(self._target(stack, label) for label in labels)

    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        low, high = RANGES[label]
        # An organ is what remains when specks of noise are gone: a voxel whose neighbours along the row are in range.
        inside = (stack.values >= low) & (stack.values <= high)
        mask = inside & np.roll(inside, 1, 2) & np.roll(inside, -1, 2)
        side = label.rpartition(" ")[2]
        if side in ("left", "right"):
            left_half = (side == "left") == (stack.context.letters[0] == "L")
            half = mask.shape[2] // 2
            mask[:, :, half:] &= not left_half
            mask[:, :, :half] &= left_half
        return SeenTarget(label, 0.9, mask, self.card.codes.get(label)) if mask.sum() > 50 else None

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        reason = NotAssessed("appendix", NotAssessedReason.LABEL, "this model has not learned appendix")
        targets = tuple(target for target in self.locate(stack, ["liver"]) if target is not None)
        said = "liver after " + ", ".join(turn.question for turn in questions[0].earlier)
        return tuple(Answer(question, said, targets, (0,), ("spleen",), (reason,)) for question in questions)

    def likeness(self, stack: SliceStack) -> float | None:
        return 0.75


class Mirrored(Threshold):
    """Draws every mask as in a mirror."""

    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        target = super()._target(stack, label)
        return target and SeenTarget(label, target.confidence, target.mask[:, :, ::-1], target.code)


class WrongGrid(Threshold):
    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        return SeenTarget(label, 0.9, np.ones((1, 2, 3), dtype=np.bool_))


class WrongName(Threshold):
    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        return SeenTarget("heart", 0.9, np.ones(stack.values.shape[:3], dtype=np.bool_))


class TooSure(Threshold):
    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        return SeenTarget(label, 1.5, np.ones(stack.values.shape[:3], dtype=np.bool_))


class Failing(Threshold):
    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        raise RuntimeError("a text that quotes DOE^JANE")


class Dying(Threshold):
    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        os._exit(1)


class Waiting(Threshold):
    """Answers once `released` is set, which nobody does in another process."""

    released = threading.Event()

    def _target(self, stack: SliceStack, label: str) -> SeenTarget | None:
        self.released.wait(60)
        return None


class Other(Threshold):
    """The same with other weights."""

    description = described("other")


class Bare:
    """A predictor: it has no card."""

    description = described("bare")

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        return tuple(Answer(question, "nothing", (), ()) for question in questions)


class Lacking:
    description = described("lacking")

    def locate(self, stack: SliceStack, labels: Sequence[str]) -> tuple[SeenTarget | None, ...]:
        return ()


class Unbuildable:
    def __init__(self) -> None:
        raise OSError("weights.bin is not there")
