"""What is known in general of a thing that was seen: marked so, since the image does not say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from inference.medseg_qa.knowledge import LabelKnowledge
from inference.medseg_qa.records import QuestionKind
from inference.reasoning.names import joined, knowledge_of, name_of
from inference.understanding.folding import fold, stem
from inference.understanding.table import load_complaints, phrase

__all__ = ["GENERAL", "general_appearance", "general_causes", "general_of_complaints"]

GENERAL = "In general:"
_MOST = 3
_WORDS_OF_A_CLAUSE = re.compile(r"[\w']+")
_SAME_MODALITY = {"CR": "DX", "RF": "DX", "XA": "DX"}


@cache
def general_causes(phrase: str) -> str:
    """What a thing may come with, how that may be felt, and what it is confused with; empty where nothing is known."""
    known = knowledge_of(phrase)
    if not known:
        return ""
    diseases = _first(label.cues[QuestionKind.PATHOLOGICAL] for label in known)
    complaints = _first(label.cues[QuestionKind.SYMPTOM] for label in known)
    name = name_of(phrase)
    if known[0].group == "structure":
        said = f"{GENERAL} conditions that concern {name.definite} are {joined(diseases, 'and')}"
    else:
        said = f"{GENERAL} {name.introduced} may go with {joined(diseases, 'or')}"
    return f"{said}; complaints may be {joined(complaints, 'or')}{_confused(known)}; the image alone does not tell."


def general_of_complaints(phrases: Sequence[str], complaints: Sequence[str]) -> str:
    """What is known of complaints with things that may explain them, a clause each; empty where nothing is known."""
    clauses = {one: clause for one in phrases if (clause := _cue_of(one, tuple(complaints)))}
    if not clauses:
        return ""
    said = joined(f"{name_of(one).introduced} ({clause})" for one, clause in clauses.items())
    return f"{GENERAL} {joined(complaints)} may go with {said}; the image alone does not tell."


@cache
def _cue_of(phrase_of_thing: str, complaints: tuple[str, ...]) -> str:
    """The first clause known of a thing, its symptoms before its diseases, that has all words of a complaint's name."""
    names = [set(phrase(name)) for complaint in complaints for name in _names_of(complaint)]
    for kind in (QuestionKind.SYMPTOM, QuestionKind.PATHOLOGICAL):
        for known in knowledge_of(phrase_of_thing):
            for cue in (*known.cues[kind], *known.training_cues.get(kind, ())):
                words = {stem(word) for word in _WORDS_OF_A_CLAUSE.findall(fold(cue))}
                if any(name <= words for name in names):
                    return cue
    return ""


def _names_of(complaint: str) -> tuple[str, ...]:
    entry = load_complaints().get(complaint)
    return entry.names if entry is not None else (complaint,)


@cache
def general_appearance(phrase: str, modality: str) -> str:
    """How a thing looks with a modality and what it is confused with; empty where nothing is known."""
    known = knowledge_of(phrase)
    modality = _SAME_MODALITY.get(modality, modality)
    if len(known) != 1 or modality not in known[0].appearance:
        return f"{GENERAL} {name_of(phrase).introduced}{_confused(known)[1:]}." if _confused(known) else ""
    [label] = known
    return f"{GENERAL} {name_of(phrase).introduced} {label.appearance[modality]}{_confused(known)}."


def _confused(known: Iterable[LabelKnowledge]) -> str:
    own = {label.label for label in known}
    others = [name for name in _first(label.confused_with for label in known) if name not in own]
    return f"; can be confused with {joined(others, 'or')}" if others else ""


def _first(lists: Iterable[tuple[str, ...]]) -> list[str]:
    """The first few of several lists, taken in turn."""
    columns = [list(entries) for entries in lists]
    turns = [column[place] for place in range(_MOST) for column in columns if place < len(column)]
    return list(dict.fromkeys(turns))[:_MOST]
