"""Conversations from wordings and measured masks: offline, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inference.medseg_qa.compose import DETAIL_KINDS, ImageFacts, TurnComposer
from inference.medseg_qa.knowledge import Knowledge, LabelKnowledge
from inference.medseg_qa.records import Conversation, QuestionKind, Turn

__all__ = ["TemplateAnnotator"]

_MOST_TURNS = 5
_MOST_LISTED = 5
# chances of turns beside the two that every target gets
_OVERVIEW, _DETAIL, _ABSENT, _MULTI, _REPORT, _MULTI_ABSENT = 0.35, 0.5, 0.65, 0.3, 0.25, 0.35


class TemplateAnnotator:
    """Asks for every target once openly and once by implication, and about things that are not there."""

    name = "template"

    def __init__(self, knowledge: Knowledge, labels: Mapping[str, LabelKnowledge], seed: int) -> None:
        self._knowledge = knowledge
        self._labels = labels
        self._seed = seed

    def summary(self) -> dict[str, float]:
        return {}

    def annotate(self, facts: ImageFacts, image: Path | None = None) -> tuple[Conversation, ...]:
        """Two conversations for a single target, one for each of several, one for an image without any."""
        composer = TurnComposer(facts, self._knowledge, self._labels, self._seed)
        count = len(facts.targets)
        if count == 0:
            found = [self._empty(composer)]
        elif count == 1:
            found = self._single(composer)
        else:
            order = composer.random.sample(range(count), count)
            found = [self._several(composer, order, position) for position in range(count)]
        kept = [turns for turns in found if turns]
        return tuple(
            Conversation(f"{facts.id}#{number}", self.name, tuple(turns[:_MOST_TURNS]))
            for number, turns in enumerate(kept)
        )

    def _empty(self, composer: TurnComposer) -> list[Turn]:
        absent = composer.facts.absent
        if not absent:
            return []
        names = composer.random.sample(absent, min(2, len(absent)))
        turns = [composer.overview()] if composer.random.random() < _OVERVIEW else []
        turns.append(composer.missing(names[0], QuestionKind.EXPLICIT))
        turns.append(composer.missing(names[-1], composer.implicit_kind(names[-1], absent=True)))
        return turns

    def _single(self, composer: TurnComposer) -> list[list[Turn]]:
        label = composer.facts.targets[0].label
        first = [composer.named(0, QuestionKind.EXPLICIT), composer.detail(0)]
        self._perhaps_absent(composer, first)
        if composer.random.random() < _REPORT:
            first.append(composer.named(0, QuestionKind.REPORT))
        second = [composer.named(0, composer.implicit_kind(label))]
        self._perhaps_absent(composer, second)
        if len(second) < 2 or composer.random.random() < _DETAIL / 2:
            used = first[1].kind
            second.append(composer.detail(0, tuple(kind for kind in DETAIL_KINDS if kind is not used)))
        return [first, second]

    def _several(self, composer: TurnComposer, order: list[int], position: int) -> list[Turn]:
        here, following = order[position], order[(position + 1) % len(order)]
        chance = composer.random.random
        turns: list[Turn] = []
        if position == 0 and len(order) <= _MOST_LISTED and chance() < _OVERVIEW:
            turns.append(composer.overview())
        turns.append(composer.named(here, QuestionKind.EXPLICIT))
        turns.append(composer.named(following, composer.implicit_kind(composer.facts.targets[following].label)))
        if chance() < _DETAIL:
            turns.insert(-1, composer.detail(here))
        self._perhaps_absent(composer, turns)
        if chance() < _MULTI:
            chosen = tuple(composer.random.sample(order, min(len(order), 2 + (chance() < 0.3))))
            absent = composer.facts.absent
            missing = composer.random.choice(absent) if absent and chance() < _MULTI_ABSENT else None
            turns.append(composer.multi(chosen, missing))
        if chance() < _REPORT:
            turns.append(composer.named(here, QuestionKind.REPORT))
        return turns

    def _perhaps_absent(self, composer: TurnComposer, turns: list[Turn]) -> None:
        absent = composer.facts.absent
        if not absent or composer.random.random() >= _ABSENT:
            return
        name = composer.random.choice(absent)
        openly = composer.random.random() < 0.5
        kind = QuestionKind.EXPLICIT if openly else composer.implicit_kind(name, absent=True)
        turns.append(composer.missing(name, kind))
