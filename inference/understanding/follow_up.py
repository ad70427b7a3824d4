"""Questions that go on from earlier ones: which finding is at hand, and which side is meant now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from inference.errors import QuestionRefused
from inference.interface import Question
from inference.understanding.intents import has_phrase, intent_of
from inference.understanding.mentions import Text
from inference.understanding.question import Concept, Intent
from inference.understanding.table import load_words
from inference.understanding.vocabulary import Vocabulary

__all__ = ["asks_which", "beside_what_is_at_hand", "finding_at_hand", "goes_on", "other_side", "same_of_another"]

_SHORT = 7
_BARE = 3


def finding_at_hand(
    question: Question, vocabulary: Vocabulary, understood: Callable[[Question], Sequence[Concept]]
) -> tuple[Concept, ...]:
    """Return what the earlier turns were about, newest first: the phrases of an answer, else what was asked for."""
    for place in range(len(question.earlier) - 1, -1, -1):
        exchange = question.earlier[place]
        if exchange.phrases:
            return tuple(dict.fromkeys(vocabulary.of_label(phrase) for phrase in exchange.phrases))
        try:
            asked = understood(Question(exchange.question, earlier=question.earlier[:place]))
        except QuestionRefused:
            continue
        if asked:
            return tuple(asked)
    return ()


def goes_on(text: Text, content: int = 0, complaint: int | None = None) -> Literal["", "it", "and"]:
    """Whether a text goes on: about the finding at hand ("it"), or with the earlier question ("and the spleen?").

    `content`: how many words say something of their own. With any the text stands alone, but for a clear pronoun: "is
    it calcified?". So it does with a complaint, whose first word is `complaint`, but for a pronoun before it: "could it
    explain the headache?".
    """
    sets, words = load_words().sets, text.plain.split()
    strong = [place for place, word in enumerate(text.words) if word.word in sets["strong_pronouns"]]
    strong += [place for place, article in enumerate(text.articles) if article in sets["strong_pronouns"]]
    if complaint is not None:
        return "it" if any(place < complaint for place in strong) else ""
    if has_phrase("else", text.plain):
        return "it"
    if strong:
        return "it" if not has_phrase("carry_on", _first_words(text)) or len(words) > _SHORT else "and"
    if content or any(word in sets["whatever"] | sets["person_pronouns"] for word in words):
        return ""
    if has_phrase("carry_on", _first_words(text)) and len(words) <= _SHORT:
        return "and"
    short = len(words) <= _SHORT and (intent_of(text) is not None or asks_which(text))
    return "it" if short or any(word in sets["pronouns"] for word in words) else ""


def _first_words(text: Text) -> str:
    return f" {' '.join(text.plain.split()[:3])} "


def asks_which(text: Text) -> bool:
    """Whether a text asks which of several is the largest, or the like."""
    sets, words = load_words().sets, set(text.plain.split())
    of_those_named = bool(words & sets["pronouns"] | words & sets["strong_pronouns"]) or not words & sets["things"]
    return bool(words & sets["superlatives"]) and bool(words & sets["asking"]) and of_those_named


def beside_what_is_at_hand(text: Text, named: int) -> bool:
    """Whether a text sets the finding at hand beside one thing that it names: "is it bigger than the liver?"."""
    if named != 1 or intent_of(text) not in (Intent.COMPARE, Intent.DISTANCE):
        return False
    sets, words = load_words().sets, text.plain.split()
    return any(word in sets["strong_pronouns"] | {"this", "sie", "er", "es"} for word in words)


def same_of_another(text: Text, content: int) -> bool:
    """Whether a text names another thing of which the same is asked: "and the spleen?", "the spleen?"."""
    bare = intent_of(text) is None and len(text.words) <= _BARE and not content
    return bare or (has_phrase("carry_on", _first_words(text)) and len(text.plain.split()) <= _SHORT)


def other_side(text: Text, at_hand: Sequence[Concept]) -> str:
    """Return the side that "the left one" or "the other side" means, or empty."""
    sets = load_words().sets
    words = text.plain.split()
    named = {side for side in ("left", "right") if any(word in sets[side] for word in words)}
    if len(named) == 1:
        return named.pop()
    if has_phrase("other_side", text.plain) and at_hand:
        if at_hand[0].name.startswith("left "):
            return "right"
        if at_hand[0].name.startswith("right "):
            return "left"
    return ""
