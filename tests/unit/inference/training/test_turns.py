"""What training draws: every label, present and absent, from its own split only, the same from the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InferenceError
from inference.training.turns import TurnSampler


def test_labels_and_absent_ones_are_drawn_from_the_split(make_qa: Callable[[], Path]) -> None:
    sampler = TurnSampler(make_qa(), "train")
    random = np.random.default_rng(0)
    drawn = [sampler.draw(random) for _ in range(300)]
    assert {sampler.records[place].split.value for place, _ in drawn} == {"train"}
    assert {target.label for place, _ in drawn for target in sampler.records[place].targets} == {"liver", "spleen"}
    absent = np.mean([any(turn.absent for turn in turns) for _, turns in drawn])
    assert 0.1 < absent < 0.8


def test_the_same_seed_draws_the_same(make_qa: Callable[[], Path]) -> None:
    sampler = TurnSampler(make_qa(), "train")
    first, second = ([sampler.draw(np.random.default_rng(7)) for _ in range(3)] for _ in range(2))
    assert first == second


def test_a_split_without_anything_to_learn_is_named(make_qa: Callable[[], Path]) -> None:
    with pytest.raises(InferenceError, match="zero_shot"):
        TurnSampler(make_qa(), "zero_shot")
