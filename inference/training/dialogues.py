"""MedSeg-QA's conversations as the language side learns them: small images, token ids, and what they mean.

What they mean: a label for each [SEG], which labels each question asks for, and which each part of an image shows.
Beside the images of the conversations, as many again are drawn for the vision tower alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inference.medseg_qa.labels import DATASETS, LABELS, canonical
from inference.medseg_qa.records import Record, Turn, read_records
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.tokenizer import IGNORED, ChatTokenizer
from inference.medseg_r.transform import to_square
from inference.training.augment import augment, shift_and_turn
from inference.training.turns import TurnSampler

__all__ = ["DialogueBatch", "Dialogues", "dialogue_texts"]

_MORE_IMAGES = 12  # in each batch, without a conversation and more strongly augmented
_LEAST_OCCUPIED = 0.02  # of a visual token's square, for a label to be in it
_WORD_LOST, _WORDS_LOST_IN = 0.15, 0.5  # chance of each word to be left out, in this share of the questions
# of an answer that only says what is not there: a target that is never drawn costs more than one too many
_DENIAL_WEIGHT = 0.6


@dataclass(frozen=True)
class DialogueBatch:
    """Padded on the right; `labels` are places in LABELS.

    `images`: uint8 `n+more rows columns 3`, the first n with a conversation. `ids`, `attention`, `targets`: int64
    `n tokens`; `targets` is `IGNORED` where nothing is to be said. `weights`: float32 `n tokens`. `seg_rows`,
    `seg_positions`, `seg_labels`: int64 `[SEG]s`, the position one before each [SEG] and its label, or -1.
    `asked_rows`, `asked_positions`: int64 `questions`, where each question's answer begins; `asked`: float32
    `questions labels`. `occupied`: float32 `n+more visual_tokens labels`, 1 in a token's square, 0 not, NaN unknown.
    """

    images: NDArray[np.uint8]
    ids: Tensor
    attention: Tensor
    targets: Tensor
    weights: Tensor
    seg_rows: Tensor
    seg_positions: Tensor
    seg_labels: Tensor
    asked_rows: Tensor
    asked_positions: Tensor
    asked: Tensor
    occupied: Tensor

    def to(self, device: torch.device) -> DialogueBatch:
        """Return it with its tensors on a device; `images` stay where they are."""
        tensors = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "images"}
        return replace(self, **{name: value.to(device) for name, value in tensors.items()})


@dataclass
class _Example:
    """One conversation about the record at `place`: lists per token, per [SEG], and per question."""

    place: int
    ids: list[int]
    targets: list[int]
    weights: list[float]
    seg_labels: list[int]
    asked_positions: list[int]
    asked: list[Tensor]


def dialogue_texts(qa: Path) -> list[str]:
    """Return every question and answer of the train split."""
    return [
        text
        for record in read_records(qa, "train")
        for conversation in record.conversations
        for turn in conversation.turns
        for text in (turn.question, turn.answer)
    ]


class Dialogues:
    """Draws conversations of one split as `LanguageStage` learns them."""

    def __init__(
        self, qa: Path, split: str, tokenizer: ChatTokenizer, config: MedSegRConfig, *, limits: float = 0.0
    ) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.turns = TurnSampler(qa, split, limits=limits)
        self.images = [_small(qa / record.image, config.context_image_size) for record in self.turns.records]
        self.bits = [_label_bits(qa, record, config.context_image_size) for record in self.turns.records]
        by_label: dict[str, list[int]] = defaultdict(list)
        for place, bits in enumerate(self.bits):
            union = int(np.bitwise_or.reduce(bits, axis=None))
            for bit, label in enumerate(DATASETS.get(self.turns.records[place].dataset, ())):
                if union >> bit & 1:
                    by_label[label].append(place)
        self.by_label = [by_label[label] for label in sorted(by_label)]

    def batches(self, random: np.random.Generator, size: int, count: int) -> list[DialogueBatch]:
        """Draw `count` batches whose members are of like length, so that little is padding."""
        drawn = sorted((self._example(random) for _ in range(size * count)), key=lambda one: len(one.ids))
        order = random.permutation(count)
        return [self._collate(random, drawn[i * size : (i + 1) * size]) for i in order]

    def _example(self, random: np.random.Generator) -> _Example:
        while True:
            place, turns = self.turns.draw(random)
            example = self._encoded(random, place, turns)
            if example is not None:
                return example

    def _encoded(self, random: np.random.Generator, place: int, turns: tuple[Turn, ...]) -> _Example | None:
        """Return a conversation as far as it fits; None where not even one turn does."""
        record, ids = self.turns.records[place], self.tokenizer.prefix(self.config.visual_tokens)
        made = _Example(place, ids, [IGNORED] * len(ids), [0.0] * len(ids), [], [], [])
        for turn in turns:
            asked, answer = (
                self.tokenizer.question(_as_people_ask(turn.question, random)),
                self.tokenizer.answer(turn.answer),
            )
            if len(made.ids) + len(asked) + len(answer) > self.config.language_context:
                break
            made.asked_positions.append(len(made.ids) + len(asked) - 1)
            made.asked.append(_one_hot([canonical(label) for label in turn.asked]))
            made.ids += asked + answer
            made.targets += [IGNORED] * len(asked) + answer
            made.weights += [0.0] * len(asked) + [1.0 if turn.targets else _DENIAL_WEIGHT] * len(answer)
            for index in turn.targets:
                label = canonical(record.targets[index].label)
                made.seg_labels.append(LABELS.index(label) if label in LABELS else -1)
        return made if made.asked else None

    def _collate(self, random: np.random.Generator, examples: list[_Example]) -> DialogueBatch:
        longest, size = max(len(one.ids) for one in examples), len(examples)
        ids = torch.full((size, longest), self.tokenizer.pad)
        targets = torch.full((size, longest), IGNORED)
        attention = torch.zeros((size, longest), dtype=torch.long)
        weights = torch.zeros((size, longest))
        seen = []
        for row, one in enumerate(examples):
            count = len(one.ids)
            ids[row, :count] = torch.tensor(one.ids)
            targets[row, :count] = torch.tensor(one.targets)
            weights[row, :count] = torch.tensor(one.weights)
            attention[row, :count] = 1
            seen.append((one.place, *shift_and_turn(self.images[one.place], self.bits[one.place], random)))
        for _ in range(_MORE_IMAGES if self.by_label else 0):
            places = self.by_label[int(random.integers(len(self.by_label)))]
            place = places[int(random.integers(len(places)))]
            dataset = self.turns.records[place].dataset
            seen.append((place, *augment(self.images[place], self.bits[place], dataset, random)))
        rows, positions = torch.nonzero(targets == self.tokenizer.seg, as_tuple=True)
        labels = [label for one in examples for label in one.seg_labels]
        if len(rows) != len(labels):
            raise ValueError(f"{len(rows)} [SEG] tokens but {len(labels)} labels")
        return DialogueBatch(
            images=np.stack([image for _, image, _ in seen]),
            ids=ids,
            attention=attention,
            targets=targets,
            weights=weights,
            seg_rows=rows,
            seg_positions=positions - 1,
            seg_labels=torch.tensor(labels),
            asked_rows=torch.tensor([row for row, one in enumerate(examples) for _ in one.asked]),
            asked_positions=torch.tensor([position for one in examples for position in one.asked_positions]),
            asked=torch.stack([asked for one in examples for asked in one.asked]),
            occupied=torch.stack([self._occupied(place, bits) for place, _, bits in seen]),
        )

    def _occupied(self, place: int, bits: NDArray[np.uint16]) -> Tensor:
        """Return which labels each visual token's square shows: float32 `visual_tokens labels`."""
        own = DATASETS.get(self.turns.records[place].dataset)
        if own is None:
            return torch.full((self.config.visual_tokens, len(LABELS)), float("nan"))
        size = self.config.context_patch_size
        grid = bits.shape[0] // size
        planes = bits[..., None] >> np.arange(len(own), dtype=np.uint16) & np.uint16(1)
        shares = planes.reshape(grid, size, grid, size, len(own)).mean(axis=(1, 3)).reshape(grid * grid, len(own))
        occupied = torch.zeros(grid * grid, len(LABELS))
        first = LABELS.index(own[0])
        occupied[:, first : first + len(own)] = torch.from_numpy(shares >= _LEAST_OCCUPIED).float()
        return occupied


def _as_people_ask(question: str, random: np.random.Generator) -> str:
    """Return a question as people may put it: now and then in lower case, or with words left out."""
    if random.random() < 0.3:
        question = question.lower()
    if random.random() < _WORDS_LOST_IN:
        words = question.split()
        question = " ".join(word for word in words if random.random() >= _WORD_LOST) or question
    return question


def _one_hot(labels: list[str]) -> Tensor:
    return torch.tensor([float(label in labels) for label in LABELS])


def _label_bits(qa: Path, record: Record, side: int) -> NDArray[np.uint16]:
    """Return a record's masks as bits of its data set's labels: uint16 `side side`; no bits for other labels."""
    bits = np.zeros((side, side), np.uint16)
    own = DATASETS.get(record.dataset, ())
    for target in record.targets:
        label = canonical(target.label)
        if label in own:
            square, _ = to_square(np.asarray(Image.open(qa / target.mask)), nearest=True)
            small = np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BOX))
            bits |= (small > 64).astype(np.uint16) << np.uint16(own.index(label))
    return bits


def _small(path: Path, side: int) -> NDArray[np.uint8]:
    square, _ = to_square(np.asarray(Image.open(path).convert("RGB")))
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BOX))
