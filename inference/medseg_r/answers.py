"""The grammar of an answer: `<p> phrase </p> [SEG]` for each thing seen, and a sentence that denies what is not.

Denials are read in the forms that MedSeg-QA teaches (`medseg_qa/answers.yaml`; a test reads every one of them back). A
model that denies in other words loses no mask by it, only a mention in the answer for a whole volume.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inference.errors import AnswerMalformed

__all__ = ["NamedPhrase", "combined_text", "denied_phrases", "named_phrases", "without_markup"]

_NAMED = re.compile(r"<p>\s*((?:(?!<p>|</p>|\[SEG\]).)*?)\s*</p>\s*\[SEG\]")
_ARTICLE = r"(?:the |an? |any )?"
_ABSENT = tuple(
    re.compile(form.replace("PHRASE", _ARTICLE + r"(?P<phrase>[^.;,<>]+?)"), re.IGNORECASE)
    for form in (
        r"\bno PHRASE (?:is|are) visible\b",
        r"\bdo not see PHRASE in\b",
        r"\bdoes not show PHRASE; no mask\b",
        r"\bcan be identified as PHRASE\.",
        r"\bwould be PHRASE, but (?:it|they) (?:is|are) not visible\b",
        r"\bpoints to PHRASE, which\b",
        r"\blooking for PHRASE; nothing\b",
        r"(?:^|\. )PHRASE would fit, but nothing\b",
        r"(?:^|\. )PHRASE cannot be seen\b",
        r"\bno sign of PHRASE in\b",
    )
)
_ABSENT_LIST = re.compile(r"\bNo ([^.]+?) (?:is|are) seen\.")


@dataclass(frozen=True)
class NamedPhrase:
    """A phrase, and which of the answer's mentions of it this is, counted from 0."""

    phrase: str
    occurrence: int


def named_phrases(text: str, hidden_states: int) -> list[NamedPhrase]:
    """Return what an answer names, in order, one for each [SEG].

    Raises `AnswerMalformed` where named phrases, [SEG] tokens and `hidden_states` differ in number.
    """
    phrases = [match.strip() for match in _NAMED.findall(text)]
    segs = text.count("[SEG]")
    if not len(phrases) == segs == hidden_states or "" in phrases:
        raise AnswerMalformed(
            f"the answer names {len(phrases)} phrases but has {segs} [SEG] tokens and {hidden_states} states; "
            "the checkpoint does not keep to the grammar"
        )
    counted: Counter[str] = Counter()
    named = []
    for phrase in phrases:
        named.append(NamedPhrase(phrase, counted[phrase]))
        counted[phrase] += 1
    return named


def denied_phrases(text: str) -> list[str]:
    """Return the phrases that an answer says are not seen, without article, in the order of the forms."""
    listed = [phrase for match in _ABSENT_LIST.findall(text) for phrase in re.split(r", | or ", match)]
    return listed + [match["phrase"].strip() for form in _ABSENT for match in form.finditer(text)]


def without_markup(text: str) -> str:
    """Return an answer without <p>, </p> and [SEG], for people."""
    return " ".join(re.sub(r"<p>|</p>|\[SEG\]", " ", text).split()).replace(" .", ".").replace(" ,", ",")


def combined_text(texts: Sequence[str], seen: Sequence[str], absent: Sequence[str]) -> str:
    """Make one answer of several slices': what has a mask is seen; what was denied, or named but not marked, is not.

    Where that leaves nothing to say, the most frequent denial is the answer, never a text that names what has no mask.
    """
    sentences = []
    if seen:
        sentences.append(f"The image shows {_joined(list(dict.fromkeys(seen)), 'and')}.")
    if absent:
        sentences.append(f"No {_joined(list(dict.fromkeys(absent)), 'or')} is seen.")
    if sentences:
        return " ".join(sentences)
    denials = Counter(without_markup(text) for text in texts if "[SEG]" not in text)
    return denials.most_common(1)[0][0] if denials else "Nothing that was asked for is seen."


def _joined(phrases: Sequence[str], word: str) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {word} {phrases[-1]}"
