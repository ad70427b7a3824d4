"""The format of a conversation, as `tiny` has it and as templates give it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from inference.errors import CheckpointError
from inference.medseg_r.tiny import train_tokenizer, wrap_tokenizer
from inference.medseg_r.tokens import IGNORED, Place, Turn, Words, add_marks

TEXTS = ["The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG].", "Where is the liver?", "No liver is seen."] * 5
TURNS = [
    Turn("Where is the liver?", "The CT shows <p> liver </p> [SEG]."),
    Turn("And  the\nspleen?", "No spleen is seen."),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="module")
def words(tokenizer: Tokenizer) -> Words:
    return Words(tokenizer)


def test_tiny_says_exactly_this(words: Words, tokenizer: Tokenizer) -> None:
    whole = words.conversation(TURNS, 2)
    assert words.text(whole.ids) == (
        "<bos><image><image><user>Where is the liver?<assistant>The CT shows <p> liver </p> [SEG].<eos>"
        "<user>And the spleen?<assistant>No spleen is seen.<eos>"
    )
    learned = "".join(words.text([token]) for token in whole.targets if token != IGNORED)
    assert learned == "The CT shows <p> liver </p> [SEG].<eos>No spleen is seen.<eos>"
    assert words.answer(TURNS[0].answer)[:-1] == tokenizer.encode(TURNS[0].answer).ids
    assert words.question("Where is the liver?")[1:-1] == tokenizer.encode("Where is the liver?").ids
    assert words.question("x") == words.question("x", later=True)
    assert words.stops == {words.eos}


def test_tiny_is_the_same_after_it_was_saved(words: Words, tmp_path: Path) -> None:
    words.tokenizer.save_pretrained(tmp_path)
    loaded = Words(AutoTokenizer.from_pretrained(tmp_path))
    assert loaded.conversation(TURNS, 3) == words.conversation(TURNS, 3)
    assert loaded.asked_after(TURNS, "[SEG]?") == words.asked_after(TURNS, "[SEG]?")


@pytest.mark.parametrize(
    "typed", ["[SEG]", "<image><image>", "a<p>b</p>", "<user><assistant><eos>", "<p<p>>", "[SE\0G]"]
)
def test_typed_tokens_are_letters(words: Words, typed: str) -> None:
    for ids in (words.question(typed)[1:-1], words.conversation([Turn(typed, "x")], 1).ids[3:-3]):
        assert not set(ids) & {words.seg, words.open, words.close, words.image, words.eos}
    assert typed.replace("\0", " ") in words.text(words.question(typed))


@pytest.mark.parametrize("typed", ["<end_of_turn>", "a<tool_call>b", "<end_of_turn><tool_call>", "<tool_call>_more>"])
def test_typed_tokens_that_are_added_but_not_special_are_letters(typed: str) -> None:
    wrapped = wrap_tokenizer(train_tokenizer(TEXTS, 400))
    new = ["<end_of_turn>", "<tool_call>", "tool_call>_more>", "\n\n"]
    wrapped.add_tokens([AddedToken(token, special=False, normalized=False) for token in new])
    assert "<tool_call>" not in wrapped.all_special_tokens
    words = Words(wrapped)
    added = set(wrapped.get_added_vocab().values())
    assert not set(words.question(typed)[1:-1]) & added
    assert not set(words.answer(typed)[:-1]) & added
    assert typed in words.text(words.question(typed))


def test_typed_tokens_in_an_earlier_answer_are_letters_but_for_the_marks(words: Words) -> None:
    ids = words.asked_after([Turn("x", "<p> a </p> [SEG] <image> <eos>")], "y")
    assert ids.count(words.seg) == ids.count(words.open) == 1
    assert words.image not in ids
    assert ids.count(words.eos) == 1


def test_a_tokenizer_without_a_template_is_asked_as_llava_is(tokenizer: Tokenizer) -> None:
    bare = wrap_tokenizer(tokenizer)
    bare.chat_template = None
    words = Words(bare)
    assert words.text(words.conversation(TURNS, 1).ids) == (
        "USER: <image>\nWhere is the liver? ASSISTANT:The CT shows <p> liver </p> [SEG].<eos>"
        "USER: And the spleen? ASSISTANT:No spleen is seen.<eos>"
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for message in messages %}{{ message['role'] }}{% endfor %}", "loses or repeats"),
        ("{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}", "image tokens"),
    ],
)
def test_a_template_that_loses_something_is_refused(tokenizer: Tokenizer, template: str, reason: str) -> None:
    wrapped = wrap_tokenizer(tokenizer)
    wrapped.chat_template = template
    with pytest.raises(CheckpointError, match=reason):
        Words(wrapped)


def test_marks_are_added_once() -> None:
    tokenizer = wrap_tokenizer(train_tokenizer(TEXTS, 400))
    before = len(tokenizer)
    add_marks(tokenizer)
    assert len(tokenizer) == before


def test_whatever_a_model_prefers_its_answer_keeps_to_the_grammar(words: Words) -> None:
    random = np.random.default_rng(0)
    bars, marks = words.barred(words.size), (words.open, words.close, words.seg)
    whole = named = 0
    for _ in range(60):
        ids, place = [], Place.TEXT
        for _ in range(40):
            liked = torch.from_numpy(random.normal(size=words.size))
            liked[[*marks, words.image, *words.stops]] += 4.0  # above all that may stand nowhere, or not there
            token = int(liked.masked_fill(bars[place], -torch.inf).argmax())
            if token in words.stops:
                whole += 1
                break
            ids.append(token)
            place = words.following(place, token)
        said = "".join("<>s"[marks.index(token)] if token in marks else "w" for token in ids)
        assert re.fullmatch(r"(w|<w+>w?s)*(<w*(>w?)?)?", said), said
        assert words.image not in ids
        named += said.count("s")
    assert whole > 20 and named > 20


def test_what_training_teaches_can_be_said(words: Words) -> None:
    for turn in TURNS:
        place, bars = Place.TEXT, words.barred(words.size)
        for token in words.answer(turn.answer):
            assert not bars[place, token]
            place = words.following(place, token)
