"""The predictor that proves geometry."""

from __future__ import annotations

import numpy as np
import pytest

from inference.commissioning import CommissioningPredictor
from inference.errors import InputRefused
from inference.interface import Question, SliceStack
from inference.open import open_predictor


def marked(values: np.ndarray, modality: str = "CT") -> list[list[int]]:
    (answer,) = CommissioningPredictor().answer(SliceStack(values, modality, None), [Question("x")])
    return [place.tolist() for target in answer.targets for place in np.argwhere(target.mask)]


def test_marks_exactly_what_is_above_nine_tenths_of_the_values_that_occur() -> None:
    values = np.full((2, 4, 5), -1000.0, dtype=np.float32)
    values[1, 2, 3] = 1000.0
    values[1, 0, 0] = 801.0  # -1000 + 0.9 * 2000 = 800
    values[0, 0, 0] = 800.0
    seen: list[tuple[int, int]] = []
    answers = CommissioningPredictor().answer(
        SliceStack(values, "CT", None),
        [Question("anything"), Question("")],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(answers) == 2
    for answer in answers:
        (target,) = answer.targets
        assert target.phrase == "bright voxels"
        assert np.argwhere(target.mask).tolist() == [[1, 0, 0], [1, 2, 3]]
    assert seen == [(1, 2), (2, 2)]


def test_twelve_bits_in_words_of_sixteen_prove_something() -> None:
    values = np.linspace(0, 4095, 4096, dtype=np.float32).reshape(1, 64, 64)
    assert len(marked(values)) == 4095 - 3685  # above 3685.5


def test_the_range_is_that_of_the_whole_stack() -> None:
    values = np.array([[[95.0, 89.0]], [[950.0, 1000.0]]], dtype=np.float32)
    assert marked(values, "PT") == [[1, 0, 0], [1, 0, 1]]


def test_a_colour_is_as_bright_as_its_mean() -> None:
    values = np.zeros((1, 1, 3, 3), dtype=np.uint8)
    values[0, 0] = [[255, 0, 0], [255, 255, 255], [240, 240, 240]]
    assert marked(values, "ES") == [[0, 0, 1], [0, 0, 2]]


def test_a_constant_image_marks_nothing() -> None:
    assert marked(np.full((1, 3, 3, 3), 255, dtype=np.uint8), "ES") == []
    assert marked(np.full((2, 3, 3), 7.0, dtype=np.float32)) == []


def test_what_is_no_number_is_not_bright() -> None:
    values = np.array([[[np.nan, np.inf, 0.0, 10.0]]], dtype=np.float32)
    assert marked(values, "MR") == [[0, 0, 3]]


def test_other_axes_are_refused() -> None:
    with pytest.raises(InputRefused, match="slices rows columns"):
        marked(np.zeros((3, 3), dtype=np.float32))


def test_is_opened_by_its_name() -> None:
    description = open_predictor("commissioning").description
    assert description == CommissioningPredictor.description
    assert len(description.digest) == 64 and description.version == "2"
