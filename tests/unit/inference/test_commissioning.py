"""The predictor that proves geometry."""

from __future__ import annotations

import numpy as np
import pytest

from inference.commissioning import CommissioningPredictor
from inference.errors import InputRefused
from inference.interface import Question, SliceStack
from inference.open import open_predictor


def test_marks_exactly_what_is_above_nine_tenths_of_the_stored_range() -> None:
    values = np.zeros((2, 4, 5), dtype=np.float32)
    values[1, 2, 3] = 2662.0  # -1024 + 0.9 * 4095 = 2661.5
    values[0, 0, 0] = 2661.0
    seen: list[tuple[int, int]] = []
    answers = CommissioningPredictor().answer(
        SliceStack(values, "CT", None, np.array([[-1024.0, 3071.0]] * 2)),
        [Question("anything"), Question("")],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(answers) == 2
    for answer in answers:
        (target,) = answer.targets
        assert target.phrase == "bright voxels"
        assert np.argwhere(target.mask).tolist() == [[1, 2, 3]]
    assert seen == [(1, 2), (2, 2)]


def test_each_slice_has_a_range_of_its_own() -> None:
    values = np.array([[[95.0, 89.0]], [[950.0, 95.0]]], dtype=np.float32)
    (answer,) = CommissioningPredictor().answer(
        SliceStack(values, "PT", None, np.array([[0.0, 100.0], [0.0, 1000.0]])), [Question("x")]
    )
    assert np.argwhere(answer.targets[0].mask).tolist() == [[0, 0, 0], [1, 0, 0]]


def test_nothing_bright_is_not_seen() -> None:
    stack = SliceStack(np.zeros((1, 3, 3, 3), dtype=np.uint8), "ES", None, np.array([[0.0, 255.0]]))
    (answer,) = CommissioningPredictor().answer(stack, [Question("x")])
    assert answer.targets == ()


def test_a_range_that_is_none_is_refused() -> None:
    stack = SliceStack(np.zeros((1, 3, 3), dtype=np.float32), "CT", None, np.array([[5.0, 5.0]]))
    with pytest.raises(InputRefused, match="stored range"):
        CommissioningPredictor().answer(stack, [Question("x")])


def test_is_opened_by_its_name() -> None:
    description = open_predictor("commissioning").description
    assert description == CommissioningPredictor.description
    assert len(description.digest) == 64
