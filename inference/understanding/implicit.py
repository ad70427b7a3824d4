"""Does a text describe what it wants instead of naming it, and does it name something that no table has?"""

from __future__ import annotations

from collections.abc import Sequence

from inference.understanding.intents import has_intent, is_no_question
from inference.understanding.mentions import Mention, Text
from inference.understanding.question import Intent
from inference.understanding.table import load_words
from inference.understanding.vocabulary import everyday_words

__all__ = ["content_words", "could_be_clue", "describes", "is_all_plain", "named_unknown", "unknown_of"]

_MOST_WORDS_OF_A_NAME = 4
_REACH = 5
_ARTICLE_REACH = 3
_FEWEST_WORDS = 3
_FEWEST_CONTENT = 2
_DISEASE_LENGTH = 7
_WHEREABOUTS = frozenset({"lie", "lies", "sit", "sits", "sitzt", "keep", "holds", "touch"})


def describes(text: Text, found: Sequence[Mention]) -> bool:
    """Whether a text describes its target: "which organ ...", "the vessel that ...", "what makes bile?"."""
    words = [word.word for word in text.words]
    sets = load_words().sets
    several = [mention for mention in found if mention.end - mention.start > 1]
    spans = {place for mention in several for place in range(mention.start, mention.end)}
    named = {place for mention in found for place in range(mention.start, mention.end)}
    learned = [mention for mention in several if mention.entry.all_labels and words[mention.end - 1] != "lesion"]
    own = {place for mention in learned for place in range(mention.start, mention.end)}
    for place, word in enumerate(words):
        if place in own:
            continue
        before = words[max(0, place - _REACH) : place]
        if (
            word in sets["things"]
            and words[place + 1 : place + 2] != ["map"]
            and (place not in spans or _followed_by_clause(text, place))
        ):
            pointed = any(other in sets["pointing"] for other in before)
            pointed = pointed or any(text.articles[max(0, place - _ARTICLE_REACH) : place + 1])
            others = named - set(range(max(0, place - 2), place + 1))
            if pointed and (others or _content(text, found)):
                return True
        asked = any(other in sets["asking"] for other in words[max(0, place - 2) : place])
        if word in sets["weak_things"] and asked and not _of_image(words, place) and _content(text, found):
            return True
        if (
            word in sets["asking"]
            and any(
                words[other] in sets["roles"]
                for other in range(place + 1, min(place + 3, len(words)))
                if other not in named
            )
            and not _of_looks(words)
        ):
            return True
        if word in ("where", "wo", "who", "wer") and any(
            words[other] in sets["roles"] - _WHEREABOUTS for other in range(place + 1, len(words)) if other not in named
        ):
            return True
    if any(_is_sort(mention, text) and (_content(text, found) or len(found) > 1) for mention in found):
        return True
    if any(mention.landmark for mention in found) and all(mention.landmark for mention in found):
        return any(word in sets["asking"] for word in words)
    return False


def _is_sort(mention: Mention, text: Text) -> bool:
    """Whether a name is only the sort of what a clause describes: "the veins that ...", "which part ..."."""
    sets = load_words().sets
    words = [word.word for word in text.words]
    last = words[mention.end - 1]
    if mention.picture or last not in sets["things"] | sets["weak_things"] | {"lobe", "passages"}:
        return False
    if mention.entry.all_labels and last != "lesion" and words[mention.end - 1] != "passages":
        return False
    asked = any(word in sets["asking"] for word in words[max(0, mention.start - 4) : mention.start])
    return asked or _followed_by_clause(text, mention.end - 1)


def _of_looks(words: Sequence[str]) -> bool:
    """Whether "what makes the liver stand out?" asks how a thing looks."""
    return any(word in ("stand", "recognisable", "recognizable", "visible") for word in words)


def _followed_by_clause(text: Text, place: int) -> bool:
    words = [word.word for word in text.words]
    if place + 1 < len(words) and not text.words[place + 1].stop and text.articles[place + 1] == "that":
        return True
    following = words[place + 1 : place + 4]
    asked = any(word in ("which", "what", "whatever", "whichever") for word in words[max(0, place - 3) : place])
    return asked or any(word in ("that", "which", "who", "whose", "you", "would") for word in following)


def _of_image(words: Sequence[str], place: int) -> bool:
    sets = load_words().sets
    following = words[place + 1 : place + 6]
    return bool(following) and following[0] in sets["of"] and any(word in sets["image"] for word in following)


def _content(text: Text, found: Sequence[Mention]) -> list[int]:
    """Places of words that belong neither to a name, nor to how questions are put, nor to the image."""
    named = {place for mention in found for place in range(mention.start, mention.end)}
    return [place for place in range(len(text.words)) if place not in named and not _is_plain(text.words[place].word)]


def content_words(text: Text, found: Sequence[Mention]) -> tuple[str, ...]:
    """Return the words that belong neither to a name, nor to how questions are put, as they were written."""
    return tuple(text.words[place].text for place in _content(text, found))


def _is_plain(word: str) -> bool:
    words = load_words()
    return (
        word in everyday_words()
        or any(word in words.sets[name] for name in _PLAIN_SETS)
        or any(word in known for known in words.languages.values())
        or word in _phrase_words()
        or word.isdigit()
        or len(word) == 1
    )


_PLAIN_SETS = (
    "left", "right", "side_nouns", "both", "joints", "image", "image_words", "of", "measures", "asking", "pointing",
    "pronouns", "determiners", "things", "weak_things", "superlatives",
)  # fmt: skip
_seen: set[str] = set()


def _phrase_words() -> set[str]:
    if not _seen:
        words = load_words()
        for phrases in (*words.intents.values(), *words.phrases.values()):
            _seen.update(word for text in phrases for word in text.split())
    return _seen


def named_unknown(text: Text, found: Sequence[Mention], *, beside_names: bool = False) -> tuple[str, ...]:
    """Return words that stand where a name would and are in no table, as they were written.

    `beside_names`: the text names other things too; then only what is listed with them or looks like a disease.
    """
    runs: list[list[int]] = []
    for place in _content(text, found):
        if runs and runs[-1][-1] == place - 1 and not text.words[place].comma and not text.words[place].stop:
            runs[-1].append(place)
        else:
            runs.append([place])
    names = [" ".join(text.words[place].text for place in run) for run in runs]
    if beside_names:
        kept = [name for run, name in zip(runs, names, strict=True) if _is_listed(text, run) or _is_disease(text, run)]
        return tuple(kept)
    if len(runs) != 1 or len(runs[0]) > _MOST_WORDS_OF_A_NAME or is_no_question(text):
        return tuple(name for run, name in zip(runs, names, strict=True) if _is_disease(text, run))
    asks = any(has_intent(intent, text) for intent in _NAMING) or _is_disease(text, runs[0])
    return tuple(names) if asks else ()


_NAMING = (Intent.PRESENCE, Intent.LOCATE, Intent.SIZE, Intent.SIDE, Intent.COUNT, Intent.DESCRIBE, Intent.CAUSE)


def _is_listed(text: Text, run: Sequence[int]) -> bool:
    joint = run[0] > 0 and text.words[run[0] - 1].word in ("and", "or", "und", "oder")
    ends = run[-1] + 1 == len(text.words) or text.words[run[-1] + 1].comma or text.words[run[-1] + 1].stop
    return joint and ends and bool(text.articles[run[0]])


def _is_disease(text: Text, run: Sequence[int]) -> bool:
    endings = load_words().phrases["disease_endings"]
    return any(
        text.words[place].word.endswith(endings) and len(text.words[place].word) >= _DISEASE_LENGTH for place in run
    )


def unknown_of(text: Text, asked: Sequence[Mention], found: Sequence[Mention]) -> tuple[list[Mention], tuple[str, ...]]:
    """Return the mentions without those that an unknown word is of, and these words: "a flibbertosis of the liver"."""
    content = set(_content(text, found))
    of = load_words().sets["of"]
    kept: list[Mention] = []
    unknown: list[str] = []
    for mention in asked:
        before = mention.start - 1
        joined = before >= 1 and text.words[before].word in of and before - 1 in content
        genitive = text.articles[mention.start] in ("der", "des") and before in content and _is_disease(text, [before])
        run = [before - 1] if joined else [before] if genitive else []
        if begin := _qualified_from(mention, text, content, found):
            unknown.append(" ".join(word.text for word in text.words[begin - 1 : mention.end]))
            continue
        if not run and mention.end in content and (_is_disease(text, [mention.end]) or _goes_with(mention, text)):
            unknown.append(" ".join(word.text for word in text.words[mention.start : mention.end + 1]))
        elif run and mention.of is None and (_is_disease(text, run) or not text.words[run[0]].stop):
            unknown.append(text.words[run[0]].text)
        else:
            kept.append(mention)
    return kept, tuple(unknown)


def _qualified_from(mention: Mention, text: Text, content: set[int], found: Sequence[Mention]) -> int:
    """Return the place behind the word that makes another thing of a name; 0 where none stands before it.

    Somebody's name ("Klatskin tumour"), or the kind of cell ("renal cell carcinoma"): the words from there on name it.
    """
    before = mention.start - 1
    if (
        before not in content
        or mention.of is not None
        or text.articles[mention.start]
        or _is_apart(text, mention.start)
    ):
        return 0
    organ = next((other for other in found if other.end == before and other.adjective), None)
    if organ is not None and mention.entry.composes and not _is_apart(text, before):
        return organ.start + 1
    word = text.words[before].text
    return before + 1 if before > 0 and word.istitle() and not text.words[before].stop else 0


def _is_apart(text: Text, place: int) -> bool:
    return text.words[place].stop or text.words[place].comma


def _goes_with(mention: Mention, text: Text) -> bool:
    """Whether a name says of what an unknown word behind it is: "portal congestion", "any kidney dysfunction"."""
    behind = text.words[mention.end]
    if behind.stop or behind.comma or mention.of is not None or mention.members:
        return False
    there = any(f" {words} " in text.plain for words in ("is there", "are there", "any", "have", "gibt es"))
    return mention.adjective or (there and text.articles[mention.start] in ("", "a", "an", "any"))


def is_all_plain(text: Text, found: Sequence[Mention]) -> bool:
    """Whether a text names nothing and is about the whole image: "please describe this radiograph"."""
    words = load_words().sets
    image = any(word.word in words["image"] for word in text.words)
    return (image or len(text.words) > 1) and not _content(text, [mention for mention in found if mention.picture])


def could_be_clue(text: Text, found: Sequence[Mention]) -> bool:
    """Whether a text without a name has enough words to describe something."""
    enough = len(text.words) >= _FEWEST_WORDS and len(_content(text, found)) + len(found) >= _FEWEST_CONTENT
    return enough and not is_no_question(text)
