"""Conversations as token ids, for any tokenizer that has a chat template.

A conversation is a prefix with the image, then for each turn a question and its answer. What stands around them is read
from the template once, by rendering it with stand-ins for what people say; questions and answers are then put between
as ids. So a person's text never meets the template, and never becomes one of its tokens.

For `tiny` the prefix is `<bos> <image>...` and a turn is `<user> question <assistant> answer <eos>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor

from inference.errors import CheckpointError
from inference.interface import Exchange, Question

__all__ = ["ADDED_TOKENS", "IGNORED", "ChatTokenizer", "GrammarState", "TokenisedConversation", "add_tokens"]

ADDED_TOKENS = ("<p>", "</p>", "[SEG]")
"""The tokens that MedSeg-R adds to a language model."""

IGNORED = -100
"""The target of a position that is not learned from."""

# A conversion without a chat template is asked as LLaVA-1.5 is.
_LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ 'USER: ' if message['role'] == 'user' else ' ASSISTANT: ' }}"
    "{% for part in message['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}{% if message['role'] != 'user' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
_QUESTION, _ANSWER, _NEXT_QUESTION = "\ue000", "\ue001", "\ue002"  # stand-ins: private-use characters, in no template
_ADDED_TOKEN = re.compile("(" + "|".join(map(re.escape, ADDED_TOKENS)) + ")")


class GrammarState(IntEnum):
    """How far an answer has come in its grammar, `text <p> phrase </p> [SEG] text`: it decides what may come next."""

    TEXT = 0
    OPENED = 1  # right after <p>
    PHRASE = 2
    NAMED = 3  # right after </p>
    SPACED = 4  # after the space between </p> and [SEG], where the tokenizer makes a token of it


@dataclass(frozen=True)
class TokenisedConversation:
    """A whole conversation for training. `targets`: the ids of answers and their ends, `IGNORED` elsewhere."""

    ids: list[int]
    targets: list[int]


def add_tokens(tokenizer: Any) -> None:
    """Make `<p>`, `</p>` and `[SEG]` tokens of a transformers tokenizer, where they are not yet."""
    known = tokenizer.get_vocab()
    new = [token for token in ADDED_TOKENS if token not in known]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in new])


class ChatTokenizer:
    """Text to token ids and back, with the ids of the tokens that mean something to the model.

    `pretrained`: a transformers tokenizer with `ADDED_TOKENS` in it. `image`: the model's image token. `stops`: ids
    that end an answer besides the tokenizer's and the template's own.
    Raises `CheckpointError` where an added token is missing or the template has no place for an image and a question.
    """

    def __init__(self, pretrained: Any, image: int | None = None, stops: Iterable[int] = ()) -> None:
        self.pretrained = pretrained
        self.open, self.close, self.seg = (self._id(token) for token in ADDED_TOKENS)
        self.image = self._id("<image>") if image is None else image
        self.eos = int(self.pretrained.eos_token_id)
        pad = self.pretrained.pad_token_id
        self.pad = self.eos if pad is None else int(pad)
        self._image_token = str(self.pretrained.convert_ids_to_tokens(self.image))
        added = map(str, self.pretrained.get_added_vocab())  # special or not, each is found in any text
        fixed = {*ADDED_TOKENS, self._image_token, *map(str, self.pretrained.all_special_tokens), *added}
        cut = sorted(token for token in fixed if len(token) > 1 and token.strip())  # runs of spaces are only text
        self._fixed = re.compile(f"(?=(?:{'|'.join(map(re.escape, cut))}))(.)", re.DOTALL)  # where one begins
        self._read_template()
        self.stops = frozenset({self.eos, self.end, *stops})

    def _id(self, token: str) -> int:
        number = self.pretrained.convert_tokens_to_ids(token)
        if number is None or number == self.pretrained.unk_token_id:
            raise CheckpointError(f"the tokenizer has no token {token}; compose the model with `medseg-r init`")
        return int(number)

    def _read_template(self) -> None:
        question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _QUESTION}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}
        next_question = {"role": "user", "content": [{"type": "text", "text": _NEXT_QUESTION}]}
        opening, header = self._rendered([question], True, _QUESTION)
        ending = self._rendered([question, answer], False, _QUESTION, _ANSWER)[-1]
        between = self._rendered([question, answer, next_question], False, _QUESTION, _ANSWER, _NEXT_QUESTION)[2]
        begins = getattr(self.pretrained, "boi_token", None)
        if begins and self._image_token not in opening:  # Gemma's template leaves the image tokens to its processor
            opening = opening.replace(begins, f"\n\n{begins}{self._image_token}{self.pretrained.eoi_token}\n\n")
        ids = self._encoded(opening)
        bos = self.pretrained.bos_token_id
        if bos is not None and ids[:1] != [bos] and self.pretrained.encode("a")[0] == bos:
            ids.insert(0, int(bos))
        if ids.count(self.image) != 1:
            raise CheckpointError(
                f"the chat template gives {ids.count(self.image)} image tokens for one image; it must give one"
            )
        self._header = self._encoded(header)
        self.end, *_ = self._ended(ending)
        _, *self._later = self._ended(between)  # between the end of an answer and the next question
        shared = 0
        while shared < len(self._later) and ids[len(ids) - 1 - shared] == self._later[-1 - shared]:
            shared += 1
        self._first = self._later[len(self._later) - shared :]  # what stands before every question, also the first
        ids = ids[: len(ids) - shared]
        place = ids.index(self.image)
        self._before_image, self._after_image = ids[:place], ids[place + 1 :]

    def _rendered(self, messages: list[dict[str, Any]], asks: bool, *stand_ins: str) -> list[str]:
        """Return the template's own text around the stand-ins."""
        text = self.pretrained.apply_chat_template(
            messages,
            chat_template=self.pretrained.chat_template or _LLAVA_TEMPLATE,
            tokenize=False,
            add_generation_prompt=asks,
        )
        pieces = re.split("|".join(stand_ins), text)
        if len(pieces) != len(stand_ins) + 1:
            raise CheckpointError("the tokenizer's chat template loses or repeats what is said; it cannot be used")
        return pieces

    def _ended(self, text: str) -> list[int]:
        """Return the ids that follow an answer, the first of which ends it."""
        ids = self._encoded(text)
        while ids and ids[0] not in self.pretrained.all_special_ids and ids[0] != self.eos:
            ids = ids[1:]  # such as a space before the end, which nothing is gained from learning
        return ids if ids else [self.eos]

    def _encoded(self, text: str) -> list[int]:
        return [int(number) for number in self.pretrained.encode(text, add_special_tokens=False)] if text else []

    def _plain(self, text: str) -> list[int]:
        """Encode text as nothing but text: "[SEG]" typed by a person is cut in two, so that it is letters."""
        pieces = self._fixed.sub("\\1\0", text).split("\0")
        return [number for piece in pieces for number in self._encoded(piece)]

    def unknown_letters(self, text: str) -> list[str]:
        """Return the letters of a text for which there are no tokens but bytes, each once, in order."""
        alone = len(self._encoded("a"))
        letters = dict.fromkeys(letter for letter in text if letter.isalpha() and not letter.isascii())
        return [letter for letter in letters if len(self._plain("a" + letter)) > alone + 1]

    def forbidden(self, size: int) -> Tensor:
        """Return which tokens may not come next in each `GrammarState`, bool `states size`.

        `size`: how many tokens the model scores. An answer never holds an image.
        """
        forbidden = torch.zeros(len(GrammarState), size, dtype=torch.bool)
        forbidden[:, self.image] = True
        forbidden[GrammarState.TEXT, [self.close, self.seg]] = True
        inside = [GrammarState.OPENED, GrammarState.PHRASE]
        for token in (self.open, self.seg, *self.stops):
            forbidden[inside, token] = True
        forbidden[GrammarState.OPENED, self.close] = True
        forbidden[[GrammarState.NAMED, GrammarState.SPACED]] = True
        forbidden[[GrammarState.NAMED, GrammarState.SPACED], self.seg] = False
        forbidden[GrammarState.NAMED, self._plain(" ")[:1]] = False
        return forbidden

    def next_state(self, state: GrammarState, token: int) -> GrammarState:
        """Return the state that `token` leads to from `state`."""
        if state in (GrammarState.OPENED, GrammarState.PHRASE):
            return GrammarState.NAMED if token == self.close else GrammarState.PHRASE
        if state is GrammarState.NAMED and token != self.seg:
            return GrammarState.SPACED
        return GrammarState.OPENED if token == self.open else GrammarState.TEXT

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.pretrained)

    def prefix(self, visual_tokens: int) -> list[int]:
        """Return the ids that every conversation about an image begins with."""
        return [*self._before_image, *([self.image] * visual_tokens), *self._after_image]

    def question(self, text: str, *, later: bool = False) -> list[int]:
        """Return the ids from the prefix, or `later` from the last answer's end, to where the next answer begins."""
        before = self._later if later else self._first
        return [*before, *self._plain(" ".join(text.replace("\0", " ").split())), *self._header]

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer, <p>, </p> and [SEG] as tokens, with the one that ends it."""
        ids: list[int] = []
        for piece in _ADDED_TOKEN.split(text):
            ids += [self._id(piece)] if piece in ADDED_TOKENS else self._plain(piece)
        return [*ids, self.end]

    def told(self, exchange: Exchange) -> list[int]:
        """Return the ids from the prefix up to the answer's first [SEG], which is left out: what comes next is it."""
        answer = self.answer(exchange.answer)
        return [*self.question(exchange.question), *answer[: answer.index(self.seg)]]

    def prompt(self, question: Question) -> list[int]:
        """Return the ids from the prefix to where the answer begins, the earlier exchanges in between."""
        ids: list[int] = []
        for number, exchange in enumerate(question.earlier):
            ids += [*self.question(exchange.question, later=number > 0), *self.answer(exchange.answer)]
        return ids + self.question(question.text, later=bool(question.earlier))

    def conversation(self, exchanges: Sequence[Exchange], visual_tokens: int) -> TokenisedConversation:
        """Return a whole conversation about one image as ids and targets."""
        ids = self.prefix(visual_tokens)
        targets = [IGNORED] * len(ids)
        for number, exchange in enumerate(exchanges):
            question, answer = self.question(exchange.question, later=number > 0), self.answer(exchange.answer)
            ids += [*question, *answer]
            targets += [*([IGNORED] * len(question)), *answer]
        return TokenisedConversation(ids, targets)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, `ADDED_TOKENS` included."""
        return str(self.pretrained.decode(list(ids), skip_special_tokens=False))
