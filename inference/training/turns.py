"""Which turn of a MedSeg-QA set comes next in training: by its label, whatever the number of its images.

A set holds few wordings of each image. So most turns are composed anew from the same knowledge, in training wordings
only; the rest are taken as they stand, with the conversation around them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from inference.errors import InferenceError
from inference.medseg_qa.compose import ImageFacts, TurnComposer
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.labels import DATASETS, canonical
from inference.medseg_qa.records import QuestionKind, Record, Turn, read_records
from inference.training.limits import LimitTurns

__all__ = ["TurnSampler"]

_ABSENT = 0.27  # of the turns that are drawn ask for what is not there
_ANEW = 0.75  # of the turns are composed when they are drawn, where the image's set is one that is known
_WHOLE = 0.5  # of the draws from the set take the conversation around the turn as well
_ALIKE = ("acdc", "btcv", "hippocampus")  # sets whose labels have neighbours that are described much alike
_ALIKE_SHARE = 2.0  # of the draws that a label of theirs has, over another label
_HIPPOCAMPUS_STEP = 3  # neighbouring slices are almost the same

# Chances of the turns that are composed: more implication than in a set, since that is the harder to understand.
_PRESENT_KINDS = {"explicit": 0.13, "report": 0.09, "implicit": 0.48, "detail": 0.06, "multi": 0.15, "overview": 0.09}
_ABSENT_KINDS = {"explicit": 0.3, "report": 0.15, "implicit": 0.4, "multi": 0.15}
_MOST_TOGETHER = 4


class TurnSampler:
    """Draws a label, then whether it is there, then a turn that asks for it.

    `limits`: the share of the turns that ask for what no image or no model answers (`limits.py`).
    Raises `InferenceError` where the split has no turns, `SourceError` where `qa` holds no set.
    """

    def __init__(self, qa: Path, split: str, *, limits: float = 0.0) -> None:
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
        alike = {label for name in _ALIKE for label in DATASETS[name]}
        shares = np.array([_ALIKE_SHARE if label in alike else 1.0 for label in self.labels])
        self._shares = shares / shares.sum()
        self._knowledge = load_knowledge()
        self._facts = [self._facts_of(record) for record in self.records]
        self._limits, self._limit_turns = limits, LimitTurns(self._knowledge.labels)
        self._places: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for place, facts in enumerate(self._facts):
            if facts is not None:
                for label in {canonical(target.label) for target in facts.targets}:
                    self._places[label, False].append(place)
                for label in {canonical(label) for label in facts.absent}:
                    self._places[label, True].append(place)

    def draw(self, random: np.random.Generator) -> tuple[int, tuple[Turn, ...]]:
        """Return the place of a record in `records`, and one of its turns or the conversation around it."""
        while True:
            label = self.labels[int(random.choice(len(self.labels), p=self._shares))]
            absent = bool(random.random() < _ABSENT)
            places = self._places.get((label, absent))
            if places and self._limits and random.random() < self._limits:
                place = places[int(random.integers(len(places)))]
                facts = self._facts[place]
                assert facts is not None, "only places with facts are drawn from"
                return place, (self._limit_turns.draw(facts, random),)
            if places and random.random() < _ANEW:
                place = places[int(random.integers(len(places)))]
                return place, (self._composed(place, label, absent, random),)
            choices = self._turns.get((label, absent))
            if not choices:
                continue
            place, talk, number = choices[int(random.integers(len(choices)))]
            turns = self.records[place].conversations[talk].turns
            if random.random() < _WHOLE or not turns[number].standalone:
                return place, turns
            return place, (turns[number],)

    def _facts_of(self, record: Record) -> ImageFacts | None:
        """Return what may be said of a record; None where its set or one of its labels is not known."""
        known = self._knowledge.datasets.get(record.dataset)
        shown = {target.label for target in record.targets}
        if known is None or not shown <= set(self._knowledge.labels):
            return None
        outside = self._knowledge.outside(record.dataset, record.modality)
        absent = tuple(label for label in dict.fromkeys((*known.get("absent", ()), *outside)) if label not in shown)
        return ImageFacts.of(record, absent)

    def _composed(self, place: int, label: str, absent: bool, random: np.random.Generator) -> Turn:
        facts = self._facts[place]
        assert facts is not None, "only places with facts are drawn from"
        composer = TurnComposer(facts, self._knowledge, self._knowledge.labels, int(random.integers(2**31)))
        chances = _ABSENT_KINDS if absent else _PRESENT_KINDS
        kind = str(random.choice(list(chances), p=list(chances.values())))
        if absent:
            names = [name for name in facts.absent if canonical(name) == label]
            name = names[int(random.integers(len(names)))]
            if kind == "multi" and facts.targets:
                return composer.multi(_some(len(facts.targets), random, _MOST_TOGETHER - 1), name)
            openly = {"explicit": QuestionKind.EXPLICIT, "report": QuestionKind.REPORT}.get(kind)
            return composer.missing(name, openly or composer.implicit_kind(name, absent=True))
        index = next(i for i, target in enumerate(facts.targets) if canonical(target.label) == label)
        if kind == "overview" and len(facts.targets) <= _MOST_TOGETHER + 1:
            return composer.overview()
        if kind == "multi" and len(facts.targets) > 1:
            others = [i for i in range(len(facts.targets)) if i != index]
            chosen = [index, *(others[i] for i in _some(len(others), random, _MOST_TOGETHER - 1))]
            missing = str(random.choice(facts.absent)) if facts.absent and random.random() < 0.35 else None
            return composer.multi(tuple(int(i) for i in random.permutation(chosen)), missing)
        if kind == "detail":
            return composer.detail(index)
        if kind == "implicit":
            return composer.named(index, composer.implicit_kind(facts.targets[index].label))
        return composer.named(index, QuestionKind.REPORT if kind == "report" else QuestionKind.EXPLICIT)


def _some(count: int, random: np.random.Generator, most: int) -> tuple[int, ...]:
    """Return between one and `most` different places below `count`, in random order."""
    chosen = random.permutation(count)[: int(random.integers(1, min(count, most) + 1))]
    return tuple(int(i) for i in chosen)
