"""Which label a description points at: "which organ makes bile?" by the training clues of the data sets.

A naive Bayes over words and pairs of words, weighted by how telling they are (Rennie 2003), on the clues of
medseg_qa/knowledge and training_clues.yaml that belong to training. On the validation clues it is as good as any
nearest-neighbour search tried.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from inference.medseg_qa.knowledge import IMPLICIT_KINDS, load_knowledge, split_of
from inference.medseg_qa.labels import LABELS, canonical
from inference.understanding.folding import fold, stem
from inference.understanding.question import Language
from inference.understanding.table import load_german_words, load_words

__all__ = [
    "LEAST_LIKENESS", "LEAST_SCORE", "ClueMatch", "decided_label", "in_english", "match_clues", "of_asked_sort",
    "pointed_labels",
]  # fmt: skip

LEAST_SCORE = 0.6
LEAST_LIKENESS = 0.2
"""Below these nothing points clearly, nor where fewer than three telling words stand in any clue, or too many in none:
chosen on validation clues, of which 0.70 pass (0.92 of them right), and on questions about things never learned, of
which 0.06 do."""

_LEAST_SCORE_OF_ALIKE = 0.3
_ALIKE = 0.6
_LEAST_SCORE_OF_SHORT = 0.85
_ALIKE_OF_SHORT = 0.45
_LEAST_SCORE_ELSEWHERE = 0.4
_LEAST_WORDS = 3
_LEAST_FAMILIAR = 0.8
_SMOOTHING = 0.01
_SHARPNESS = 1.0
_RARE = 0.001
_SORT_WEIGHT = 5.0
_COMMON = frozenset({
    "the", "a", "an", "of", "in", "on", "to", "and", "is", "are", "it", "its", "with", "by", "at", "from", "that",
    "which", "as", "for", "or", "be",
})  # fmt: skip
_ARTICLES = frozenset({"the", "a", "an"})
_ANY_SORT = frozenset({"orga", "structur", "lobe", "lesio", "abnormality"})
_VESSELS = frozenset({"vessel", "vein"})
_OF_FINDINGS = frozenset({"lesio", "abnormality", "finding", "chang"})
_NO_SORT = frozenset({
    "muscl", "bone", "joint", "nerv", "node", "valv", "layer", "deposit", "parasit", "opening", "pouch", "sac",
    "ligament", "tendo", "tooth", "teeth", "disc", "cartilag", "skin", "hair", "implant", "instrument", "skeleto",
    "fluid", "spac", "cell", "vertebra", "meniscu", "cortex", "cyst", "fractur", "stone", "ston", "artery",
    "arteri",
})  # fmt: skip
_MORE_SORTS = {
    "left ventricular myocardium": {"muscl"}, "gallbladder": {"pouch", "sac", "bladder"}, "aorta": {"artery", "arteri"},
    "retinal blood vessel": {"artery", "arteri", "vein"},
}  # fmt: skip
_NAMED = 2.5
_LEAST_WITH_NAME = (0.05, 0.1, 0.5)
_ELSEWHERE_WITH_NAME = 0.75
"""For what a model names itself a logit more, and less is needed of score, likeness and the share of familiar words:
chosen on 211 questions of validation and on 98 about things never learned."""
_ASKED_WITHIN = 8
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class ClueMatch:
    """How much a text points at a label. `score`: its share among the labels asked about, which sum to 1.

    `likeness`: of the text to the most alike training clue of the label, 0 to 1.
    """

    label: str
    score: float
    likeness: float


@dataclass(frozen=True)
class _Clues:
    """`weights`: float64 `labels features`; `rows`: `clues features`, each of length 1; `owners`: label of each row.

    `sorts`: what sort of thing a label is ("organ", "vessel"), as stems. `neutral`: words of how
    such questions are put.
    """

    labels: tuple[str, ...]
    features: dict[str, int]
    telling: NDArray[np.float64]
    weights: NDArray[np.float64]
    rows: csr_array
    owners: NDArray[np.int64]
    sorts: dict[str, frozenset[str]]
    neutral: frozenset[str]


def match_clues(text: str, labels: Sequence[str]) -> tuple[ClueMatch, ...]:
    """Return how much a text points at each of some labels, best first; empty where none has clues."""
    clues = _clues()
    wanted = [label for label in dict.fromkeys(labels) if label in clues.labels]
    if not wanted:
        return ()
    words = _WORD.findall(fold(text))
    telling = _features(" ".join(word for word in words if word not in clues.neutral))
    row = _rows([telling], clues.features, clues.telling)
    places = [clues.labels.index(label) for label in wanted]
    logits = np.asarray(row @ clues.weights.T)[0][places] * _SHARPNESS
    shares = np.exp(logits - logits.max())
    shares *= [_SORT_WEIGHT if clues.sorts[label] & {stem(word) for word in words} else 1.0 for label in wanted]
    shares /= shares.sum()
    alike = np.asarray((row @ clues.rows.T).todense())[0]
    likeness = [float(alike[clues.owners == place].max()) for place in places]
    found = (ClueMatch(label, float(share), near) for label, share, near in zip(wanted, shares, likeness, strict=True))
    return tuple(sorted(found, key=lambda match: -match.score))


def pointed_labels(text: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that a description points at, best first; empty where it points at none clearly."""
    matches = match_clues(text, labels)
    anywhere = match_clues(text, LABELS)[0]
    if not matches or (anywhere.label not in labels and anywhere.score >= _LEAST_SCORE_ELSEWHERE):
        return ()
    if not of_asked_sort(text, matches[0].label) or not _is_clear(text, matches[0]):
        return ()
    return tuple(match.label for match in matches if match.score >= matches[0].score / 2)


def decided_label(text: str, labels: Sequence[str], named: str) -> str:
    """Return the label that a description means, by its clues and what a model named for it; empty: neither tells.

    `named`: one of the labels, or empty where the model named nothing.
    """
    if not named:
        return next(iter(pointed_labels(text, labels)), "")
    matches = {match.label: match for match in match_clues(text, labels) if of_asked_sort(text, match.label)}
    if not matches:
        return ""
    best = max(matches.values(), key=lambda match: np.log(match.score + 1e-4) + _NAMED * (match.label == named))
    anywhere = match_clues(text, LABELS)[0]
    elsewhere = 0.0 if anywhere.label in labels else anywhere.score
    if elsewhere < _LEAST_SCORE_ELSEWHERE and _is_clear(text, best):
        return best.label
    score, likeness, share = _LEAST_WITH_NAME
    known = _familiar(text)
    fits = best.label == named and best.score >= score and best.likeness >= likeness
    return best.label if fits and known[0] > 0 and known[1] >= share and elsewhere < _ELSEWHERE_WITH_NAME else ""


def in_english(text: str) -> str:
    """A German description with its telling words in English; others are left out."""
    table = {stem(fold(german)): english for german, english in load_german_words().items()}
    german = load_words().languages[Language.GERMAN]
    words = [word for word in _WORD.findall(fold(text)) if stem(word) in table or word not in german]
    known = [table.get(stem(word)) or (word if stem(word) in _clues().features else "") for word in words]
    return " ".join(filter(None, known))


def of_asked_sort(text: str, label: str) -> bool:
    """Whether a label is of the sort that a text asks for: a gland is no vessel, no bone an organ.

    The sort stands behind the word that asks. Any organ is a structure; a lesion is none.
    """
    clues, asking = _clues(), load_words().sets["asking"]
    own = clues.sorts.get(label, frozenset()) | _MORE_SORTS.get(label, set())
    sorts = frozenset().union(*clues.sorts.values()) | _NO_SORT | _OF_FINDINGS
    words = _WORD.findall(fold(text))
    asked: frozenset[str] = frozenset()
    for place, word in enumerate(words):
        if word in asking:
            behind = [stem(other) for other in words[place + 1 : place + 1 + _ASKED_WITHIN]]
            asked = frozenset([other for other in behind if other in sorts][:1])
            if asked:
                break
    if not asked:
        asked = frozenset(stem(word) for word in words) & (sorts - _NO_SORT)
    if asked & _OF_FINDINGS and _group(label) == "structure" and asked <= _OF_FINDINGS:
        return False
    asked -= _ANY_SORT | _OF_FINDINGS
    return not asked or bool(own & (asked | (_VESSELS if asked & _VESSELS else frozenset())))


def _is_clear(text: str, best: ClueMatch) -> bool:
    known, share = _familiar(text)
    clear = best.score >= LEAST_SCORE and best.likeness >= LEAST_LIKENESS
    clear = clear and known >= _LEAST_WORDS and share >= _LEAST_FAMILIAR
    short = best.score >= _LEAST_SCORE_OF_SHORT and best.likeness >= _ALIKE_OF_SHORT
    short = short and known == _LEAST_WORDS - 1 and share >= _LEAST_FAMILIAR
    return clear or short or (best.score >= _LEAST_SCORE_OF_ALIKE and best.likeness >= _ALIKE)


@cache
def _group(label: str) -> str:
    """What a label is in the knowledge: structure, finding or device; empty where it has none."""
    return next((known.group for known in load_knowledge().labels.values() if canonical(known.label) == label), "")


def _familiar(text: str) -> tuple[int, float]:
    """How many telling words of a text stand in any clue, and their share of it by how telling they are."""
    clues = _clues()
    words = [word for word in _WORD.findall(fold(text)) if word not in clues.neutral and word not in _COMMON]
    known = [clues.telling[clues.features[stem(word)]] for word in words if stem(word) in clues.features]
    strange = (len(words) - len(known)) * float(clues.telling.max())
    return len(known), float(sum(known) / (sum(known) + strange)) if words else 0.0


def _features(text: str) -> list[str]:
    words = [stem(word) for word in _WORD.findall(fold(text)) if word not in _ARTICLES]
    return [word for word in words if word not in _COMMON] + [f"{first} {second}" for first, second in pairwise(words)]


def _rows(texts: Sequence[Sequence[str]], features: dict[str, int], telling: NDArray[np.float64]) -> csr_array:
    """Return texts, each as its features, as rows of length 1: logarithm of counts times how telling a feature is."""
    counts: list[int] = []
    columns: list[int] = []
    ends = [0]
    for text in texts:
        counted = {features[name]: n for name, n in Counter(text).items() if name in features}
        counts += counted.values()
        columns += counted
        ends.append(len(columns))
    values = (1 + np.log(np.array(counts))) * telling[columns] if columns else np.empty(0)
    rows = csr_array((values, columns, ends), shape=(len(texts), len(features)))
    lengths = np.sqrt((rows * rows).sum(axis=1))
    rows.data /= np.repeat(lengths, np.diff(ends))
    return rows


@cache
def _clues() -> _Clues:
    texts, owners = zip(*_training_clues(), strict=True)
    labels = tuple(dict.fromkeys(owners))
    named = [_features(text) for text in texts]
    counts = Counter(name for names in named for name in dict.fromkeys(names))
    features = {name: place for place, name in enumerate(counts)}
    telling = np.log(len(texts) / np.array(list(counts.values()))) + 1
    rows = _rows(named, features, telling)
    places = np.array([labels.index(owner) for owner in owners])
    which = csr_array((np.ones(len(texts)), (places, np.arange(len(texts)))), shape=(len(labels), len(texts)))
    sums = (which @ rows).toarray() + _SMOOTHING
    weights = np.log(sums / sums.sum(axis=1, keepdims=True))
    return _Clues(labels, features, telling, weights, rows, places, _sorts(), _neutral_words(texts))


def _sorts() -> dict[str, frozenset[str]]:
    """What sort of thing each label is: the last word of its `thing`."""
    return {
        canonical(label.label): frozenset({stem(fold(label.thing).split()[-1])})
        for label in load_knowledge().labels.values()
    }


def _neutral_words(cues: Sequence[str]) -> frozenset[str]:
    """Words in which descriptions are put as questions, and of images, that hardly any clue has."""
    frames: set[str] = set()
    for label in load_knowledge().labels.values():
        for source in (label.frames, label.training_frames):
            for kind in IMPLICIT_KINDS:
                frames.update(source[label.group].get(kind.value) or source["finding"].get(kind.value, ()))
    words = {word for text in frames for word in _WORD.findall(fold(re.sub(r"\{\w+\}", "", text)))}
    counts = Counter(word for cue in cues for word in set(_WORD.findall(fold(cue))))
    tables = load_words().sets
    rare = {word for word in words if counts[word] < _RARE * len(cues)}
    return frozenset(rare | tables["image"] | tables["image_words"] | tables["things"] | tables["asking"])


def _training_clues() -> Iterable[tuple[str, str]]:
    for label in load_knowledge().labels.values():
        name = canonical(label.label)
        if name not in LABELS:
            continue
        for kind in IMPLICIT_KINDS:
            cues = {cue for place, cue in enumerate(label.cues[kind]) if split_of(place) == "train"}
            cues.update(label.training_cues[kind])
            yield from ((cue, name) for cue in sorted(cues))
