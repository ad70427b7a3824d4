"""Global context understanding: an image and a question in, text and the states that predict [SEG] out.

The sequence is `<bos> <image> x 16 <user> question <assistant> answer <eos>`: the image comes first, so that its part
of the KV cache serves every question asked about it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from inference.errors import InputRefused
from inference.medseg_r.tiny import build_language_model, train_tokenizer
from inference.medseg_r.words import Words

__all__ = ["Spoken", "Words", "build_language_model", "check_question", "prefix_cache", "speak", "train_tokenizer"]

_SHORTEST_ANSWER = 24  # tokens that must be left for it


@dataclass(frozen=True)
class Spoken:
    """What was said about one image. `states`: `[SEG]s language_width`, each the state that predicted its [SEG]."""

    ids: tuple[int, ...]
    states: Tensor


def prefix_cache(model: LlavaForConditionalGeneration, words: Words, images: Tensor) -> Any:
    """Return the KV cache of `<bos> <image>...` for `images 3 rows columns`; shared, by copies, between questions."""
    visual_tokens = int(model.config.image_seq_length)
    ids = torch.tensor([words.prefix(visual_tokens)], device=images.device).expand(images.shape[0], -1)
    return model.model(input_ids=ids, pixel_values=images, use_cache=True).past_key_values


def check_question(model: LlavaForConditionalGeneration, words: Words, question: str) -> int:
    """Return how many tokens an answer to `question` may have.

    Raises `InputRefused` for an empty question, or one that leaves no room for an answer.
    """
    if not question.strip():
        raise InputRefused("the question is empty; ask for something, for example: Where is the liver?")
    tokens = len(words.question(question))
    used = len(words.prefix(int(model.config.image_seq_length))) + tokens
    room = int(model.config.get_text_config().max_position_embeddings) - used
    if room < _SHORTEST_ANSWER:
        raise InputRefused(
            f"the question is {tokens} tokens long, {_SHORTEST_ANSWER - room} too many for this model; "
            "ask it in fewer words"
        )
    return room


def speak(
    model: LlavaForConditionalGeneration, words: Words, cache: Any, question: str, images: int, *, most_tokens: int = 64
) -> list[Spoken]:
    """Answer one question about each of `images` whose prefix is in `cache`, greedily; the cache is left as it was.

    Raises `InputRefused` as `check_question` does.
    """
    room = check_question(model, words, question)
    device = next(model.parameters()).device
    asked = words.question(question)
    cache = copy.deepcopy(cache)
    ids = torch.tensor([asked], device=device).expand(images, -1)
    said: list[list[int]] = [[] for _ in range(images)]
    states: list[list[Tensor]] = [[] for _ in range(images)]
    open_rows = set(range(images))
    for _ in range(min(most_tokens, room)):
        output = model.model(input_ids=ids, past_key_values=cache, use_cache=True)
        state = output.last_hidden_state[:, -1]  # images language_width: the state that predicts the next token
        following = model.lm_head(state).argmax(dim=-1)  # images
        for row in sorted(open_rows):
            token = int(following[row])
            if token == words.eos:
                open_rows.discard(row)
                continue
            said[row].append(token)
            if token == words.seg:
                states[row].append(state[row])
        if not open_rows:
            break
        ids = following[:, None]
    width = int(model.config.get_text_config().hidden_size)
    return [
        Spoken(tuple(ids_), torch.stack(found) if found else torch.zeros(0, width, device=device))
        for ids_, found in zip(said, states, strict=True)
    ]
