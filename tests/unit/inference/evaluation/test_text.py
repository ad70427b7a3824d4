"""Text scores: the same words score one, other words little, and what METEOR lacks is in its name."""

from __future__ import annotations

import pytest

pytest.importorskip("sacrebleu")

from inference.evaluation.text import text_scores


def test_the_same_answer_scores_one() -> None:
    answers = ["The liver is visible in this image.", "No spleen is seen here at all."]
    scores = text_scores(answers, answers)
    assert scores["bleu4"] == pytest.approx(1.0)
    assert scores["rouge_l"] == pytest.approx(1.0)
    assert scores["meteor_exact_stem"] > 0.99


def test_stems_count_and_synonyms_do_not() -> None:
    stem = text_scores(["the kidneys are visible"], ["the kidney are visible"])["meteor_exact_stem"]
    synonym = text_scores(["the big organ is visible"], ["the large organ is visible"])["meteor_exact_stem"]
    assert stem > 0.9 > synonym


def test_answers_and_references_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="2 answers, 1 references"):
        text_scores(["a", "b"], ["a"])
