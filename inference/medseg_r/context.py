"""Global context understanding: an image and questions in, text and the hidden states that predict [SEG] out.

Any image-text-to-text model of transformers will do. What differs between them is found out, not listed: how many
visual tokens an image has is counted by running the vision side once, and what else a forward pass wants beside ids and
pixels is read from its signature.

The prefix, which holds the image, is computed once and its KV cache serves every question, by copies: a cache is never
cropped, since a sliding window (Gemma 3) has forgotten what lies before. Questions about the same images run as rows of
one batch, padded between the prefix and the question.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from inference.errors import CheckpointError, InputRefused
from inference.interface import Exchange, Question
from inference.medseg_r.tokenizer import ChatTokenizer, GrammarState

__all__ = ["GeneratedAnswer", "GlobalContext", "Prefix"]

_SHORTEST_ANSWER = 24  # tokens that must be left for it


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer about one image. `hidden_states`: `[SEG]s language_width`, each the one that predicted its [SEG].

    `finished`: whether the model came to an end by itself.
    """

    ids: tuple[int, ...]
    hidden_states: Tensor
    finished: bool = True


@dataclass(frozen=True)
class Prefix:
    """Images as the language model remembers them: the KV cache of everything before the first question.

    `shift`: how far the next position lies from the number of tokens so far. Qwen counts an image as fewer positions
    than tokens.
    """

    cache: Any
    images: int
    length: int
    shift: int


class GlobalContext(nn.Module):
    """A transformers image-text-to-text model with its tokenizer and its image processor.

    `language_model`: a `...ForConditionalGeneration`; `image_processor`: a PIL one, of the same checkpoint.
    """

    def __init__(self, language_model: Any, tokenizer: ChatTokenizer, image_processor: Any) -> None:
        super().__init__()
        self.language_model, self.tokenizer, self.image_processor = language_model, tokenizer, image_processor
        self._accepts = frozenset(inspect.signature(type(language_model.model).forward).parameters)
        self._counted: dict[tuple[int, ...], int] = {}

    @property
    def width(self) -> int:
        """Channels of a hidden state."""
        return int(self.language_model.config.get_text_config().hidden_size)

    @property
    def positions(self) -> int:
        """The longest sequence that the language model takes."""
        return int(self.language_model.config.get_text_config().max_position_embeddings)

    def pixels(self, squares: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """Return what the language model sees of images, each uint8 `side side 3`, all of one size."""
        wanted = self.image_processor([Image.fromarray(square) for square in squares], return_tensors="pt")
        parameter = next(self.language_model.parameters())
        pixels = {name: value for name, value in wanted.items() if name in self._accepts}
        if "pixel_values" not in pixels or not isinstance(pixels["pixel_values"], Tensor):
            raise CheckpointError("the image processor gives no pixel_values of one size; it does not fit this model")
        pixels["pixel_values"] = pixels["pixel_values"].to(parameter.dtype)
        return {name: value.to(parameter.device) for name, value in pixels.items()}

    def visual_tokens(self, pixels: Mapping[str, Tensor]) -> int:
        """Return how many visual tokens each of the images has; counted once per size, by running the vision side."""
        first = self._first(pixels)
        grid = first["image_grid_thw"][0].tolist() if "image_grid_thw" in first else first["pixel_values"].shape
        key = tuple(grid)
        if key not in self._counted:
            with torch.no_grad():
                features = self.language_model.model.get_image_features(**first).pooler_output
            # A list with a tensor `tokens width` per image, or one tensor `images tokens width`.
            self._counted[key] = int(features[0].shape[0])
        return self._counted[key]

    def visual_features(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return the visual tokens as the language model sees them: `images tokens width`."""
        features = self.language_model.model.get_image_features(**pixels).pooler_output
        return features if isinstance(features, Tensor) and features.ndim == 3 else torch.stack(list(features))

    @staticmethod
    def _first(pixels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the first image alone; Qwen's patches of all images stand in one row."""
        if "image_grid_thw" in pixels:
            patches = int(pixels["image_grid_thw"][0].prod())
            return {"pixel_values": pixels["pixel_values"][:patches], "image_grid_thw": pixels["image_grid_thw"][:1]}
        return {name: value[:1] for name, value in pixels.items()}

    def hidden_states(self, ids: Tensor, attention: Tensor, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return the hidden state of every position, `n tokens width`, without a cache: for training.

        `ids`, `attention`: `n tokens`, padded on the right; each row holds one image's tokens. The state that predicts
        a token stands one position before it.
        """
        output = self.language_model.model(
            input_ids=ids, attention_mask=attention, use_cache=False, **pixels, **self._types(ids)
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Return the logits of the next token, `... vocabulary`, from hidden states."""
        return self.language_model.get_output_embeddings()(hidden_states)  # type: ignore[no-any-return]

    def _types(self, ids: Tensor) -> dict[str, Tensor]:
        """Tell a model that asks which tokens are visual: Gemma looks at them both ways, Qwen places them in 2-D."""
        visual = (ids == self.tokenizer.image).to(torch.int32)
        return {name: visual for name in ("token_type_ids", "mm_token_type_ids") if name in self._accepts}

    @torch.inference_mode()
    def encode(self, squares: Sequence[NDArray[np.uint8]]) -> Prefix:
        """Let the language model see images, each uint8 `side side 3`, once for all that will be asked of them."""
        pixels = self.pixels(squares)
        prefix = self.tokenizer.prefix(self.visual_tokens(pixels))
        ids = torch.tensor([prefix], device=self._device).expand(len(squares), -1)
        output = self.language_model.model(input_ids=ids, use_cache=True, **pixels, **self._types(ids))
        deltas = getattr(self.language_model.model, "rope_deltas", None)
        shift = 0 if deltas is None else int(deltas[0])  # the same for all: they are of one size
        return Prefix(output.past_key_values, len(squares), len(prefix), shift)

    @property
    def _device(self) -> torch.device:
        return next(self.language_model.parameters()).device  # type: ignore[no-any-return]

    def check(self, question: Question, visual_tokens: int) -> None:
        """Raise `InputRefused` for a question that is empty, in a script the model has no words in, or too long."""
        if not question.text.strip():
            raise InputRefused("the question is empty; ask for something, for example: Where is the liver?")
        unknown = self.tokenizer.unknown_letters(question.text)
        letters = [letter for letter in question.text if letter.isalpha()]
        if 2 * sum(letter in unknown for letter in letters) > len(letters):
            raise InputRefused(
                f"the model has no words in the script of the question (it knows no {', '.join(unknown[:5])}); "
                "ask it in English"
            )
        tokens = len(self.tokenizer.prompt(question))
        room = self.positions - len(self.tokenizer.prefix(visual_tokens)) - tokens
        if room < _SHORTEST_ANSWER:
            raise InputRefused(
                f"the question is {tokens} tokens long, {_SHORTEST_ANSWER - room} too many for this model; "
                "ask it in fewer words"
            )

    @torch.inference_mode()
    def generate(self, prefix: Prefix, questions: Sequence[Question], most_tokens: int) -> list[list[GeneratedAnswer]]:
        """Answer each question about each image of `prefix`, greedily; per question, a list with one for each image.

        A token that the grammar of an answer forbids is never chosen, so each named phrase has its [SEG]; an answer may
        still be cut off inside a phrase. The prefix is left as it was.

        Raises `InputRefused` as `check` does.
        """
        prompts = [self.tokenizer.prompt(question) for question in questions]
        answers: list[list[GeneratedAnswer]] = [[] for _ in prompts]
        for group in self._groups(prefix, prompts, most_tokens):
            generated = self._generate(prefix, [prompts[number] for number in group], most_tokens)
            for number, answers_of_one in zip(group, generated, strict=True):
                answers[number] = answers_of_one
        return answers

    @torch.inference_mode()
    def told(self, prefix: Prefix, exchanges: Sequence[Exchange]) -> Tensor:
        """Return what the model thinks when it is told an answer, `exchanges images width`, in float32.

        Each answer has one [SEG]; its state is the one that predicts it. One forward pass, and nothing is generated.
        The prefix is left as it was.
        """
        prompts = [self.tokenizer.told(exchange) for exchange in exchanges]
        states: list[Tensor] = [torch.empty(0)] * len(prompts)
        for group in self._groups(prefix, prompts, 0):
            batch = _Decoding(self.tokenizer, prefix, [prompts[number] for number in group], self._device)
            last = self._next(batch).float()  # images * group width
            for place, number in enumerate(group):
                states[number] = last[place :: len(group)]
        return torch.stack(states)

    def _next(self, batch: _Decoding) -> Tensor:
        """Return the state of each active row that predicts its next token, `active width`."""
        output = self.language_model.model(
            input_ids=batch.ids,
            attention_mask=batch.attention,
            position_ids=self._positions(batch.positions),
            past_key_values=batch.cache,
            use_cache=True,
        )
        states: Tensor = output.last_hidden_state[:, -1]
        return states

    def _groups(self, prefix: Prefix, prompts: Sequence[Sequence[int]], most_tokens: int) -> list[list[int]]:
        """Return which questions may share a batch: all, unless padding would push tokens out of a sliding window."""
        window = min(
            (layer.sliding_window for layer in prefix.cache.layers if getattr(layer, "is_sliding", False)), default=None
        )
        longest = prefix.length + max(map(len, prompts)) + most_tokens
        if window is None or longest < window:
            return [list(range(len(prompts)))]
        groups: dict[int, list[int]] = {}
        for number, prompt in enumerate(prompts):
            groups.setdefault(len(prompt), []).append(number)
        return list(groups.values())

    def _generate(
        self, prefix: Prefix, prompts: Sequence[Sequence[int]], most_tokens: int
    ) -> list[list[GeneratedAnswer]]:
        batch = _Decoding(self.tokenizer, prefix, prompts, self._device)
        room = self.positions - prefix.length - max(map(len, prompts))
        forbidden: Tensor | None = None
        for _ in range(min(most_tokens, room)):
            hidden_states = self._next(batch)  # active width: each predicts the next token
            logits = self.logits(hidden_states)  # active vocabulary
            forbidden = self.tokenizer.forbidden(logits.shape[1]).to(self._device) if forbidden is None else forbidden
            logits = logits.masked_fill(forbidden[batch.grammar_states], -torch.inf)
            batch.append(logits.argmax(dim=-1), hidden_states)
            if not batch.active:
                break
        answers = batch.answers(self.width)
        return [answers[number :: len(prompts)] for number in range(len(prompts))]

    def _positions(self, places: Tensor) -> Tensor:
        """Return position ids as the model takes them: Qwen's three axes (time, rows, columns) agree on text."""
        if hasattr(self.language_model.model, "get_rope_index"):
            return places[None].expand(3, -1, -1)
        return places


class _Decoding:
    """A batch whose answers are being generated; its rows: all questions of the first image, then of the second ...

    `ids`, `positions`: int64 `active tokens`, what the model reads next. `attention`: int64 `active tokens so far`.
    `active`: the rows that are still in the batch, in its order; a row that has ended costs nothing more.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, prefix: Prefix, prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        self._tokenizer, self._device = tokenizer, device
        rows, longest = prefix.images * len(prompts), max(map(len, prompts))
        self.cache = copy.deepcopy(prefix.cache)
        self.cache.batch_repeat_interleave(len(prompts))
        padded = [[tokenizer.pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        self.ids = torch.tensor(padded * prefix.images, device=device)  # rows longest
        padding = torch.tensor([longest - len(prompt) for prompt in prompts] * prefix.images, device=device)  # rows
        self.attention = torch.ones(rows, prefix.length + longest, dtype=torch.long, device=device)
        self.attention[:, prefix.length :] = (torch.arange(longest, device=device) >= padding[:, None]).long()
        positions = torch.arange(longest, device=device) - padding[:, None]  # rows longest
        self.positions = positions.clamp(min=0) + prefix.length + prefix.shift
        self.active = list(range(rows))
        self._tokens: list[list[int]] = [[] for _ in range(rows)]
        self._hidden_states: list[list[Tensor]] = [[] for _ in range(rows)]
        self._grammar_states = [GrammarState.TEXT] * rows

    @property
    def grammar_states(self) -> list[GrammarState]:
        """The state of each active row."""
        return [self._grammar_states[row] for row in self.active]

    def append(self, tokens: Tensor, hidden_states: Tensor) -> None:
        """Add to each active row its next token, and to its [SEG] the state that predicted it; drop rows that end."""
        remaining = []
        for place, (row, token) in enumerate(zip(self.active, tokens.tolist(), strict=True)):
            if token in self._tokenizer.stops:
                continue
            remaining.append(place)
            self._tokens[row].append(token)
            self._grammar_states[row] = self._tokenizer.next_state(self._grammar_states[row], token)
            if token == self._tokenizer.seg:
                self._hidden_states[row].append(hidden_states[place].float())
        if len(remaining) < len(self.active):
            self.active = [self.active[place] for place in remaining]
            if not self.active:
                return
            kept = torch.tensor(remaining, device=self._device)
            self.cache.batch_select_indices(kept)
            tokens, self.attention, self.positions = tokens[kept], self.attention[kept], self.positions[kept]
        self.ids = tokens[:, None]
        self.attention = torch.cat([self.attention, self.attention.new_ones(len(self.active), 1)], dim=1)
        self.positions = self.positions[:, -1:] + 1

    def answers(self, width: int) -> list[GeneratedAnswer]:
        """Return what each row has come to; `width`: of a hidden state."""
        none = torch.zeros(0, width, device=self._device)
        return [
            GeneratedAnswer(tuple(tokens), torch.stack(states) if states else none, finished=row not in self.active)
            for row, (tokens, states) in enumerate(zip(self._tokens, self._hidden_states, strict=True))
        ]
