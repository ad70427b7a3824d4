"""Global context understanding: an image and a question in, text and the states that predict [SEG] out.

The sequence is `<bos> <image> x 16 <user> question <assistant> answer <eos>`: the image comes first, so that its part
of the KV cache serves every question asked about it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from inference.errors import InferenceError, InputRefused
from inference.medseg_r.config import MedSegRConfig

__all__ = ["Spoken", "Words", "build_language_model", "check_question", "prefix_cache", "speak", "train_tokenizer"]

_SHORTEST_ANSWER = 24  # tokens that must be left for it
_SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>", "<user>", "<assistant>", "<p>", "</p>", "[SEG]")


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Tokenizer:
    """Train byte-pair encoding on `texts`; what it never saw falls back to bytes, so any script can be asked in."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Words:
    """Text to token ids and back, with the ids of the tokens that mean something to the model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # A question is a person's text: "[SEG]" typed into it is five letters, never the token.
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self.pad, self.bos, self.eos, self.image, self.user, self.assistant, self.open, self.close, self.seg = (
            self._id(token) for token in _SPECIAL
        )

    def _id(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise InferenceError(f"the tokenizer has no token {token}; it was not made for MedSeg-R")
        return int(number)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return int(self.tokenizer.get_vocab_size())

    def prefix(self, visual_tokens: int) -> list[int]:
        """Return the ids that every question about an image begins with."""
        return [self.bos, *([self.image] * visual_tokens)]

    def question(self, text: str) -> list[int]:
        """Return the ids of a question, from <user> to <assistant>."""
        return [self.user, *self._plain.encode(" ".join(text.lower().split())).ids, self.assistant]

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer, <p>, </p> and [SEG] as tokens, ended by <eos>."""
        return [*self.tokenizer.encode(text).ids, self.eos]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def build_language_model(config: MedSegRConfig, words: Words) -> LlavaForConditionalGeneration:
    """Build transformers' Llava at the sizes of `config`, with random weights."""
    vision = CLIPVisionConfig(
        hidden_size=config.vision_width,
        intermediate_size=2 * config.vision_width,
        projection_dim=config.vision_width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        image_size=config.context_image_size,
        patch_size=config.context_patch_size,
    )
    text = LlamaConfig(
        vocab_size=words.size,
        hidden_size=config.language_width,
        intermediate_size=3 * config.language_width,
        num_hidden_layers=config.language_layers,
        num_attention_heads=config.language_heads,
        num_key_value_heads=config.language_heads,
        max_position_embeddings=config.language_context,
        tie_word_embeddings=True,
        pad_token_id=words.pad,
        bos_token_id=words.bos,
        eos_token_id=words.eos,
    )
    llava = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.image,
        image_seq_length=config.visual_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(llava)


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
