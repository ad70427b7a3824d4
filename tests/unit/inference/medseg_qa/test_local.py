"""Conversations from a local transformers model: tiny Llama models with random or memorised weights, saved to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.medseg_qa.annotators.choose import choose_annotator
from inference.medseg_qa.annotators.local import LocalAnnotator
from inference.medseg_qa.annotators.reply import messages_for
from inference.medseg_qa.builder import build
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import BuildError
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import open_source

END = "<end>"
REPLY = {
    "conversations": [
        {
            "turns": [
                {"question": "Segment the liver.", "answer": "Here: <p> liver </p> [SEG].", "kind": "explicit",
                 "asked": ["liver"], "targets": [0], "absent": []},
                {"question": "Is there a gallbladder?", "answer": "No gallbladder is visible.", "kind": "explicit",
                 "asked": ["gallbladder"], "targets": [], "absent": ["gallbladder"]},
            ]
        }
    ]
}  # fmt: skip


def save_tiny(directory: Path, text: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A Llama of two layers with random weights, and a tokenizer that knows `text`."""
    torch.manual_seed(0)
    bytes_and_pairs = ByteLevelBPETokenizer()
    bytes_and_pairs.train_from_iterator([text], vocab_size=600, min_frequency=1, special_tokens=[END])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_and_pairs._tokenizer, eos_token=END, pad_token=END)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
    return model, tokenizer


def memorise(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, reply: str) -> None:
    """Train until the model says `reply` after `prompt`."""
    asked = tokenizer(prompt, return_tensors="pt")["input_ids"]
    said = tokenizer(reply + END, return_tensors="pt")["input_ids"]
    tokens = torch.cat([asked, said], dim=1)
    labels = tokens.clone()
    labels[:, : asked.shape[1]] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        loss = model(input_ids=tokens, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if float(loss.detach()) < 0.01:
            return
    pytest.fail(f"the tiny model did not learn its reply, loss {float(loss.detach()):.3f}")


def prompt_for(facts: ImageFacts) -> str:
    return "\n\n".join(str(message["content"]) for message in messages_for(facts)) + "\n\n"


@pytest.fixture
def images(make_images: Any) -> Path:
    made: Path = make_images(1)
    return made


@pytest.fixture
def asked(images: Path, tmp_path: Path) -> str:
    """The prompt that a build sends for the only image."""
    sent: list[ImageFacts] = []

    class Listening:
        name = "listening"

        def annotate(self, facts: ImageFacts, image: Path) -> tuple[()]:
            sent.append(facts)
            return ()

        def summary(self) -> dict[str, float]:
            return {}

    with pytest.raises(BuildError):
        build(open_source(images), tmp_path / "listened", annotator=Listening())
    return prompt_for(sent[0])


@pytest.mark.slow
def test_a_local_model_writes_checked_conversations(images: Path, asked: str, tmp_path: Path) -> None:
    model, tokenizer = save_tiny(tmp_path / "model", asked + json.dumps(REPLY))
    memorise(model, tokenizer, asked, json.dumps(REPLY))
    model.save_pretrained(tmp_path / "model")
    local = choose_annotator("transformers", model=str(tmp_path / "model"), base_url=None, cache=tmp_path, seed=0)
    report = build(open_source(images), tmp_path / "set", annotator=local)
    (record,) = read_records(tmp_path / "set")
    (conversation,) = record.conversations
    assert conversation.annotator == "transformers:model" and report.annotator_summary == {"replies": 1.0}
    assert [turn.answer for turn in conversation.turns] == ["Here: <p> liver </p> [SEG].", "No gallbladder is visible."]


def test_nonsense_is_sent_back_once_then_given_up_and_counted(images: Path, asked: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", asked)
    local = LocalAnnotator(tmp_path / "model", longest_reply=8)
    with pytest.raises(BuildError, match="annotator-failed"):
        build(open_source(images), tmp_path / "set", annotator=local)
    assert local.summary() == {"replies": 2.0}
    assert not (tmp_path / "set").exists()


def test_a_chat_template_is_used_where_the_model_has_one(images: Path, asked: str, tmp_path: Path) -> None:
    _, tokenizer = save_tiny(tmp_path / "model", asked)
    tokenizer.chat_template = "{{ raise_exception('templated') }}"
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(Exception, match="templated"):
        build(open_source(images), tmp_path / "set", annotator=LocalAnnotator(tmp_path / "model", longest_reply=8))
    assert not (tmp_path / "set").exists()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no model can be loaded"):
        LocalAnnotator(tmp_path / "nothing here")
    with pytest.raises(BuildError, match="needs --model"):
        choose_annotator("transformers", model="", base_url=None, cache=tmp_path, seed=0)
