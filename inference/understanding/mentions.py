"""The things that a text names, in order, each with its side; a tumour of the liver is not the liver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference.understanding.folding import Word, stem
from inference.understanding.question import ConceptKind
from inference.understanding.table import Entry, load_words, phrase
from inference.understanding.vocabulary import Vocabulary, everyday_words

__all__ = ["Mention", "Text", "find_mentions", "read_text"]

_SIDES = ("left", "right")
_HALVES = frozenset(
    {
        "half",
        "part",
        "place",
        "position",
        "spot",
        "stelle",
        "edge",
        "corner",
        "border",
        "haelfte",
        "rand",
        "bildrand",
        "bildhaelfte",
        "lower",
        "upper",
    }
)
_GENITIVE = frozenset({"der", "des", "dem"})


@dataclass(frozen=True)
class Text:
    """A text as words without articles. `articles`: the article before each word, or empty. `plain`: all, folded."""

    words: tuple[Word, ...]
    articles: tuple[str, ...]
    plain: str


@dataclass(frozen=True)
class Mention:
    """A thing that a text names. `start`, `end`: words of the text. `of`: the structure that it belongs to, or None.

    `shared`: that structure stands behind and may be that of others before ("tumour or cyst of the liver").
    `adjective`: only the adjective stands ("hepatic"). `landmark`, `background`, `picture`: named only to say where
    another is, what is known already, or what image it is.
    """

    entry: Entry
    start: int
    end: int
    side: str = ""
    members: tuple[Entry, ...] = ()
    adjective: bool = False
    of: Entry | None = None
    shared: bool = False
    landmark: bool = False
    background: bool = False
    picture: bool = False


def read_text(words: Sequence[Word], vocabulary: Vocabulary) -> Text:
    """Return the words with their spelling mended and their articles set apart."""
    determiners = load_words().sets["determiners"]
    kept: list[Word] = []
    articles: list[str] = []
    plain: list[str] = []
    article, stop, comma = "", False, False
    for word in words:
        mended = replace(word, word=vocabulary.corrected(word.word))
        plain.append(mended.word)
        stop, comma = stop or word.stop, comma or word.comma
        if mended.word in determiners:
            article = mended.word
            continue
        kept.append(replace(mended, stop=stop, comma=comma))
        articles.append(article)
        article, stop, comma = "", False, False
    return Text(tuple(kept), tuple(articles), f" {' '.join(plain)} ")


def find_mentions(text: Text, vocabulary: Vocabulary) -> list[Mention]:
    """Return what a text names, those that only say where or of what image among them, marked as such."""
    found = _scan(text, vocabulary)
    found = [_sided(mention, text, found) for mention in found]
    found = [replace(mention, picture=_of_picture(mention, text)) for mention in found]
    found = _composed(found, text, vocabulary)
    found = [mention for mention in found if mention.entry.bare or mention.of is not None]
    return _placed(found, text)


def _scan(text: Text, vocabulary: Vocabulary) -> list[Mention]:
    found: list[Mention] = []
    start = 0
    while start < len(text.words):
        mention = _longest(text, start, vocabulary)
        if mention is not None:
            found.append(mention)
        start = start + 1 if mention is None else mention.end
    return found


def _longest(text: Text, start: int, vocabulary: Vocabulary) -> Mention | None:
    for end in range(min(len(text.words), start + vocabulary.longest), start, -1):
        words = text.words[start:end]
        if any(word.stop or word.comma for word in words[1:]):
            continue
        form = vocabulary.forms.get(tuple(stem(word.word) for word in words))
        everyday = len(words) == 1 and words[0].word in everyday_words()
        if form is not None and (form.members or not everyday):
            return Mention(form.entry, start, end, members=form.members, adjective=form.adjective)
    compound = vocabulary.compound(text.words[start].word)
    if compound is None:
        return None
    organ, ending = compound
    if ending is None:
        return Mention(organ, start, start + 1)
    made = _of(Mention(ending, start, start + 1), organ, vocabulary)
    return replace(made, end=start + 1)


def _side_of(word: str) -> str:
    words = load_words().sets
    return next((side for side in _SIDES if word in words[side]), "")


def _sided(mention: Mention, text: Text, found: Sequence[Mention]) -> Mention:
    """Return a mention with the side that stands at it: "left kidney", "kidney on the right", not "left and right"."""
    sets = load_words().sets
    words = [word.word for word in text.words]
    before = mention.start - 1
    if before >= 0 and (side := _side_of(words[before])) and not text.words[mention.start].stop:
        two = before >= 2 and words[before - 1] in sets["joints"] and _side_of(words[before - 2])
        return replace(mention, start=before, side="" if two else side)
    after = mention.end
    while (
        after < len(words)
        and after < mention.end + 3
        and (words[after] in sets["of"] or words[after] in ("patient", "patients", "s", "patienten"))
        and not text.words[after].stop
    ):
        after += 1
    if after >= len(words) or not (side := _side_of(words[after])) or text.words[after].stop or text.words[after].comma:
        return mention
    following = after + 1
    if any(other.start == following for other in found) and not (
        following < len(words) and text.words[following].comma
    ):
        return mention
    if following + 1 < len(words) and words[following] in sets["joints"] and _side_of(words[following + 1]):
        return mention
    if any(word in _HALVES or word in sets["image"] for word in words[following : following + 3]):
        return mention
    end = following + (following < len(words) and words[following] in sets["side_nouns"])
    return replace(mention, end=end, side=side)


def _of_picture(mention: Mention, text: Text) -> bool:
    """Return whether a mention only tells what image it is: "abdominal CT", "ultrasound of the breast"."""
    sets = load_words().sets
    words = text.words
    after = len(words) if mention.end < len(words) and text.articles[mention.end] else mention.end
    while (
        after < len(words)
        and words[after].word in sets["image_words"]
        and not (words[after].stop or words[after].comma)
    ):
        after += 1
    if after < len(words) and not (words[after].stop or words[after].comma) and words[after].word in sets["image"]:
        return True
    before = mention.start - 1
    if before >= 1 and words[before].word in ("of", "vom", "von") and words[before - 1].word in sets["image"]:
        return True
    genitive = text.articles[mention.start] in _GENITIVE
    return before >= 0 and genitive and words[before].word in sets["image"] and not words[mention.start].comma


def _is_apart(word: Word) -> bool:
    return word.stop or word.comma


def _composed(found: list[Mention], text: Text, vocabulary: Vocabulary) -> list[Mention]:
    """Join a finding or a part with the structure that it is of, from the end so that lists share the last."""
    found = list(found)
    place = len(found) - 2
    while place >= 0:
        joined = _joined(found[place], found[place + 1], text, vocabulary)
        if joined is not None:
            found[place : place + 2] = joined
            place = min(place + 1, len(found) - 1)
        place -= 1
    return found


def _joined(first: Mention, second: Mention, text: Text, vocabulary: Vocabulary) -> list[Mention] | None:
    gap = text.words[first.end : second.start]
    if first.picture or second.picture or any(word.stop for word in text.words[first.end : second.start + 1]):
        return None
    sets = load_words().sets
    side = first.side or second.side
    if not gap and not text.words[second.start].comma:
        if _is_place(first) and second.of is None and not second.members:
            if second.entry.composes:
                made = _of(second, first.entry, vocabulary)
                return [replace(made, start=first.start, side=side)]
            if _is_occupant(second) and not text.articles[second.start]:
                return [replace(second, start=first.start, side=side)]
        if first.entry.composes and first.of is None and _is_place(second) and text.articles[second.start]:
            return [replace(_of(first, second.entry, vocabulary), end=second.end, side=side, shared=True)]
        if first.adjective and first.of is None and second.of is not None:
            name = " ".join(word.text for word in text.words[first.start : second.end])
            entry = Entry(name, second.entry.kind, concerns=(first.entry.name,))
            return [replace(second, entry=entry, start=first.start)]
        if first.adjective and second.entry.kind is ConceptKind.STRUCTURE and not second.picture:
            return [replace(second, start=first.start)] if first.entry is second.entry else None
        return None
    if all(word.word in sets["of"] for word in gap) and not text.words[second.start].comma:
        if first.entry.composes and first.of is None and not second.members and second.of is None:
            return [replace(_of(first, second.entry, vocabulary), end=second.end, side=side, shared=True)]
        if (_is_occupant(first) or second.entry.region) and _is_place(second):
            return [replace(first, end=second.end, side=side)]
    shares = second.shared and first.entry.composes and first.of is None and first.entry.kind is ConceptKind.FINDING
    if shares and second.of is not None and all(word.word in sets["joints"] for word in gap):
        return [replace(_of(first, second.of, vocabulary), shared=True), second]
    return None


def _is_place(mention: Mention) -> bool:
    return mention.entry.kind is ConceptKind.STRUCTURE and mention.of is None and not mention.members


def _is_occupant(mention: Mention) -> bool:
    return mention.entry.kind is not ConceptKind.STRUCTURE


def _of(head: Mention, organ: Entry, vocabulary: Vocabulary) -> Mention:
    """A finding or a part of a structure: one of the tables' own where they have it, else named by both."""
    if organ.name in head.entry.own:
        return replace(head, of=organ)
    known = vocabulary.forms.get(phrase(f"{organ.name} {head.entry.name}"))
    if known is not None and not known.members:
        return replace(head, entry=known.entry, of=organ)
    entry = Entry(f"{organ.name} {head.entry.name}", head.entry.kind, concerns=(organ.name,))
    return replace(head, entry=entry, of=organ)


def _placed(found: list[Mention], text: Text) -> list[Mention]:
    """Mark what is named only to say where another is, or what is known of the patient."""
    words = load_words()
    placed: list[Mention] = []
    for mention in found:
        before = " " + " ".join(word.word for word in text.words[max(0, mention.start - 3) : mention.start])
        landmark = any(before.endswith(f" {end}") for end in words.phrases["landmark"])
        if placed and placed[-1].landmark and text.words[placed[-1].end : mention.start]:
            between = text.words[placed[-1].end : mention.start]
            landmark = landmark or all(word.word in words.sets["joints"] for word in between)
        background = any(before.endswith(f" {end}") for end in words.phrases["background"])
        placed.append(replace(mention, landmark=landmark, background=background))
    return placed
