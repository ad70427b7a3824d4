"""Turns about what was never learned, all but one thing, and nothing at all: honest, and in the grammar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.labels import LABELS
from inference.medseg_r.answers import named_phrases
from inference.training.limits import UNLEARNED
from inference.training.turns import TurnSampler


def test_no_label_is_said_to_be_unlearned() -> None:
    knowledge = load_knowledge().labels
    names = {name.casefold() for label in LABELS if label in knowledge for name in knowledge[label].names}
    assert not {term.casefold() for term in UNLEARNED} & (names | set(LABELS))


def test_only_what_is_asked_for_and_known_is_marked(make_qa: Callable[[], Path]) -> None:
    sampler = TurnSampler(make_qa(), "train", limits=1.0)
    random = np.random.default_rng(0)
    kinds: dict[str, list[str]] = {}
    for _ in range(300):
        place, (turn,) = sampler.draw(random)
        targets = sampler.records[place].targets
        named = named_phrases(turn.answer, turn.answer.count("[SEG]"))
        assert [one.phrase for one in named] == [targets[index].phrase for index in turn.targets]
        assert turn.asked == tuple(targets[index].label for index in turn.targets) and not turn.absent
        kinds.setdefault(turn.wording, []).append(turn.answer)
        if turn.wording == "limits/except":
            left_out = {target.label for target in targets} - set(turn.asked)
            assert len(left_out) == 1
    assert len(kinds) == 5
    assert all("not assessed" in answer for answer in kinds["limits/unlearned"] + kinds["limits/unlearned_beside"])
    assert all("[SEG]" in answer for answer in kinds["limits/unlearned_beside"])
    assert not any("[SEG]" in answer for answer in kinds["limits/none_of_mine"] + kinds["limits/no_question"])


def test_without_them_the_draws_are_what_they_were(make_qa: Callable[[], Path]) -> None:
    qa = make_qa()
    some, none = TurnSampler(qa, "train", limits=0.2), TurnSampler(qa, "train")
    drawn = [some.draw(np.random.default_rng([1, number]))[1][0].wording for number in range(200)]
    assert 15 < sum(wording.startswith("limits/") for wording in drawn) < 70
    assert not any(none.draw(np.random.default_rng(number))[1][0].wording.startswith("limits/") for number in range(50))
