"""A text as words that compare: without case, accents and spellings that differ between countries."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Word", "fold", "stem", "words_of"]

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "œ": "oe", "æ": "ae", "’": "'", "`": "'"})
_BRITISH = (
    (re.compile(r"\boe"), "e"),
    (re.compile(r"ae(?=[mc])"), "e"),
    (re.compile(r"(?<=[mlnv])our"), "or"),
    (re.compile(r"\bfoet"), "fet"),
)
_ENDINGS = ("ern", "en", "er", "em", "es", "e", "n", "s")
_SHORTEST_STEM = 4
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Word:
    """One word. `text`: as it stands; `word`: folded. `stop`, `comma`: a full stop or a comma stands before it."""

    text: str
    word: str
    stop: bool = False
    comma: bool = False


def fold(text: str) -> str:
    """A text in small letters without accents, umlauts as two letters, British spelling as American."""
    text = unicodedata.normalize("NFC", text).casefold().translate(_UMLAUTS)
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"n't\b", " not", text).replace("x-ray", "xray")
    for pattern, replacement in _BRITISH:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A folded word without the endings of number and case, English or German, but at least four letters of it."""
    if word.endswith("ies") and len(word) > _SHORTEST_STEM:
        word = word[:-3] + "y"
    while True:
        shorter = next(
            (word[: -len(ending)] for ending in _ENDINGS
             if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM), None,
        )  # fmt: skip
        if shorter is None:
            return word
        word = shorter


def words_of(text: str) -> tuple[Word, ...]:
    """The words of a text in order, numbers among them."""
    found: list[Word] = []
    text = unicodedata.normalize("NFC", text).replace("n't", " not").replace("n’t", " not")
    text = re.sub(r"(?i)x-ray", "xray", text)
    end = 0
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        folded = fold(match.group())
        found.append(
            Word(match.group(), folded, bool(re.search(r"[.?!;\n]", between)), bool(re.search("[,:]", between)))
        )
        end = match.end()
    return tuple(found)
