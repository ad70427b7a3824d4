"""Checks of conversations: grammar, masks in step, claims against the masks, patient data; and light repair."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.knowledge import LabelKnowledge
from inference.medseg_qa.records import Conversation, Target, Turn

__all__ = ["Fault", "check_conversation", "check_turn", "repaired_answer"]


class Fault(Enum):
    """What is wrong with a turn; the value stands in the build report."""

    GRAMMAR = "grammar"
    MASK_COUNT = "mask-count"
    WRONG_PHRASE = "phrase-of-another-target"
    WRONG_SIDE = "side-contradicts-mask"
    WRONG_SIZE = "size-contradicts-mask"
    WRONG_PRESENCE = "presence-contradicts-mask"
    PATIENT_DATA = "patient-data"
    TURN_COUNT = "turn-count"
    EMPTY_TEXT = "empty-text"


_GROUNDED = re.compile(r"<p> ([^<>\[\]]+?) </p> \[SEG\]")
_TAGS = re.compile(r"</?p>|\[SEG\]", re.IGNORECASE)
_IMAGE_SIDE = re.compile(r"\b(left|right) (?:half|side) of (?:the|this) image", re.IGNORECASE)
_PATIENT_SIDE = re.compile(r"\bpatient's (left|right)\b", re.IGNORECASE)
_AREA = re.compile(r"(\d+(?:\.\d+)?)\s*(?:mm2|mm²|square millimet(?:re|er)s?)")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*mm\b(?!2|²)")
_SHARE = re.compile(r"(less than )?(\d+(?:\.\d+)?)\s*(?:%|per ?cent)")
_DENIAL = re.compile(r"\b(?:no|not|none|nothing|cannot|absent|without)\b|n't\b", re.IGNORECASE)
_PATIENT_DATA = re.compile(
    r"\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|\b(?:19|20)\d\d-\d\d-\d\d\b|\b\d{6,}\b|[\w.+-]+@[\w-]+\.\w+"
    r"|\b(?:Mr|Mrs|Ms|Miss|Dr)\.? [A-Z][a-z]+|\b(?:MRN|patient id|accession|date of birth|DOB)\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr)\.? [A-Z][a-z]+")
_SIZE_TOLERANCE = 0.1


def repaired_answer(answer: str) -> str:
    """The same answer with the tags in the exact grammar, where only case and spaces differ."""
    text = re.sub(r"<\s*p\s*>\s*", "<p> ", answer, flags=re.IGNORECASE)
    text = re.sub(r"\s*<\s*/\s*p\s*>\s*\[\s*SEG\s*\]", " </p> [SEG]", text, flags=re.IGNORECASE)
    return re.sub(r"[ \t\r\n]+", " ", text).strip()


def check_conversation(
    conversation: Conversation, facts: ImageFacts, labels: Mapping[str, LabelKnowledge]
) -> tuple[Fault, ...]:
    """All faults of a conversation, in order of its turns."""
    faults = [] if 2 <= len(conversation.turns) <= 5 else [Fault.TURN_COUNT]
    for turn in conversation.turns:
        faults += check_turn(turn, facts, labels)
    return tuple(faults)


def check_turn(turn: Turn, facts: ImageFacts, labels: Mapping[str, LabelKnowledge]) -> tuple[Fault, ...]:
    """All faults of one turn; an empty tuple means it may stay."""
    if not turn.question.strip() or not turn.answer.strip():
        return (Fault.EMPTY_TEXT,)
    if _TAGS.search(_GROUNDED.sub("", turn.answer)) or _TAGS.search(turn.question):
        return (Fault.GRAMMAR,)
    phrases = _GROUNDED.findall(turn.answer)
    if len(phrases) != len(turn.targets) or any(not 0 <= i < len(facts.targets) for i in turn.targets):
        return (Fault.MASK_COUNT,)
    targets = [facts.targets[i] for i in turn.targets]
    checks = (
        (Fault.WRONG_PHRASE, _wrong_phrase(phrases, targets, labels)),
        (Fault.WRONG_SIDE, _wrong_side(turn.answer, targets, facts)),
        (Fault.WRONG_SIZE, _wrong_size(turn.answer, targets, facts)),
        (Fault.WRONG_PRESENCE, _wrong_presence(turn, facts, labels)),
        (Fault.PATIENT_DATA, _has_patient_data(f"{turn.question}\n{turn.answer}")),
    )
    return tuple(fault for fault, found in checks if found)


def _wrong_phrase(phrases: list[str], targets: list[Target], labels: Mapping[str, LabelKnowledge]) -> bool:
    for phrase, target in zip(phrases, targets, strict=True):
        label = labels.get(target.label)
        names = {target.phrase, target.label, *(label.names if label else ())}
        if phrase.lower() not in {name.lower() for name in names}:
            return True
    return False


def _wrong_side(answer: str, targets: list[Target], facts: ImageFacts) -> bool:
    """Side claims are judged where an answer has a single target; with several it stays open whose side is meant."""
    if len(targets) != 1:
        return False
    side = targets[0].side
    patient = _PATIENT_SIDE.findall(answer)
    if patient and facts.orientation == "radiological":
        mirrored = {"left": "right", "right": "left"}
        # a clause of anatomy may name the patient's side too; it must agree as well
        if side is not None and any(mirrored[word.lower()] != side for word in patient):
            return True
    return any(word.lower() != side for word in _IMAGE_SIDE.findall(answer))


def _wrong_size(answer: str, targets: list[Target], facts: ImageFacts) -> bool:
    areas, lengths = _AREA.findall(answer), _LENGTH.findall(answer)
    if (areas or lengths) and facts.spacing_mm is None:
        return True
    if len(targets) != 1:
        return False
    target, (rows, columns) = targets[0], facts.size
    row0, column0, row1, column1 = target.bbox
    spacing = facts.spacing_mm or (0.0, 0.0)
    sides = ((row1 - row0) * spacing[0], (column1 - column0) * spacing[1])
    share = 100 * target.pixels / (rows * columns)
    wrong_area = any(not _near(float(area), target.area_mm2 or 0.0, 1.0) for area in areas)
    wrong_length = any(all(not _near(float(length), side, 1.0) for side in sides) for length in lengths)
    wrong_share = any(
        share > float(value) if below else not _near(float(value), share, 0.1)
        for below, value in _SHARE.findall(answer)
    )
    return wrong_area or wrong_length or wrong_share


def _near(claimed: float, measured: float, least: float) -> bool:
    return abs(claimed - measured) <= max(least, _SIZE_TOLERANCE * measured)


def _wrong_presence(turn: Turn, facts: ImageFacts, labels: Mapping[str, LabelKnowledge]) -> bool:
    shown = {target.label for target in facts.targets}
    if set(turn.absent) & shown or {facts.targets[i].label for i in turn.targets} & set(turn.absent):
        return True
    if not turn.targets:
        # nothing marked: the answer must say so, and nothing asked may be there
        return bool(set(turn.asked) & shown) or not _DENIAL.search(turn.answer)
    answer = turn.answer.lower()
    for name in shown - set(turn.absent):
        label = labels.get(name)
        for word in {name, *(label.names if label else ())}:
            if re.search(rf"\bno {re.escape(word.lower())} (?:is|are|can be) ", answer):
                return True
    return False


def _has_patient_data(text: str) -> bool:
    hidden = _PATIENT_DATA.search(text)
    if hidden is None:
        return False
    # titles are matched without regard to case above; only a capitalised name after one counts
    return not re.match(r"(?:mr|mrs|ms|miss|dr)\b", hidden.group(), re.IGNORECASE) or bool(_NAMED.search(text))
