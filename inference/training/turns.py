"""Which turn of a MedSeg-QA set comes next in training: every label as often as any other, whatever its images."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from inference.errors import InferenceError
from inference.medseg_qa.records import Record, Turn, read_records
from inference.training.labels import canonical

__all__ = ["TurnSampler"]

_ABSENT = 0.27  # of the turns that are drawn ask for what is not there
_WHOLE = 0.5  # of the draws take the conversation around the turn as well
_HIPPOCAMPUS_STEP = 3  # neighbouring slices are almost the same


class TurnSampler:
    """Draws a label, then whether it is there, then a turn that asks for it.

    Raises `InferenceError` where the split has no turns, `SourceError` where `qa` holds no set.
    """

    def __init__(self, qa: Path, split: str) -> None:
        self.records: list[Record] = [
            record
            for number, record in enumerate(read_records(qa, split))
            if record.dataset != "hippocampus" or number % _HIPPOCAMPUS_STEP == 0
        ]
        self._turns: dict[tuple[str, bool], list[tuple[int, int, int]]] = defaultdict(list)
        for place, record in enumerate(self.records):
            for talk, conversation in enumerate(record.conversations):
                for number, turn in enumerate(conversation.turns):
                    absent = {canonical(one) for one in turn.absent}
                    for label in {canonical(label) for label in turn.asked}:
                        self._turns[label, label in absent].append((place, talk, number))
        self.labels = sorted({label for label, absent in self._turns if not absent})
        if not self.labels:
            raise InferenceError(f"the split {split} of {qa} asks for nothing that is there; nothing can be learned")

    def draw(self, random: np.random.Generator) -> tuple[int, tuple[Turn, ...]]:
        """Return the place of a record in `records`, and one of its turns or the conversation around it."""
        while True:
            label = self.labels[int(random.integers(len(self.labels)))]
            choices = self._turns.get((label, bool(random.random() < _ABSENT)))
            if not choices:
                continue
            place, talk, number = choices[int(random.integers(len(choices)))]
            turns = self.records[place].conversations[talk].turns
            if random.random() < _WHOLE or not turns[number].standalone:
                return place, turns
            return place, (turns[number],)
