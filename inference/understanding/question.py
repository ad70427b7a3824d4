"""Understood questions: what `understand` makes of a text, and what the answer is made for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ABNORMALITIES", "Concept", "ConceptKind", "Intent", "Language", "UnderstoodQuestion"]


ABNORMALITIES = "abnormalities"
"""Name of the concept of all that is not as it should be, beyond what is learned by name."""


class Language(StrEnum):
    """The language of a question; answers are given in English."""

    ENGLISH = "en"
    GERMAN = "de"


class Intent(StrEnum):
    """What a question wants to know of its targets."""

    LOCATE = "locate"
    PRESENCE = "presence"
    SIZE = "size"
    COUNT = "count"
    COMPARE = "compare"
    DISTANCE = "distance"
    SIDE = "side"
    CAUSE = "cause"
    DESCRIBE = "describe"
    OVERVIEW = "overview"


class ConceptKind(StrEnum):
    """What a concept is."""

    STRUCTURE = "structure"
    FINDING = "finding"
    DEVICE = "device"


@dataclass(frozen=True)
class Concept:
    """Something a question may ask for, by its canonical English name.

    `labels`: the labels of our data sets that are this concept, one a side where it has sides ("kidneys" has two);
    empty: something that a question may name and the shipped weights have never learned ("brain tumour"). `concerns`:
    labels of the structure that such a thing is of ("liver cyst"): what may be asked for instead, and never it.
    """

    name: str
    kind: ConceptKind
    labels: tuple[str, ...]
    concerns: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnderstoodQuestion:
    """What a question asks for.

    `targets`: what is to be looked for, in the order of the text, exceptions taken out. `everything`: it asks for all
    that there is, less `excepted`. `negated`: it asks whether the targets are absent ("no effusion?"). `side`: left,
    right or empty, where the text names one. `earlier`: it goes on about the finding at hand ("how big is it?").
    `pointed_at`: the labels that a description implies, best first, where no name stands ("which organ makes bile?").
    `unknown`: words that seem to name something and stand in no table. `complaints`: what the patient complains of; no
    image shows it, and `pointed_at` is then all that may explain it. `judged`: words of what is asked of the targets
    and no mask tells ("normal", "benign"). `described`: it describes what it wants: with neither targets, `everything`
    nor `pointed_at` it goes to the model as it is, where the model takes free questions. A question with none of all
    this was not understood.
    """

    text: str
    language: Language
    intent: Intent
    targets: tuple[Concept, ...] = ()
    everything: bool = False
    excepted: tuple[Concept, ...] = ()
    negated: bool = False
    side: str = ""
    earlier: bool = False
    pointed_at: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    described: bool = False
