"""MedSeg-QA's conversations as the language side learns them: small images, token ids, and a label for each [SEG]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inference.medseg_qa.records import Record, Turn, read_records
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.words import Words
from inference.training.augment import shift_and_turn
from inference.training.labels import DATASETS, LABELS, canonical
from inference.training.turns import TurnSampler
from inference.transform import to_square

__all__ = ["DialogueBatch", "Dialogues", "dialogue_texts"]

_STORED = 128  # pixels a side
_DENIAL_WEIGHT = (
    0.6  # of an answer that only says what is not there: a target that is never drawn costs more than one too many
)


@dataclass(frozen=True)
class DialogueBatch:
    """Padded on the right.

    `images`: uint8 `n rows columns 3`. `ids`, `attention`, `targets`: int64 `n tokens`; `targets` is -100 where nothing
    is to be said. `weights`: float32 `n tokens`. `seg_rows`, `seg_positions`, `seg_labels`: int64 `[SEG]s`, the
    position one before each [SEG] and its place in LABELS, or -1. `present`: float32 `n labels`, 1 there, 0 not,
    NaN unknown.
    """

    images: NDArray[np.uint8]
    ids: Tensor
    attention: Tensor
    targets: Tensor
    weights: Tensor
    seg_rows: Tensor
    seg_positions: Tensor
    seg_labels: Tensor
    present: Tensor


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

    def __init__(self, qa: Path, split: str, words: Words, config: MedSegRConfig, seed: int) -> None:
        self.words, self.config = words, config
        self.random = np.random.default_rng(seed)
        self.turns = TurnSampler(qa, split)
        self.images = [_small(qa / record.image) for record in self.turns.records]

    def batches(self, size: int, count: int) -> list[DialogueBatch]:
        """Draw `count` batches whose members are of like length, so that little is padding."""
        drawn = sorted((self._example() for _ in range(size * count)), key=lambda one: len(one[1]))
        order = self.random.permutation(count)
        return [self._collate(drawn[i * size : (i + 1) * size]) for i in order]

    def _example(self) -> tuple[int, list[int], list[int], list[float], list[int]]:
        while True:
            place, turns = self.turns.draw(self.random)
            example = self._encoded(self.turns.records[place], turns)
            if example is not None:
                return (place, *example)

    def _encoded(
        self, record: Record, turns: tuple[Turn, ...]
    ) -> tuple[list[int], list[int], list[float], list[int]] | None:
        """Return ids, targets, weights and the label of each [SEG]; None where not even one turn fits."""
        ids = self.words.prefix(self.config.visual_tokens)
        targets, weights, labels = [-100] * len(ids), [0.0] * len(ids), list[int]()
        said = 0
        for turn in turns:
            question = turn.question.lower() if self.random.random() < 0.3 else turn.question
            asked, answer = self.words.question(question), self.words.answer(turn.answer)
            if len(ids) + len(asked) + len(answer) > self.config.language_context:
                break
            ids += asked + answer
            targets += [-100] * len(asked) + answer
            weight = 1.0 if turn.targets else _DENIAL_WEIGHT
            weights += [0.0] * len(asked) + [weight] * len(answer)
            for index in turn.targets:
                label = canonical(record.targets[index].label)
                labels.append(LABELS.index(label) if label in LABELS else -1)
            said += 1
        return (ids, targets, weights, labels) if said else None

    def _collate(self, examples: list[tuple[int, list[int], list[int], list[float], list[int]]]) -> DialogueBatch:
        longest = max(len(ids) for _, ids, *_ in examples)
        size = len(examples)
        ids = torch.full((size, longest), self.words.pad)
        targets = torch.full((size, longest), -100)
        attention = torch.zeros((size, longest), dtype=torch.long)
        weights = torch.zeros((size, longest))
        present = torch.full((size, len(LABELS)), float("nan"))
        images, labels = [], []
        for row, (place, tokens, wanted, weight, segs) in enumerate(examples):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, : len(tokens)] = torch.tensor(wanted)
            weights[row, : len(tokens)] = torch.tensor(weight)
            attention[row, : len(tokens)] = 1
            labels += segs
            image = self.images[place]
            images.append(shift_and_turn(image, self.random))
            present[row] = _presence(self.turns.records[place])
        rows, positions = torch.nonzero(targets == self.words.seg, as_tuple=True)
        if len(rows) != len(labels):
            raise ValueError(f"{len(rows)} [SEG] tokens but {len(labels)} labels")
        return DialogueBatch(
            np.stack(images), ids, attention, targets, weights, rows, positions - 1, torch.tensor(labels), present
        )


def _presence(record: Record) -> Tensor:
    """Return 1 for the labels of a record that are there, 0 for the rest, NaN where that is not known."""
    found = {canonical(target.label) for target in record.targets}
    known = record.dataset in DATASETS
    values = [1.0 if label in found else 0.0 if known else float("nan") for label in LABELS]
    return torch.tensor(values)


def _small(path: Path) -> NDArray[np.uint8]:
    square, _ = to_square(np.asarray(Image.open(path).convert("RGB")))
    return np.asarray(Image.fromarray(square).resize((_STORED, _STORED), Image.Resampling.BOX))
