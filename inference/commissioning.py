"""A predictor without weights that proves geometry: it marks what is brightest in an image, such as a burnt-in box."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.errors import InputRefused
from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack

__all__ = ["CommissioningPredictor"]

_FRACTION_OF_RANGE = 0.9
_VERSION = "2"


class CommissioningPredictor:
    """Marks every voxel above low + 0.9 (high - low) of the lowest and highest value that occur in the whole stack.

    What occurs counts, not what the bits would allow: 12 bits in words of 16 have something bright too. Each question,
    whatever it says, gets the same target "bright voxels", or none where all values are the same. A colour stack counts
    as bright where its mean over the channels is. Values that are no numbers are neither bright nor part of the range.
    Raises `InputRefused` for a stack with other axes than `slices rows columns [3]`.
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
        values = stack.values
        if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[-1] != 3):
            raise InputRefused(
                f"a stack has the axes slices rows columns, or slices rows columns 3; this one is {values.shape}"
            )
        slices = values.shape[0]
        threshold = _threshold(values)
        mask = np.zeros(values.shape[:3], dtype=np.bool_)
        for index in range(slices):
            if threshold is not None:
                grey = _grey(values[index])
                mask[index] = np.isfinite(grey) & (grey > threshold)
            if progress is not None:
                progress(index + 1, slices)
        asked_slices = tuple(range(slices))
        if not mask.any():
            none, said = ("bright voxels",), "No bright voxels are seen."
            return tuple(Answer(one, said, (), asked_slices, not_seen=none) for one in questions)
        target = SeenTarget(phrase="bright voxels", confidence=1.0, mask=mask)
        text = "Voxels near the top of the values that occur are seen: bright voxels."
        return tuple(Answer(question, text, (target,), asked_slices) for question in questions)


def _threshold(values: NDArray[np.float32] | NDArray[np.uint8]) -> float | None:
    """What a voxel must be above; None where no two values differ. Slice by slice: a stack may be large."""
    low, high = np.inf, -np.inf
    for whole in values:
        grey = _grey(whole)
        known = grey[np.isfinite(grey)]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    return low + _FRACTION_OF_RANGE * (high - low) if low < high else None


def _grey(values: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(values if values.ndim == 2 else values.mean(axis=-1), dtype=np.float32)
