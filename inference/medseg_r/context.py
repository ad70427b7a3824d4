"""Global context understanding: an image and questions in, text and the states that predict [SEG] out.

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
from inference.medseg_r.tokens import Place, Turn, Words

__all__ = ["Asked", "GlobalContext", "Prefix", "Spoken"]

_SHORTEST_ANSWER = 24  # tokens that must be left for it

Asked = tuple[Sequence[Turn], str]
"""A question with the turns of the conversation before it."""


@dataclass(frozen=True)
class Spoken:
    """What was said about one image. `states`: `[SEG]s language_width`, each the state that predicted its [SEG].

    `ended`: whether the model came to an end by itself.
    """

    ids: tuple[int, ...]
    states: Tensor
    ended: bool = True


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
    """A transformers image-text-to-text model with its words and its image processor.

    `language_model`: a `...ForConditionalGeneration`; `image_processor`: a PIL one, of the same checkpoint.
    """

    def __init__(self, language_model: Any, words: Words, image_processor: Any) -> None:
        super().__init__()
        self.language_model, self.words, self.image_processor = language_model, words, image_processor
        self._accepts = frozenset(inspect.signature(type(language_model.model).forward).parameters)
        self._counted: dict[tuple[int, ...], int] = {}

    @property
    def width(self) -> int:
        """Channels of a state."""
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
        one = self._first(pixels)
        key = tuple(one["image_grid_thw"][0].tolist()) if "image_grid_thw" in one else tuple(one["pixel_values"].shape)
        if key not in self._counted:
            with torch.no_grad():
                features = self.language_model.model.get_image_features(**one).pooler_output
            # A list with a tensor `tokens width` per image, or one tensor `images tokens width`.
            self._counted[key] = int(features[0].shape[0])
        return self._counted[key]

    @staticmethod
    def _first(pixels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the first image alone; Qwen's patches of all images stand in one row."""
        if "image_grid_thw" in pixels:
            patches = int(pixels["image_grid_thw"][0].prod())
            return {"pixel_values": pixels["pixel_values"][:patches], "image_grid_thw": pixels["image_grid_thw"][:1]}
        return {name: value[:1] for name, value in pixels.items()}

    def states(self, ids: Tensor, attention: Tensor, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return the state of every position, `n tokens width`, without a cache: for training.

        `ids`, `attention`: `n tokens`, padded on the right; each row holds one image's tokens. The state that predicts
        a token stands one position before it.
        """
        output = self.language_model.model(
            input_ids=ids, attention_mask=attention, use_cache=False, **pixels, **self._types(ids)
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits of the next token, `... vocabulary`, from states."""
        return self.language_model.get_output_embeddings()(states)  # type: ignore[no-any-return]

    def _types(self, ids: Tensor) -> dict[str, Tensor]:
        """Tell a model that asks which tokens are visual: Gemma looks at them both ways, Qwen places them in 2-D."""
        visual = (ids == self.words.image).to(torch.int32)
        return {name: visual for name in ("token_type_ids", "mm_token_type_ids") if name in self._accepts}

    @torch.inference_mode()
    def encode(self, squares: Sequence[NDArray[np.uint8]]) -> Prefix:
        """Let the language model see images, each uint8 `side side 3`, once for all that will be asked of them."""
        pixels = self.pixels(squares)
        prefix = self.words.prefix(self.visual_tokens(pixels))
        ids = torch.tensor([prefix], device=self._device).expand(len(squares), -1)
        output = self.language_model.model(input_ids=ids, use_cache=True, **pixels, **self._types(ids))
        deltas = getattr(self.language_model.model, "rope_deltas", None)
        shift = 0 if deltas is None else int(deltas[0])  # the same for all: they are of one size
        return Prefix(output.past_key_values, len(squares), len(prefix), shift)

    @property
    def _device(self) -> torch.device:
        return next(self.language_model.parameters()).device  # type: ignore[no-any-return]

    def check(self, asked: Asked, visual_tokens: int) -> None:
        """Raise `InputRefused` for a question that is empty, in a script the model has no words in, or too long."""
        earlier, question = asked
        if not question.strip():
            raise InputRefused("the question is empty; ask for something, for example: Where is the liver?")
        unknown, letters = self.words.unknown_letters(question), [one for one in question if one.isalpha()]
        if 2 * sum(one in unknown for one in letters) > len(letters):
            raise InputRefused(
                f"the model has no words in the script of the question (it knows no {', '.join(unknown[:5])}); "
                "ask it in English"
            )
        tokens = len(self.words.asked_after(earlier, question))
        room = self.positions - len(self.words.prefix(visual_tokens)) - tokens
        if room < _SHORTEST_ANSWER:
            raise InputRefused(
                f"the question is {tokens} tokens long, {_SHORTEST_ANSWER - room} too many for this model; "
                "ask it in fewer words"
            )

    @torch.inference_mode()
    def speak(self, prefix: Prefix, asked: Sequence[Asked], most_tokens: int) -> list[list[Spoken]]:
        """Answer each question about each image of `prefix`, greedily; per question, a list with one for each image.

        A token that the grammar of an answer has no room for is never said, so each named phrase has its [SEG]; an
        answer may still be cut off inside a phrase. The prefix is left as it was.

        Raises `InputRefused` as `check` does.
        """
        prompts = [self.words.asked_after(earlier, question) for earlier, question in asked]
        said: list[list[Spoken]] = [[] for _ in prompts]
        for group in self._alike(prefix, prompts, most_tokens):
            for number, spoken in zip(
                group, self._speak(prefix, [prompts[i] for i in group], most_tokens), strict=True
            ):
                said[number] = spoken
        return said

    def _alike(self, prefix: Prefix, prompts: Sequence[Sequence[int]], most_tokens: int) -> list[list[int]]:
        """Return which questions may share a batch: all, unless padding would push things out of a sliding window."""
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

    def _speak(self, prefix: Prefix, prompts: Sequence[Sequence[int]], most_tokens: int) -> list[list[Spoken]]:
        words, device, images = self.words, self._device, prefix.images
        rows, longest = images * len(prompts), max(map(len, prompts))
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(len(prompts))  # rows: all questions of the first image, then of the second ...
        padded = [[words.pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        ids = torch.tensor(padded * images, device=device)  # rows longest
        padding = torch.tensor([longest - len(prompt) for prompt in prompts] * images, device=device)  # rows
        seen = torch.ones(rows, prefix.length + longest, dtype=torch.long, device=device)
        seen[:, prefix.length :] = (torch.arange(longest, device=device) >= padding[:, None]).long()
        places = torch.arange(longest, device=device) - padding[:, None]  # rows longest
        places = places.clamp(min=0) + prefix.length + prefix.shift
        said: list[list[int]] = [[] for _ in range(rows)]
        states: list[list[Tensor]] = [[] for _ in range(rows)]
        stands = [Place.TEXT] * rows
        speaking = list(range(rows))  # the rows that are still in the batch, in its order
        barred: Tensor | None = None
        room = self.positions - prefix.length - longest
        for _ in range(min(most_tokens, room)):
            output = self.language_model.model(
                input_ids=ids,
                attention_mask=seen,
                position_ids=self._positions(places),
                past_key_values=cache,
                use_cache=True,
            )
            state = output.last_hidden_state[:, -1]  # speaking width: the state that predicts the next token
            logits = self.logits(state)  # speaking vocabulary
            barred = words.barred(logits.shape[1]).to(device) if barred is None else barred
            not_sayable = barred[[stands[row] for row in speaking]]
            following = logits.masked_fill(not_sayable, -torch.inf).argmax(dim=-1)  # speaking
            going_on = []
            for place, (row, token) in enumerate(zip(speaking, following.tolist(), strict=True)):
                if token in words.stops:
                    continue
                going_on.append(place)
                said[row].append(token)
                stands[row] = words.following(stands[row], token)
                if token == words.seg:
                    states[row].append(state[place].float())
            if len(going_on) < len(speaking):  # what has ended costs nothing more
                speaking = [speaking[place] for place in going_on]
                if not speaking:
                    break
                kept = torch.tensor(going_on, device=device)
                cache.batch_select_indices(kept)
                following, seen, places = following[kept], seen[kept], places[kept]
            ids = following[:, None]
            seen = torch.cat([seen, seen.new_ones(len(speaking), 1)], dim=1)
            places = places[:, -1:] + 1
        none = torch.zeros(0, self.width, device=device)
        spoken = [
            Spoken(tuple(tokens), torch.stack(found) if found else none, row not in speaking)
            for row, (tokens, found) in enumerate(zip(said, states, strict=True))
        ]
        return [spoken[number :: len(prompts)] for number in range(len(prompts))]

    def _positions(self, places: Tensor) -> Tensor:
        """Return position ids as the model takes them: Qwen's three axes (time, rows, columns) agree on text."""
        if hasattr(self.language_model.model, "get_rope_index"):
            return places[None].expand(3, -1, -1)
        return places
