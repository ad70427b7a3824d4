"""A predictor without weights that proves geometry: it marks what is burnt in near the top of the stored range."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.errors import InputRefused
from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack

__all__ = ["CommissioningPredictor"]

_FRACTION_OF_RANGE = 0.9
_VERSION = "1"


class CommissioningPredictor:
    """Marks every voxel above low + 0.9 (high - low) of its slice's `SliceStack.stored_ranges`.

    Each question, whatever it says, gets the same target "bright voxels", or none where no voxel is that bright.
    A colour stack counts as bright where its mean over the channels is.
    Raises `InputRefused` for a stack with other axes than `slices rows columns [3]`, and for a range without extent.
    """

    description = PredictorDescription(
        name="commissioning",
        version=_VERSION,
        digest=hashlib.sha256(f"commissioning {_VERSION} above {_FRACTION_OF_RANGE}".encode()).hexdigest(),
        terms=None,
    )

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Answer every question with the bright voxels of the stack: bool `slices rows columns`."""
        thresholds = _thresholds(stack.stored_ranges)
        values = stack.values
        if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[-1] != 3):
            raise InputRefused(
                f"a stack has the axes slices rows columns, or slices rows columns 3; this one is {values.shape}"
            )
        slices = values.shape[0]
        mask = np.zeros(values.shape[:3], dtype=np.bool_)
        for index in range(slices):
            grey = values[index] if values.ndim == 3 else values[index].mean(axis=-1)
            mask[index] = grey > thresholds[index]
            if progress is not None:
                progress(index + 1, slices)
        asked_slices = tuple(range(slices))
        if not mask.any():
            return tuple(Answer(question, "No bright voxels are seen.", (), asked_slices) for question in questions)
        target = SeenTarget(phrase="bright voxels", confidence=1.0, mask=mask)
        return tuple(
            Answer(
                question, "Voxels near the top of the stored range are seen: bright voxels.", (target,), asked_slices
            )
            for question in questions
        )


def _thresholds(stored_ranges: NDArray[np.float64]) -> NDArray[np.float64]:
    lows, highs = stored_ranges.T
    for low, high in stored_ranges:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InputRefused(f"a stored range must be two finite numbers, low before high; one is ({low}, {high})")
    return np.asarray(lows + _FRACTION_OF_RANGE * (highs - lows), dtype=np.float64)
