"""The words of an answer, from what was understood and what was measured.

Every sentence names its subject, so that each can be checked alone (`claims.py`), and says one thing. Many findings are
listed in one sentence, few get one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from typing import assert_never

from inference.interface import NotAssessed, NotAssessedReason, SliceStack
from inference.reasoning.facts import MIDDLE, FindingFacts
from inference.reasoning.general import general_appearance, general_causes, general_of_complaints
from inference.reasoning.names import joined, label_side, name_of
from inference.reasoning.ranges import compared, reference_sentence
from inference.reasoning.remarks import (
    NO_COUNT,
    asks_to_judge_sizes,
    judges_more_than_sizes,
    marked_together,
    short_coverage,
    size_unjudged,
    together_sentences,
    tube_width,
    unmeasured_sentence,
)
from inference.reasoning.wording import (
    UNSURE_BELOW,
    capital,
    certainty,
    confidence_text,
    extent_text,
    inside,
    place_text,
    side_text,
    size_of,
    size_text,
    slices_text,
)
from inference.understanding.question import Intent, UnderstoodQuestion

__all__ = [
    "COUNTED",
    "NOTHING",
    "answer_text",
    "fixed_sentences",
    "names_slices",
    "not_assessed_sentences",
    "not_seen_sentence",
]

COUNTED = "Slices are counted from 1 in the order in which they are shown."
NOTHING = "Nothing can be said to this question from this image."
UNCALIBRATED = "No size in mm is given: this image does not say how large its pixels are in the patient."
NO_SIDE = "The side of the patient cannot be told: this image does not say which side is which."
NOT_JUDGED = (
    "Whether that is normal, benign or as it should be is not judged: "
    "this model marks and measures, it does not diagnose."
)
NONE_MARKED = "None of this is marked."
NO_CAUSE = "No cause is claimed: this model marks and measures, it does not diagnose."
NO_RATIO_OF_UNSURE = "The sizes are not compared: the confidence is too low to measure all of it."
NO_RATIO = "The sizes are not compared: not all of it lies inside the images."
NO_OTHER = "No sizes are compared: only one thing is seen."
NO_DISTANCE = "Distances are not told: only what lies within 5 mm of something else is said to be next to it."
_FEW = 3
_ABOUT_SIZE = frozenset({Intent.SIZE, Intent.COMPARE, Intent.DESCRIBE})

_BECAUSE = {
    NotAssessedReason.LABEL: "this model has not learned to find them",
    NotAssessedReason.MODALITY: "this model has not learned them on such images",
    NotAssessedReason.REGION: "these images show another part of the body than this model knows them in",
    NotAssessedReason.PLANE: "this model has not learned them in slices that lie this way",
    NotAssessedReason.UNLIKE: "these images are unlike those that this model has learned from",
    NotAssessedReason.UNSURE: "this model is too unsure",
}


def answer_text(
    question: UnderstoodQuestion,
    stack: SliceStack,
    facts: Sequence[FindingFacts],
    not_seen: Sequence[str],
    not_assessed: Sequence[NotAssessed],
) -> str:
    """Return what an answer says: what was seen, where, how large, how sure; what was not seen; what not assessed."""
    sentences = [
        *_looked_for(question, facts, not_seen),
        *_seen(question, stack, facts, not_seen),
        *_absent(question, stack, facts, not_seen, not_assessed),
        *_of_complaints(question, facts, not_seen),
        *marked_together(question, [finding.phrase for finding in facts], not_seen),
        *_unjudged(question, stack, facts, not_seen),
        *([NO_CAUSE] if question.complaints and facts else []),
        *not_assessed_sentences(not_assessed),
    ]
    if not sentences:
        return NOTHING
    if any(names_slices(sentence) for sentence in sentences):
        sentences.append(COUNTED)
    return " ".join(dict.fromkeys(filter(None, sentences)))


def names_slices(sentence: str) -> bool:
    """Whether a sentence names slices by their numbers, so that it must be said how they are counted."""
    return re.search(r"\bslices? \d", sentence) is not None


def fixed_sentences(stack: SliceStack, facts: Sequence[FindingFacts]) -> frozenset[str]:
    """Sentences that may be said of these facts word for word, and hold words that are no claims on the image."""
    said = {COUNTED, NOTHING, UNCALIBRATED, NO_SIDE, NO_RATIO, NOT_JUDGED, NO_CAUSE, NONE_MARKED, NO_OTHER}
    said |= {NO_COUNT, NO_RATIO_OF_UNSURE, NO_DISTANCE, *_near(stack, facts), *_ranked(facts)}
    for finding in facts:
        said |= {
            general_causes(finding.phrase),
            general_appearance(finding.phrase, stack.modality),
            reference_sentence(stack, finding),
            _doubt(finding),
            _fits(finding),
            tube_width(finding),
            unmeasured_sentence(finding),
            size_unjudged(stack, finding),
            *together_sentences(finding.phrase),
        }
    return frozenset(said - {""})


def not_seen_sentence(phrases: Sequence[str]) -> str:
    """ "No polyp is seen.", "The liver is not seen.", "Not seen: the liver and polyp."."""
    names = list(dict.fromkeys(name_of(phrase) for phrase in phrases))
    if len(names) > 1:
        return f"Not seen: {joined(name.definite if not name.optional else name.text for name in names)}."
    [name] = names
    if name.optional:
        return f"No {name.text} {name.verb} seen."
    return f"The {name.text} {name.verb} not seen."


def not_assessed_sentences(not_assessed: Sequence[NotAssessed]) -> list[str]:
    """One sentence for each reason: its own words for a single thing, common ones for several."""
    ordered = sorted(not_assessed, key=lambda item: list(NotAssessedReason).index(item.why))
    sentences = []
    for why, group in groupby(ordered, key=lambda item: item.why):
        items = list({item.phrase: item for item in group}.values())
        reason = _clause(items[0].reason) if len(items) == 1 else _BECAUSE[why]
        sentences.append(f"Not assessed: {joined(name_of(item.phrase).text for item in items)} ({reason}).")
    return sentences


def _clause(reason: str) -> str:
    """A reason of one or more sentences as one clause; a question in it stays one."""
    return re.sub(r"[.!]+\s+", "; ", " ".join(reason.split())).rstrip(".!")


def _looked_for(question: UnderstoodQuestion, facts: Sequence[FindingFacts], not_seen: Sequence[str]) -> Iterator[str]:
    """What was looked at for a complaint, which itself no image shows."""
    if question.complaints and question.pointed_at and not question.targets:
        names = joined(name_of(phrase).introduced for phrase in question.pointed_at)
        yield f"Looked for what may go with {joined(question.complaints)}: {names}."
        if not facts and not not_seen:
            yield NONE_MARKED


def _of_complaints(
    question: UnderstoodQuestion, facts: Sequence[FindingFacts], not_seen: Sequence[str]
) -> Iterator[str]:
    """What is known of complaints with each thing that was looked for."""
    looked_for = [*(finding.phrase for finding in facts), *not_seen]
    if question.complaints and looked_for:
        asked = [] if question.targets else question.pointed_at
        yield general_of_complaints(asked or looked_for, question.complaints)


def _seen(
    question: UnderstoodQuestion, stack: SliceStack, facts: Sequence[FindingFacts], not_seen: Sequence[str]
) -> Iterator[str]:
    if not facts:
        return
    if question.pointed_at and not question.targets and not question.complaints and len(facts) == 1:
        yield _fits(facts[0])
    yield from _direct(question, stack, facts)
    if len(facts) > _FEW:
        yield from _listed(stack, facts)
    else:
        yield from _each(question, stack, facts, not_seen)
    yield from (_doubt(finding) for finding in facts)
    yield from _more(question, stack, facts)


def _direct(question: UnderstoodQuestion, stack: SliceStack, facts: Sequence[FindingFacts]) -> Iterator[str]:
    """What the question wants to know first, where that is not what is seen."""
    intent = question.intent
    if intent is Intent.SIDE:
        yield from _sides(facts)
    elif intent is Intent.COUNT:
        yield from _counts(facts)
    elif intent is Intent.COMPARE:
        yield from _compared(facts) if len(facts) > 1 or not question.targets else (NO_OTHER,)
    elif intent is Intent.DISTANCE:
        yield from list(_near(stack, facts)) or (NO_DISTANCE,)


def _more(question: UnderstoodQuestion, stack: SliceStack, facts: Sequence[FindingFacts]) -> Iterator[str]:
    """What else belongs to the answer; of many findings only sizes outside their reference range."""
    intent = question.intent
    few = facts if len(facts) <= _FEW else ()
    match intent:
        case Intent.LOCATE | Intent.PRESENCE | Intent.COUNT | Intent.SIDE | Intent.DISTANCE:
            pass
        case Intent.SIZE:
            yield from _extents(few)
            yield from _pairs(facts)
        case Intent.CAUSE:
            yield from (general_causes(finding.phrase) for finding in few if not question.complaints)
        case Intent.DESCRIBE:
            yield from _extents(few)
        case Intent.COMPARE | Intent.OVERVIEW:
            pass
        case _:
            assert_never(intent)
    if intent is Intent.OVERVIEW or (intent in _ABOUT_SIZE and not few):
        yield from (reference_sentence(stack, finding) for finding in facts if _outside(stack, finding))
    elif intent in _ABOUT_SIZE:
        for finding in facts:
            # A reference sentence tells the width already.
            yield reference_sentence(stack, finding) or (tube_width(finding) if intent is not Intent.COMPARE else "")
    if intent is Intent.DESCRIBE:
        yield from (general_appearance(finding.phrase, stack.modality) for finding in few)


def _outside(stack: SliceStack, facts: FindingFacts) -> bool:
    found = compared(stack, facts)
    return found is not None and not found.within


def _each(
    question: UnderstoodQuestion, stack: SliceStack, facts: Sequence[FindingFacts], not_seen: Sequence[str]
) -> Iterator[str]:
    yes_or_no = question.intent is Intent.PRESENCE and not (_judges(question) or not_seen)
    for number, finding in enumerate(facts):
        name = name_of(finding.phrase)
        seen = f"{name.introduced} {name.verb} seen {place_text(stack, finding)}".strip()
        if question.side and finding.side not in ("", question.side) and not label_side(finding.phrase):
            seen = f"not on the {question.side}: {seen}"
        elif yes_or_no and number == 0 and len(question.targets) <= 1:
            seen = f"no: {seen}" if question.negated else f"yes, {seen}"
        yield f"{capital('; '.join(filter(None, [seen, size_text(finding), confidence_text(finding)])))}."
    if question.side and question.intent is not Intent.SIDE and any(not finding.side for finding in facts):
        yield NO_SIDE


def _listed(stack: SliceStack, facts: Sequence[FindingFacts]) -> Iterator[str]:
    """All of many findings in one sentence, and which of them are unsure in another."""
    items = []
    for finding in facts:
        within = [name_of(phrase).definite for phrase in inside(finding)]
        holder = f"inside {joined(within)}" if within else ""
        details = [holder, size_text(finding, short=True), slices_text(stack, finding, short=True), certainty(finding)]
        items.append(f"{name_of(finding.phrase).introduced} ({', '.join(filter(None, details))})")
    yield f"Seen: {joined(items)}."
    unsure = [name_of(finding.phrase).definite for finding in facts if finding.confidence < UNSURE_BELOW]
    if unsure:
        yield f"Unsure, to be checked by eye: {joined(unsure)}."


def _extents(facts: Sequence[FindingFacts]) -> Iterator[str]:
    for finding in facts:
        extents = extent_text(finding)
        if extents:
            yield f"The {name_of(finding.phrase).text}: {extents}."
    yield from (unmeasured_sentence(finding) for finding in facts)
    measured = [finding for finding in facts if finding.measured]
    if measured and all(finding.volume_ml is None and finding.area_mm2 is None for finding in measured):
        yield UNCALIBRATED


def _compared(facts: Sequence[FindingFacts]) -> Iterator[str]:
    """Two by how much one is larger, pairs of sides so, too; others from the largest to the smallest."""
    pairs = list(_pairs(facts)) if len(facts) > 2 else list(_ratio(facts))
    yield from pairs
    if 2 * len(pairs) < len(facts):
        yield from _ranked(facts)


def _ranked(facts: Sequence[FindingFacts]) -> Iterator[str]:
    if len(facts) < 3 or len({size_of(finding)[1] for finding in facts}) > 1:
        return
    if any(finding.cut_off for finding in facts):
        yield NO_RATIO
        return
    largest = sorted(facts, key=lambda finding: -size_of(finding)[0])
    sizes = (f"{name_of(finding.phrase).definite} ({size_text(finding, short=True)})" for finding in largest)
    yield f"From the largest to the smallest: {joined(sizes)}."


def _near(stack: SliceStack, facts: Sequence[FindingFacts]) -> Iterator[str]:
    """Which of some findings lie next to each other, where the image tells how far that is."""
    for one, other in combinations(facts, 2):
        if stack.spacing_mm is not None and (other.phrase in one.neighbours or one.phrase in other.neighbours):
            first, second = name_of(one.phrase), name_of(other.phrase)
            yield f"The {first.text} {first.verb} at most 5 mm from the {second.text}."


def _pairs(facts: Sequence[FindingFacts]) -> Iterator[str]:
    """Left and right of the same thing, compared."""
    without_side: dict[str, list[FindingFacts]] = {}
    for finding in facts:
        side = label_side(finding.phrase)
        if side:
            without_side.setdefault(name_of(finding.phrase).text.replace(side, "").strip(), []).append(finding)
    for pair in without_side.values():
        if len(pair) == 2:
            yield from _ratio(pair)


def _ratio(facts: Sequence[FindingFacts]) -> Iterator[str]:
    if len(facts) != 2:
        return
    if not all(finding.measured for finding in facts):
        yield NO_RATIO_OF_UNSURE
        return
    if any(finding.cut_off for finding in facts):
        yield NO_RATIO
        return
    sizes = [size_of(finding) for finding in facts]
    if sizes[0][1] != sizes[1][1]:
        return
    (larger, smaller), (most, least) = facts, (sizes[0][0], sizes[1][0])
    if least > most:
        larger, smaller, most, least = smaller, larger, least, most
    first, second = name_of(larger.phrase), name_of(smaller.phrase)
    yield (
        f"The {first.text} ({size_text(larger, short=True)}) {first.verb} {most / least:.2f} times as large as "
        f"the {second.text} ({size_text(smaller, short=True)})."
    )


def _counts(facts: Sequence[FindingFacts]) -> Iterator[str]:
    if len(facts) > 1:
        yield f"{len(facts)} are seen: {joined(name_of(finding.phrase).introduced for finding in facts)}."
    for finding in facts:
        name = name_of(finding.phrase)
        if name.optional and len(facts) <= _FEW:
            parts = "1 connected part" if finding.parts == 1 else f"{finding.parts} separate parts"
            yield f"The {name.text} {name.verb} marked in {parts}."


def _sides(facts: Sequence[FindingFacts]) -> Iterator[str]:
    for finding in facts:
        name = name_of(finding.phrase)
        if finding.side:
            yield f"The {name.text} {name.verb} {side_text(finding)}."
        elif finding.measured_side == MIDDLE:
            yield f"The {name.text} {name.verb} in the middle of the body or on both sides of it."
    if any(not finding.side and not finding.measured_side for finding in facts):
        yield NO_SIDE


def _doubt(facts: FindingFacts) -> str:
    if not facts.side_in_doubt:
        return ""
    return (
        f"The side is in doubt: the name {name_of(facts.phrase).text} says {facts.label_side}, "
        f"but what is marked lies on the patient's {facts.measured_side}; check it by eye."
    )


def _fits(facts: FindingFacts) -> str:
    name = name_of(facts.phrase)
    return f"The description fits {name.definite}."


def _absent(
    question: UnderstoodQuestion,
    stack: SliceStack,
    facts: Sequence[FindingFacts],
    not_seen: Sequence[str],
    not_assessed: Sequence[NotAssessed],
) -> Iterator[str]:
    if not not_seen:
        return
    sentence = not_seen_sentence(not_seen)
    only = not facts and not not_assessed and len(question.targets) <= 1
    if question.intent is Intent.PRESENCE and only and not question.negated and not _judges(question):
        sentence = f"No, {sentence[:1].lower()}{sentence[1:]}"
    yield sentence
    yield short_coverage(stack, not_seen)
    if question.intent is Intent.COUNT and not facts:
        yield NO_COUNT


def _judges(question: UnderstoodQuestion) -> bool:
    return bool(question.judged) or asks_to_judge_sizes(question)


def _unjudged(
    question: UnderstoodQuestion, stack: SliceStack, facts: Sequence[FindingFacts], not_seen: Sequence[str]
) -> Iterator[str]:
    """That what is asked of a thing is not judged; of a size with why no reference value stands beside it."""
    sizes = asks_to_judge_sizes(question) and 0 < len(facts) <= _FEW
    if sizes:
        if question.intent not in _ABOUT_SIZE:
            yield from (reference_sentence(stack, finding) for finding in facts)
        yield from (size_unjudged(stack, finding) for finding in facts)
    if _judges(question) and (facts or not_seen) and (not sizes or judges_more_than_sizes(question)):
        yield NOT_JUDGED
