"""What training draws: every label, present and absent, from its own split only, the same from the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InferenceError
from inference.medseg_qa.knowledge import load_knowledge
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


def test_most_turns_are_composed_anew_in_training_wordings_only(make_qa: Callable[[], Path]) -> None:
    qa = make_qa()
    sampler = TurnSampler(qa, "train")
    random = np.random.default_rng(0)
    drawn = [sampler.draw(random) for _ in range(400)]
    stored = {turn.question for record in sampler.records for one in record.conversations for turn in one.turns}
    anew = [(place, turns[0]) for place, turns in drawn if turns[0].question not in stored]
    assert len(anew) > 150
    knowledge = load_knowledge()
    test_only = {w.id for label in knowledge.labels.values() for w in label.wordings if w.split == "test"}
    test_only |= {wording for kind in knowledge.details for wording, _ in knowledge.detail(kind, "test")}
    assert not {turn.wording for _, turn in anew} & test_only
    for place, turn in anew:
        there = {target.label for target in sampler.records[place].targets}
        assert {sampler.records[place].targets[index].label for index in turn.targets} <= there
        assert not set(turn.absent) & there
        assert turn.answer.count("[SEG]") == len(turn.targets)
