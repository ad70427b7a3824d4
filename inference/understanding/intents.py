"""What a text wants to know: its language, its intent, what it takes out, what it denies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from inference.understanding.mentions import Mention, Text
from inference.understanding.question import Intent, Language
from inference.understanding.table import load_words

__all__ = [
    "asks_for_all", "begins_exception", "has_intent", "has_phrase", "intent_of", "is_absent", "is_no_question",
    "language_of", "other_than_side", "phrases_in",
]  # fmt: skip

_GAP = r"(?: \S+){0,6}"
_NEAR = 3
_AFTER = 5


@cache
def _pattern(name: str, of_intent: bool = False) -> re.Pattern[str]:
    words = load_words()
    phrases = words.intents[name] if of_intent else words.phrases[name]
    texts = sorted({re.escape(text).replace(r"\ \*", _GAP).replace(r"\*", r"\S+") for text in phrases}, key=len)
    return re.compile(f" (?:{'|'.join(reversed(texts))})(?= )".replace(r"\ ", " "))


def has_phrase(name: str, plain: str) -> bool:
    """Whether a folded text with a space around it has a phrase of one list of words.yaml."""
    return _pattern(name).search(plain) is not None


def phrases_in(name: str, plain: str) -> tuple[str, ...]:
    """Return the phrases of one list of words.yaml that a folded text with a space around it has."""
    return tuple(dict.fromkeys(match.group().strip() for match in _pattern(name).finditer(plain)))


def has_intent(intent: Intent, text: Text) -> bool:
    """Whether a text has a phrase of an intent, be there others before it or not."""
    return _pattern(intent.value, True).search(text.plain) is not None


def language_of(text: Text) -> Language:
    """Return the language that more of the words are of; English where neither wins."""
    words = text.plain.split()
    counts = {language: sum(word in known for word in words) for language, known in load_words().languages.items()}
    return Language.GERMAN if counts[Language.GERMAN] > counts[Language.ENGLISH] else Language.ENGLISH


def intent_of(text: Text, fallback: Intent | None = None) -> Intent | None:
    """Return what a text wants to know, by the first list of words.yaml with a phrase in it."""
    for name in load_words().intents:
        if has_intent(Intent(name), text):
            return Intent(name)
    return fallback


def asks_for_all(text: Text) -> bool:
    """Whether a text asks for everything that there is."""
    return has_phrase("everything", text.plain)


def is_no_question(text: Text) -> bool:
    """Whether a text is a greeting, thanks, or talk to the machine."""
    return has_phrase("no_question", text.plain)


def begins_exception(text: Text, mention: Mention, before: bool, everything: bool) -> bool:
    """Whether "except" or the like stands before a mention. `before`: something is asked for before it."""
    phrases = list(load_words().phrases["exception"]) if before or everything else ["except", "excluding", "ausser"]
    if everything or before:
        phrases += load_words().phrases["exception_after_everything"]
    words = _words_before(text, mention, _NEAR)
    return any(words.endswith(f" {text} ") for text in phrases)


def is_absent(text: Text, mention: Mention, following: Sequence[Mention]) -> bool:
    """Whether a text asks if a mention is absent: "no effusion?", "is the spleen missing?"."""
    words = load_words().phrases
    before = _words_before(text, mention, _NEAR)
    for phrase in words["absent_before"]:
        start = before.rfind(f" {phrase} ")
        if start >= 0 and len(before[start:].split()) - len(phrase.split()) <= 1:
            return True
    end = min([mention.end + _AFTER, *(other.start for other in following if other.start >= mention.end)])
    after: list[str] = []
    for word in text.words[mention.end : end]:
        if word.stop or word.word in ("or", "oder", "if", "falls", "wenn"):
            break
        after.append(word.word)
    joined = f" {' '.join(after)} "
    return any(f" {phrase} " in joined for phrase in words["absent_after"])


def _words_before(text: Text, mention: Mention, most: int) -> str:
    start = mention.start
    kept: list[str] = []
    while start > 0 and len(kept) < most and not text.words[start].stop:
        start -= 1
        kept.insert(0, text.words[start].word)
    return f" {' '.join(kept)} "


def other_than_side(text: Text) -> str:
    """Return the side that is left where a text takes out the other: "the lungs except the left one"."""
    words = load_words()
    plain = [word.word for word in text.words]
    for place in range(1, len(plain)):
        before = f" {' '.join(plain[max(0, place - _NEAR) : place])} "
        excepted = any(before.endswith(f" {phrase} ") for phrase in words.phrases["exception"])
        ends = place + 1 >= len(plain) or plain[place + 1] in words.sets["side_nouns"]
        for side, other in (("left", "right"), ("right", "left")):
            if excepted and ends and plain[place] in words.sets[side]:
                return other
    return ""
