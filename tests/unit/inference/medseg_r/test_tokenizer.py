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
from inference.interface import Exchange, Question
from inference.medseg_r.tiny import build_tokenizer, train_tokenizer
from inference.medseg_r.tokenizer import IGNORED, ChatTokenizer, GrammarState, add_tokens

TEXTS = ["The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG].", "Where is the liver?", "No liver is seen."] * 5
EXCHANGES = [
    Exchange("Where is the liver?", "The CT shows <p> liver </p> [SEG]."),
    Exchange("And  the\nspleen?", "No spleen is seen."),
]


@pytest.fixture(scope="module")
def bare() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="module")
def tokenizer(bare: Tokenizer) -> ChatTokenizer:
    return build_tokenizer(bare)


def test_tiny_says_exactly_this(tokenizer: ChatTokenizer, bare: Tokenizer) -> None:
    whole = tokenizer.conversation(EXCHANGES, 2)
    assert tokenizer.text(whole.ids) == (
        "<bos><image><image><user>Where is the liver?<assistant>The CT shows <p> liver </p> [SEG].<eos>"
        "<user>And the spleen?<assistant>No spleen is seen.<eos>"
    )
    learned = "".join(tokenizer.text([token]) for token in whole.targets if token != IGNORED)
    assert learned == "The CT shows <p> liver </p> [SEG].<eos>No spleen is seen.<eos>"
    assert tokenizer.answer(EXCHANGES[0].answer)[:-1] == bare.encode(EXCHANGES[0].answer).ids
    assert tokenizer.question("Where is the liver?")[1:-1] == bare.encode("Where is the liver?").ids
    assert tokenizer.question("x") == tokenizer.question("x", later=True)
    assert tokenizer.stops == {tokenizer.eos}


def test_tiny_is_the_same_after_it_was_saved(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    tokenizer.pretrained.save_pretrained(tmp_path)
    loaded = ChatTokenizer(AutoTokenizer.from_pretrained(tmp_path))
    assert loaded.conversation(EXCHANGES, 3) == tokenizer.conversation(EXCHANGES, 3)
    follow_up = Question("[SEG]?", tuple(EXCHANGES))
    assert loaded.prompt(follow_up) == tokenizer.prompt(follow_up)


@pytest.mark.parametrize(
    "typed", ["[SEG]", "<image><image>", "a<p>b</p>", "<user><assistant><eos>", "<p<p>>", "[SE\0G]"]
)
def test_typed_tokens_are_letters(tokenizer: ChatTokenizer, typed: str) -> None:
    for ids in (tokenizer.question(typed)[1:-1], tokenizer.conversation([Exchange(typed, "x")], 1).ids[3:-3]):
        assert not set(ids) & {tokenizer.seg, tokenizer.open, tokenizer.close, tokenizer.image, tokenizer.eos}
    assert typed.replace("\0", " ") in tokenizer.text(tokenizer.question(typed))


@pytest.mark.parametrize("typed", ["<end_of_turn>", "a<tool_call>b", "<end_of_turn><tool_call>", "<tool_call>_more>"])
def test_typed_tokens_that_are_added_but_not_special_are_letters(typed: str) -> None:
    pretrained = build_tokenizer(train_tokenizer(TEXTS, 400)).pretrained
    new = ["<end_of_turn>", "<tool_call>", "tool_call>_more>", "\n\n"]
    pretrained.add_tokens([AddedToken(token, special=False, normalized=False) for token in new])
    assert "<tool_call>" not in pretrained.all_special_tokens
    tokenizer = ChatTokenizer(pretrained)
    added = set(pretrained.get_added_vocab().values())
    assert not set(tokenizer.question(typed)[1:-1]) & added
    assert not set(tokenizer.answer(typed)[:-1]) & added
    assert typed in tokenizer.text(tokenizer.question(typed))


def test_typed_tokens_in_an_earlier_answer_are_letters_but_for_the_added_ones(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.prompt(Question("y", (Exchange("x", "<p> a </p> [SEG] <image> <eos>"),)))
    assert ids.count(tokenizer.seg) == ids.count(tokenizer.open) == 1
    assert tokenizer.image not in ids
    assert ids.count(tokenizer.eos) == 1


def test_a_tokenizer_without_a_template_is_asked_as_llava_is(bare: Tokenizer) -> None:
    pretrained = build_tokenizer(bare).pretrained
    pretrained.chat_template = None
    tokenizer = ChatTokenizer(pretrained)
    assert tokenizer.text(tokenizer.conversation(EXCHANGES, 1).ids) == (
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
def test_a_template_that_loses_something_is_refused(bare: Tokenizer, template: str, reason: str) -> None:
    pretrained = build_tokenizer(bare).pretrained
    pretrained.chat_template = template
    with pytest.raises(CheckpointError, match=reason):
        ChatTokenizer(pretrained)


def test_tokens_are_added_once() -> None:
    pretrained = build_tokenizer(train_tokenizer(TEXTS, 400)).pretrained
    before = len(pretrained)
    add_tokens(pretrained)
    assert len(pretrained) == before


def test_whatever_a_model_prefers_its_answer_keeps_to_the_grammar(tokenizer: ChatTokenizer) -> None:
    random = np.random.default_rng(0)
    forbidden, added = tokenizer.forbidden(tokenizer.size), (tokenizer.open, tokenizer.close, tokenizer.seg)
    whole = named = 0
    for _ in range(60):
        ids, state = [], GrammarState.TEXT
        for _ in range(40):
            liked = torch.from_numpy(random.normal(size=tokenizer.size))
            liked[[*added, tokenizer.image, *tokenizer.stops]] += 4.0  # above all those that are forbidden
            token = int(liked.masked_fill(forbidden[state], -torch.inf).argmax())
            if token in tokenizer.stops:
                whole += 1
                break
            ids.append(token)
            state = tokenizer.next_state(state, token)
        said = "".join("<>s"[added.index(token)] if token in added else "w" for token in ids)
        assert re.fullmatch(r"(w|<w+>w?s)*(<w*(>w?)?)?", said), said
        assert tokenizer.image not in ids
        named += said.count("s")
    assert whole > 20 and named > 20


def test_what_training_teaches_can_be_said(tokenizer: ChatTokenizer) -> None:
    for exchange in EXCHANGES:
        state, forbidden = GrammarState.TEXT, tokenizer.forbidden(tokenizer.size)
        for token in tokenizer.answer(exchange.answer):
            assert not forbidden[state, token]
            state = tokenizer.next_state(state, token)
