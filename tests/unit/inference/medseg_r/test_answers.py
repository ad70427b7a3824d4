"""The grammar of answers."""

from __future__ import annotations

import pytest

from inference.errors import AnswerMalformed
from inference.medseg_r.answers import Statement, absent_in, composed, readable, statements

TEXT = "The CT shows <p> liver </p> [SEG] and <p> kidney left </p> [SEG]. No spleen or aorta is seen."


def test_each_seg_has_its_phrase() -> None:
    assert statements(TEXT, 2) == [Statement("liver", 0), Statement("kidney left", 0)]


def test_the_same_phrase_twice_is_two_statements() -> None:
    assert statements("<p> node </p> [SEG] and <p> node </p> [SEG]", 2) == [Statement("node", 0), Statement("node", 1)]


@pytest.mark.parametrize(
    ("text", "states"),
    [
        (TEXT, 1),
        (TEXT, 3),
        ("The liver [SEG].", 1),
        ("<p> liver </p> is here.", 0),
        ("<p> liver [SEG]", 1),
        ("<p> </p> [SEG]", 1),
    ],
)
def test_a_mismatch_is_an_error_not_a_truncation(text: str, states: int) -> None:
    if text == "<p> liver </p> is here.":
        assert statements(text, states) == []  # a name without [SEG] asks for no mask
        return
    with pytest.raises(AnswerMalformed):
        statements(text, states)


def test_people_read_no_marks() -> None:
    assert readable(TEXT) == "The CT shows liver and kidney left. No spleen or aorta is seen."


def test_absent_phrases_are_read_back() -> None:
    assert absent_in("No spleen, aorta or liver is seen.") == ["spleen", "aorta", "liver"]


def test_slices_become_one_answer() -> None:
    assert composed([TEXT, "No liver is seen."], ["liver"], ["spleen"]) == "The CT shows liver. No spleen is seen."
    assert composed(["No liver is seen."] * 3, [], ["liver"]) == "No liver is seen."


def test_a_volume_without_masks_is_told_by_its_most_frequent_denial() -> None:
    denial = "I do not see any spleen in this CT."
    texts = [denial, "Here is the <p> liver </p> [SEG].", denial, "Nothing can be identified as spleen."]
    assert composed(texts, [], []) == denial
    assert composed(["Here is the <p> liver </p> [SEG]."], [], []) == "Nothing that was asked for is seen."
