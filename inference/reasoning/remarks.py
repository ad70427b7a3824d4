"""What keeps an answer from being read as more than it is: no size is judged, no tube is as wide as it reaches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from inference.card import ImageKind
from inference.interface import LOW_CONFIDENCE, SliceStack
from inference.reasoning.facts import FindingFacts
from inference.reasoning.names import name_of
from inference.reasoning.ranges import no_comparison
from inference.reasoning.tubes import is_tube
from inference.reasoning.wording import least_text, length_text
from inference.understanding.question import UnderstoodQuestion

__all__ = [
    "NO_COUNT", "asks_to_judge_sizes", "judges_more_than_sizes", "marked_together", "short_coverage", "size_unjudged",
    "together_sentences", "tube_width", "unmeasured_sentence",
]  # fmt: skip

NO_COUNT = "None is seen on these images; that is no count of what the patient has."
_LEAST_COVERAGE_MM = 150.0
"""Shorter volumes may end before what was looked for begins."""
_SIZE_WORDS = re.compile(
    r"\b(?:enlarge(?:d|ment)|dilat(?:ed|ation|ion)|widen(?:ed|ing)|swollen|distended|ectatic|ectasia|shrunken|shrunk|"
    r"atroph\w*|hypertroph\w*|thicken(?:ed|ing)|oversized?|undersized?|narrow(?:ed)?|\w*megaly|"
    r"(?:too|abnormally|unusually) (?:big|large|small|wide|narrow|thick|thin|long|short)|"
    r"(?:bigger|larger|smaller|wider) than (?:normal|usual|it should)|"
    r"normal(?:ly)? (?:in )?(?:size|sized|width|calib(?:er|re)|diameter)|(?:size|width|diameter) (?:is )?normal|"
    r"vergr(?:ö|oe)(?:ß|ss)ert\w*|vergr(?:ö|oe)(?:ß|ss)erung|erweitert\w*|erweiterung|dilatiert\w*|geschwollen\w*|"
    r"verkleinert\w*|geschrumpft\w*|verdickt\w*|verbreitert\w*|verschm(?:ä|ae)lert\w*|\w*megalie|"
    r"zu (?:gro(?:ß|ss)|klein|weit|breit|eng|dick|d(?:ü|ue)nn|lang|kurz)|"
    r"normal(?:e)? (?:gro(?:ß|ss)|weit|gr(?:ö|oe)(?:ß|ss)e))\b",
    re.IGNORECASE,
)
_TOGETHER = {
    ("heart", "cardiomediastinum"): "the mediastinum",
    ("mediastinum", "cardiomediastinum"): "the heart",
    ("trachea", "airways"): "the main bronchi",
    ("bronchus", "airways"): "the trachea",
}
"""What is asked for, the label that is marked for it, and what that holds besides."""


def asks_to_judge_sizes(question: UnderstoodQuestion) -> bool:
    """Whether a question wants to know of a size whether it is as it should be: "enlarged", "erweitert"."""
    return _SIZE_WORDS.search(question.text) is not None


def judges_more_than_sizes(question: UnderstoodQuestion) -> bool:
    """Whether a question asks for a judgement that is not one of a size: "benign", "clear"."""
    return any(_SIZE_WORDS.search(word) is None for word in question.judged)


def size_unjudged(stack: SliceStack, facts: FindingFacts) -> str:
    """Say that a size is not judged and, where no reference value stands beside it, why not."""
    why = no_comparison(stack, facts).replace("no reference value", "none")
    more = f", and no reference value is given: {why}" if why else ""
    return f"Whether the size of {name_of(facts.phrase).definite} is as it should be is not judged{more}."


def unmeasured_sentence(facts: FindingFacts) -> str:
    """Say that a finding is too unsure to be measured; empty for one that is not."""
    name = name_of(facts.phrase)
    if facts.measured:
        return ""
    return f"The {name.text} {name.verb} not measured: the confidence is below {LOW_CONFIDENCE}."


def tube_width(facts: FindingFacts) -> str:
    """Say how wide a tube is across, or that this is not known; empty for what is no tube or has no sizes at all."""
    if not (is_tube(facts.phrase) and facts.measured):
        return ""
    name = name_of(facts.phrase)
    if facts.width_mm is not None:
        width = f"{least_text(facts)}{length_text(facts.width_mm)}"
        return f"The {name.text} {name.verb} {width} wide at the widest place."
    if facts.volume_ml is None and facts.area_mm2 is None:
        return ""
    reach = "they reach is not how wide they are" if name.plural else "it reaches is not how wide it is"
    return f"No width of {name.definite} is given: how far {reach}."


def marked_together(question: UnderstoodQuestion, seen: Iterable[str], not_seen: Iterable[str]) -> Iterator[str]:
    """Say of what stands for something else in the answer what it holds besides: the heart and the mediastinum."""
    seen, not_seen = set(seen), set(not_seen)
    for concept in question.targets:
        for label in concept.labels:
            if label in seen:
                yield _together(concept.name, label)
            elif label in not_seen:
                yield _together(concept.name, label).replace("marked", "looked for")


def together_sentences(label: str) -> set[str]:
    """All that `marked_together` may say of a label that is seen."""
    return {_together(name, known) for name, known in _TOGETHER if known == label}


def _together(name: str, label: str) -> str:
    besides = _TOGETHER.get((name, label))
    return f"The {name} is marked together with {besides}, as {name_of(label).text}." if besides else ""


def short_coverage(stack: SliceStack, not_seen: Sequence[str]) -> str:
    """Say how little of the patient a short volume covers, where a structure that everybody has is not seen in it."""
    if all(name_of(phrase).optional for phrase in not_seen):
        return ""
    count = len(stack.values)
    if count == 1:
        single = stack.context.kind is ImageKind.SECTION
        return "This is a single slice: what is not seen may lie outside it." if single else ""
    step = 0.0 if stack.spacing_mm is None else abs(stack.spacing_mm[0])
    if not 0 < count * step < _LEAST_COVERAGE_MM:
        return ""
    covered = length_text(count * step)
    return f"These {count} slices cover {covered}: what is not seen may lie outside them."
