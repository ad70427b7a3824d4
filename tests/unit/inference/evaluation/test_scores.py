"""Scores against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inference.evaluation.scores import Scored, dice, summary


def test_dice_of_masks_worked_by_hand() -> None:
    first = np.array([[1, 1, 0, 0]], dtype=np.bool_)
    second = np.array([[0, 1, 1, 1]], dtype=np.bool_)
    assert dice(first, second) == pytest.approx(2 / 5)
    assert dice(first, np.zeros_like(first)) == 0.0
    assert dice(np.zeros_like(first), np.zeros_like(first)) == 1.0


def test_labels_weigh_alike_and_rare_ones_do_not_count() -> None:
    scored = [Scored("liver", 0.8, True)] * 10 + [Scored("spleen", 0.0, False)] * 5 + [Scored("polyp", 1.0, True)] * 4
    result = summary(scored)
    assert result["overall"]["dice"] == pytest.approx(0.4)
    assert result["overall"]["labels"] == 2
    assert result["overall"]["present_recall"] == pytest.approx(14 / 19, abs=1e-4)


def test_absent_targets_are_scored_apart() -> None:
    scored = [Scored("liver", None, False)] * 3 + [Scored("liver", None, True), Scored("liver", None, False, True)]
    result = summary(scored)
    assert result["overall"]["absent_specificity"] == pytest.approx(0.8)
    assert result["overall"]["absent_specificity_same_kind"] == pytest.approx(0.75)
    assert result["labels"]["liver"]["dice"] is None
