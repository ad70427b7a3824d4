"""Turns that teach the language side its limits: what it has not learned, what is left out, what is no question.

A model that was only ever asked for what it knows answers everything with one of its labels. So some training turns ask
for things of no data set, for all but one thing, for findings of none of its images, or for nothing at all. Their
answers say so, and mark nothing but what is named.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.knowledge import LabelKnowledge
from inference.medseg_qa.phrasing import articled, grounded, joined
from inference.medseg_qa.records import QuestionKind, Turn

__all__ = ["UNLEARNED", "LimitTurns"]

UNLEARNED = (
    "brain tumour", "stroke", "haemorrhage", "aneurysm", "thyroid nodule", "lymph node", "rib fracture",
    "vertebral body", "spinal cord", "disc herniation", "hip fracture", "knee meniscus", "cruciate ligament",
    "rotator cuff", "scaphoid", "appendix", "bladder", "prostate", "uterus", "ovary", "testis", "placenta", "fetus",
    "kidney stone", "gallstone", "hernia", "ascites", "diverticulum", "liver metastasis", "renal cyst",
    "pericardial effusion", "coronary artery", "heart valve", "pulmonary embolus", "lung nodule", "diaphragm",
    "trachea stent", "pacemaker", "optic disc", "macula", "retinal haemorrhage", "ulcer", "villi", "skin lesion",
    "parotid gland", "mandible", "tooth", "cerebellum", "ventricle of the brain", "white matter lesion",
)  # fmt: skip
"""Things that no data set of `DATASETS` marks."""

_CHANCES = {"unlearned": 0.4, "unlearned_beside": 0.15, "except": 0.2, "none_of_mine": 0.15, "no_question": 0.1}
_ASKED = (
    "Where is the {term}?", "Is there {a} {term}?", "Show me the {term}.", "Segment the {term}.",
    "Do you see {a} {term}?", "Outline the {term}, please.", "Any {term}?", "How large is the {term}?", "{term}",
    "Can {a} {term} be seen here?", "On which side is the {term}?", "What does the {term} look like?",
)  # fmt: skip
_UNLEARNED_ANSWERS = (
    "The {term} was not assessed: I have not learned it.",
    "I have not learned to mark {term}, so it was not assessed.",
)
_BESIDE = (
    "Where are the {term} and the {name}?", "Mark the {name} and the {term}.", "Show the {name}, and any {term}.",
    "Is there {a} {term}? And where is the {name}?",
)  # fmt: skip
_EXCEPT = (
    "Mark everything except the {name}.", "Show everything but the {name}.",
    "Segment all structures without the {name}.", "What is there apart from the {name}?",
    "Not the {name}, all the others please.", "Everything other than the {name}.",
)  # fmt: skip
_EXCEPT_ANSWERS = ("I have marked {list}.", "Here is all but the {name}: {list}.")
_NOTHING_ELSE = ("Nothing but the {name} could be marked, so nothing is.",)
_NONE_OF_MINE = (
    "Is this normal?", "What is the diagnosis?", "Any fracture?", "How long does the patient have?",
    "Should this be operated on?", "Compare this with the last examination.", "Which treatment do you suggest?",
    "How old is the patient?", "Is the contrast phase right?",
)  # fmt: skip
_NONE_OF_MINE_ANSWERS = (
    "None of the things I have learned answers this, so nothing is marked.",
    "This was not assessed: I can only mark what I have learned.",
)
_NO_QUESTION = (
    "hello", "hi there", "thanks", "ok", "test", "good morning", "???", "please help", "yes", "no", "asdf", "stop",
    "bye", "thank you very much", "image", "next", "who are you?", "how are you?", "hallo", "danke",
)  # fmt: skip
_NO_QUESTION_ANSWERS = ("Ask for something in the image, for example: Where is the {example}?",)


class LimitTurns:
    """Makes such turns about one image. `labels`: what is known of each label."""

    def __init__(self, labels: Mapping[str, LabelKnowledge]) -> None:
        self._labels = labels

    def draw(self, facts: ImageFacts, random: np.random.Generator) -> Turn:
        """Return a turn; one that no such turn can be made for gets a question for what was never learned."""
        kind = str(random.choice(list(_CHANCES), p=list(_CHANCES.values())))
        if kind == "except" and facts.targets:
            return self._all_but_one(facts, random)
        if kind == "unlearned_beside" and facts.targets:
            return self._beside(facts, random)
        if kind == "none_of_mine":
            return _turn(kind, _pick(_NONE_OF_MINE, random), _pick(_NONE_OF_MINE_ANSWERS, random))
        if kind == "no_question":
            names = [self._labels[target.label].phrase for target in facts.targets] or ["liver"]
            return _turn(
                kind, _pick(_NO_QUESTION, random), _pick(_NO_QUESTION_ANSWERS, random).format(example=names[0])
            )
        term = _pick(UNLEARNED, random)
        answer = _pick(_UNLEARNED_ANSWERS, random)
        return _turn("unlearned", _pick(_ASKED, random).format(term=term, a=_article(term)), answer.format(term=term))

    def _beside(self, facts: ImageFacts, random: np.random.Generator) -> Turn:
        """Ask for a target and for what was never learned: the one is marked, the other is not assessed."""
        index, term = int(random.integers(len(facts.targets))), _pick(UNLEARNED, random)
        label = self._labels[facts.targets[index].label]
        question = _pick(_BESIDE, random).format(term=term, a=_article(term), name=str(random.choice(label.names)))
        answer = f"I have marked {self._listed(facts, index)}. {_pick(_UNLEARNED_ANSWERS, random).format(term=term)}"
        return _turn("unlearned_beside", question, answer, (facts.targets[index].label,), (index,))

    def _all_but_one(self, facts: ImageFacts, random: np.random.Generator) -> Turn:
        left_out = int(random.integers(len(facts.targets)))
        others = tuple(index for index in range(len(facts.targets)) if index != left_out)
        name = str(random.choice(self._labels[facts.targets[left_out].label].names))
        frames = _EXCEPT_ANSWERS if others else _NOTHING_ELSE
        listed = joined([self._listed(facts, index) for index in others]) if others else ""
        asked = tuple(facts.targets[index].label for index in others)
        question = _pick(_EXCEPT, random).format(name=name)
        return _turn("except", question, _pick(frames, random).format(name=name, list=listed), asked, others)

    def _listed(self, facts: ImageFacts, index: int) -> str:
        target = facts.targets[index]
        article = articled(self._labels[target.label], target.phrase).removesuffix(target.phrase)
        return f"{article}{grounded(target.phrase)}"


def _turn(wording: str, question: str, answer: str, asked: tuple[str, ...] = (), targets: tuple[int, ...] = ()) -> Turn:
    kind = QuestionKind.MULTI if targets else QuestionKind.EXPLICIT
    return Turn(question, answer, kind, asked, targets, (), f"limits/{wording}")


def _article(term: str) -> str:
    return "an" if term[0] in "aeiou" and not term.startswith("uter") else "a"


def _pick(texts: tuple[str, ...], random: np.random.Generator) -> str:
    return texts[int(random.integers(len(texts)))]
