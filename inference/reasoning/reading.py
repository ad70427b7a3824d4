"""A sentence taken apart: clauses, the things they name, and everything else as text that checks can cross out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["Clause", "Mention", "plain", "read_clauses", "sentences_of"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|approx|vs|Fig|ca)\.$")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
}
_CLAUSE_END = re.compile(r";|\b(?:but|while|whereas)\b")


@dataclass(frozen=True)
class Mention:
    """Something that a clause names, at a place in its text. `meanings`: which things it may be, as `name_of`.

    `every`: all of them at once, as "kidneys".
    """

    start: int
    end: int
    name: str
    meanings: frozenset[str]
    every: bool


@dataclass
class Clause:
    """A clause in small letters. What a check has understood it crosses out, so that what is left is not understood."""

    text: str
    mentions: list[Mention] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = self.text
        for mention in self.mentions:
            self.cross_out(mention.start, mention.end)

    def cross_out(self, start: int, end: int) -> None:
        """Take a part of the text as understood."""
        self.left = self.left[:start] + "_" * (end - start) + self.left[end:]

    def take(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Every match in what is left, each crossed out."""
        for match in list(pattern.finditer(self.left)):
            self.cross_out(match.start(), match.end())
            yield match

    def before(self, place: int) -> Sequence[Mention]:
        """What is named before a place."""
        return [mention for mention in self.mentions if mention.end <= place]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text."""
    sentences: list[str] = []
    for part in _SENTENCE_END.split(text.strip()):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {part}"
        elif part.strip():
            sentences.append(part.strip())
    return sentences


def plain(sentence: str) -> str:
    """A sentence in small letters, one kind of hyphen and apostrophe, numbers as digits."""
    text = sentence.casefold().replace("’", "'").replace("−", "-").replace("–", "-")
    text = text.replace("mm2", "mm²").replace("cm2", "cm²").replace("cm3", "cm³")
    text = re.sub(r"(?<=[a-z0-9])-(?=[a-z0-9])", " ", text)
    text = re.sub(r"(?<=\d)(?=(?:mm²?|cm[²³]?|ml|hu|%)(?!\w))", " ", text)
    text = re.sub(r"\b(" + "|".join(_NUMBER_WORDS) + r")\b", lambda match: _NUMBER_WORDS[match[1]], text)
    return " ".join(text.split())


def read_clauses(text: str, names: Mapping[str, frozenset[str]]) -> list[Clause]:
    """Take plain text apart. `names`: every name, hyphens as spaces, and what it may mean."""
    found = _any_of(tuple(names))
    clauses = []
    start = 0
    for end in [*(match.span() for match in _CLAUSE_END.finditer(text)), (len(text), len(text))]:
        part = text[start : end[0]].strip()
        start = end[1]
        mentions = [_mention(match, names) for match in found.finditer(part)] if names else []
        if part:
            clauses.append(Clause(part, mentions))
    return clauses


@lru_cache(maxsize=16)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of some names as whole words, the longest that fits."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")


def _mention(match: re.Match[str], names: Mapping[str, frozenset[str]]) -> Mention:
    name = match[0]
    meanings = names[name]
    sided = re.search(r"\b(left|right)\b", name) is not None
    every = len(meanings) > 1 and name.endswith("s") and not sided
    return Mention(match.start(), match.end(), name, meanings, every)
