"""The grammar of answers."""

from __future__ import annotations

import pytest

from inference.errors import AnswerMalformed
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.phrasing import articled, fill, label_slots
from inference.medseg_r.answers import NamedPhrase, combined_text, denied_phrases, named_phrases, without_markup

TEXT = "The CT shows <p> liver </p> [SEG] and <p> kidney left </p> [SEG]. No spleen or aorta is seen."


def test_each_seg_has_its_phrase() -> None:
    assert named_phrases(TEXT, 2) == [NamedPhrase("liver", 0), NamedPhrase("kidney left", 0)]


def test_the_same_phrase_twice_is_two_named_phrases() -> None:
    assert named_phrases("<p> node </p> [SEG] and <p> node </p> [SEG]", 2) == [
        NamedPhrase("node", 0),
        NamedPhrase("node", 1),
    ]


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
        assert named_phrases(text, states) == []  # a name without [SEG] asks for no mask
        return
    with pytest.raises(AnswerMalformed):
        named_phrases(text, states)


def test_people_read_no_marks() -> None:
    assert without_markup(TEXT) == "The CT shows liver and kidney left. No spleen or aorta is seen."


def test_absent_phrases_are_read_back() -> None:
    assert denied_phrases("No spleen, aorta or liver is seen.") == ["spleen", "aorta", "liver"]


def _denials() -> list[tuple[str, str]]:
    """Every frame with which MedSeg-QA denies something, filled with labels of all articles and numbers."""
    frames = load_knowledge().answers
    labels = load_knowledge().labels
    found = []
    for name in ("spleen", "polyp", "ground glass opacities", "endotracheal tube"):
        label = labels[name]
        slots = {**label_slots(label, label.phrase), "image": "this CT slice", "absent": articled(label, label.phrase)}
        for kind in ("absent", "absent_implicit", "multi_absent"):
            found += [(fill(frame, slots), label.phrase) for frame in frames[kind]]
    return found


@pytest.mark.parametrize(("text", "phrase"), _denials())
def test_every_denial_that_is_taught_is_read_back(text: str, phrase: str) -> None:
    assert [one.lower() for one in denied_phrases(text)] == [phrase.lower()]
    assert [one.lower() for one in denied_phrases(f"I have marked <p> liver </p> [SEG]. {text}")] == [phrase.lower()]


def test_a_caveat_denies_nothing() -> None:
    assert denied_phrases("The <p> liver </p> [SEG] may be involved; the image alone does not prove it.") == []
    assert (
        denied_phrases("For cirrhosis, attention goes to the <p> liver </p> [SEG]. The image alone does not settle it.")
        == []
    )


def test_slices_become_one_answer() -> None:
    assert (
        combined_text([TEXT, "No liver is seen."], ["liver"], ["spleen"]) == "The image shows liver. No spleen is seen."
    )
    assert combined_text(["No liver is seen."] * 3, [], ["liver"]) == "No liver is seen."


def test_a_volume_without_masks_is_told_by_its_most_frequent_denial() -> None:
    denial = "I do not see any spleen in this CT."
    texts = [denial, "Here is the <p> liver </p> [SEG].", denial, "Nothing can be identified as spleen."]
    assert combined_text(texts, [], []) == denial
    assert combined_text(["Here is the <p> liver </p> [SEG]."], [], []) == "Nothing that was asked for is seen."
