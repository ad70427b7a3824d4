"""Scores against cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.evaluation.scores import TargetScore, calibration_error, score_masks, summary
from inference.overlap import dice


def _present(label: str, image: int, score: float, *, both: int = 1, either: int = 2) -> TargetScore:
    return TargetScore(label, f"image {image}", score > 0, 0.5, score, both if score else 0, either)


def test_dice_of_masks_worked_by_hand() -> None:
    first = np.array([[1, 1, 0, 0]], dtype=np.bool_)
    second = np.array([[0, 1, 1, 1]], dtype=np.bool_)
    assert dice(first, second) == pytest.approx(2 / 5)
    assert dice(first, np.zeros_like(first)) == 0.0
    assert dice(np.zeros_like(first), np.zeros_like(first)) == 1.0
    one = score_masks("liver", "a", first, second, 0.7)
    assert (one.intersection, one.union, one.iou) == (1, 4, 0.25)


def test_a_present_target_without_a_mask_scores_nothing() -> None:
    true = np.ones((2, 2), dtype=np.bool_)
    one = score_masks("liver", "a", None, true, None)
    assert one.present and not one.given
    assert (one.dice, one.iou, one.union) == (0.0, 0.0, 4)


def test_labels_weigh_alike_and_rare_ones_do_not_count() -> None:
    scored = [_present("liver", i, 0.8) for i in range(10)]
    scored += [_present("spleen", i, 0.0) for i in range(5)]
    scored += [_present("polyp", i, 1.0) for i in range(4)] * 3  # asked three times, but of four images
    result = summary(scored)
    assert result["overall"]["dice"] == pytest.approx(0.4)
    assert result["overall"]["giou"] == pytest.approx(0.25)
    assert result["overall"]["labels"] == 2
    assert result["overall"]["n"] == 27
    assert result["overall"]["present_recall"] == pytest.approx(22 / 27, abs=1e-4)


def test_ciou_sums_pixels_over_all_questions() -> None:
    large = TargetScore("liver", "a", True, 0.5, 0.95, 900, 1000)
    small = TargetScore("liver", "b", True, 0.5, 0.0, 0, 10)
    assert summary([large, small])["overall"]["ciou"] == pytest.approx(900 / 1010, abs=1e-4)


def test_absent_targets_are_scored_apart() -> None:
    scored = (
        [TargetScore("liver", "a", False)] * 3 + [TargetScore("liver", "b", True, 0.4)] + [_present("liver", 0, 0.5)]
    )
    result = summary(scored)
    assert result["overall"]["absent_specificity"] == pytest.approx(0.75)
    assert result["overall"]["seen_precision"] == pytest.approx(0.5)
    assert result["labels"]["liver"]["dice"] == 0.5
    assert result["labels"]["liver"]["absent_n"] == 4


def test_kinds_of_question_are_told_apart() -> None:
    implied = [
        replace(_present("liver", 0, 0.2), kind="functional"),
        TargetScore("spleen", "b", True, kind="functional"),
    ]
    result = summary([*implied, replace(_present("liver", 1, 0.8), kind="explicit")])
    assert {kind: row["dice"] for kind, row in result["kinds"].items()} == {"explicit": 0.8, "functional": 0.2}
    assert result["kinds"]["functional"]["absent_specificity"] == 0.0
    assert summary([_present("liver", 0, 0.5)])["kinds"] == {}


def test_calibration_error_is_the_weighted_distance_of_bins() -> None:
    assert calibration_error([0.15, 0.15, 0.85, 0.85], [0.1, 0.2, 0.5, 0.6]) == pytest.approx(0.15)
    assert calibration_error([0.9], [0.9]) == 0.0
    assert calibration_error([], []) is None
