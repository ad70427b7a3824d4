"""What a text may name, for one list of learned labels: names to concepts, spelling, German compounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from inference.medseg_qa.knowledge import IMPLICIT_KINDS, OPEN_KINDS, load_knowledge
from inference.medseg_qa.labels import canonical
from inference.medseg_qa.records import QuestionKind
from inference.understanding.folding import fold, stem
from inference.understanding.question import Concept, ConceptKind
from inference.understanding.table import Entry, load_complaints, load_entries, load_german_words, load_words, phrase

__all__ = ["Form", "Vocabulary", "everyday_words", "vocabulary_of"]

_SHORTEST_CORRECTED = 5
_TWO_LETTERS_FROM = 9
_SIDES = ("left", "right")


@dataclass(frozen=True)
class Form:
    """What a name stands for: a concept, its adjective ("hepatic"), or a group of concepts."""

    entry: Entry
    adjective: bool = False
    members: tuple[Entry, ...] = ()


@cache
def everyday_words() -> frozenset[str]:
    """Folded words of training questions: what questions consist of beside the names of things."""
    knowledge = load_knowledge()
    texts = [text for kind in QuestionKind if kind in knowledge.details for _, text in knowledge.detail(kind, "train")]
    for label in knowledge.labels.values():
        texts += [wording.text for kind in OPEN_KINDS for wording in label.of_kind(kind, "train")]
    texts += [*knowledge.requests, *knowledge.openings]
    found = {word for text in texts for word in fold(text).replace("{", " {").split()}
    plain = {word.strip(".,:;?!\"'()[]/=") for word in found if "{" not in word}
    return frozenset(plain - _concept_words())


@cache
def _concept_words() -> frozenset[str]:
    return frozenset(word for entry in load_entries().values() for word in entry.words)


@cache
def _never_corrected() -> frozenset[str]:
    words = load_words()
    known: set[str] = set(everyday_words()) | set().union(*words.sets.values(), *words.languages.values())
    for phrases in (*words.phrases.values(), *words.intents.values()):
        known.update(word for text in phrases for word in text.split())
    for complaint in load_complaints().values():
        known.update(word for name in complaint.names for word in fold(name).split())
    known.update(fold(word) for word in load_german_words())
    for label in load_knowledge().labels.values():
        for kind in IMPLICIT_KINDS:
            for cue in label.training_cues.get(kind, ()):
                known.update(fold(cue).replace("-", " ").replace(",", " ").split())
    return frozenset(known)


class Vocabulary:
    """The concepts as one model has them. `labels`: those that it has learned on images of this modality."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.entries = dict(load_entries())
        for label in labels:
            self._add(label)
        self.forms: dict[tuple[str, ...], Form] = {}
        for entry in self.entries.values():
            for name in entry.adjectives:
                self.forms[name] = Form(entry, adjective=True)
        for entry in self.entries.values():
            for name in entry.names:
                self.forms[name] = Form(entry)
        for title, (members, names) in load_words().groups.items():
            group = Form(Entry(title, ConceptKind.STRUCTURE), members=tuple(self.entries[member] for member in members))
            for text in (title, *names):
                self.forms[phrase(text)] = group
        self.longest = max(len(name) for name in self.forms)
        self._words = {word for entry in self.entries.values() for word in entry.words}
        self._targets = sorted(
            {word for word in self._words if len(word) >= _SHORTEST_CORRECTED}
            | {f"{word}s" for word in self._words if len(word) >= _SHORTEST_CORRECTED and word[-1] != "s"}
        )
        self._stems = sorted(
            ((text, entry) for entry in self.entries.values() for text in entry.stems), key=lambda item: -len(item[0])
        )
        self._endings = {stem(text): entry for entry in self.entries.values() for text in entry.endings}

    def _add(self, label: str) -> None:
        """Take a label that the tables do not know: under the concept that its words name, else as one of its own."""
        if any(label in entry.all_labels for entry in self.entries.values()):
            return
        words = label.replace("_", " ").replace("-", " ")
        side = next((side for side in _SIDES if side in fold(words).split()), "")
        name = phrase(" ".join(word for word in words.split() if fold(word) != side))
        for key, entry in self.entries.items():
            if name in entry.names:
                foreign = not any(other in self.labels for other in entry.labels)
                kept = () if foreign else entry.labels
                if side == "left":
                    self.entries[key] = replace(entry, left=label, labels=kept)
                elif side == "right":
                    self.entries[key] = replace(entry, right=label, labels=kept)
                else:
                    self.entries[key] = replace(entry, labels=(label,), learned=())
                return
        kind = ConceptKind.STRUCTURE
        plain = frozenset(fold(words).split())
        self.entries[words] = Entry(words, kind, labels=(label,), names=frozenset({phrase(words)}), words=plain)

    def concept(self, entry: Entry, side: str = "") -> Concept:
        """A concept with the labels that it has on one side, or on both where `side` is empty."""
        group = next((group for group in entry.learned if set(group) <= set(self.labels)), ())
        labels = entry.all_labels or group
        if side and (entry.left or entry.right):
            labels = tuple(label for label in (getattr(entry, side),) if label)
        sided = side and entry.name not in _sided_names()
        learned = bool(entry.labels or entry.learned) and not (entry.left or entry.right)
        name = f"{side} {entry.name}" if sided and not learned else entry.name
        return Concept(name, entry.kind, labels, () if labels else self._concerned(entry))

    def _concerned(self, entry: Entry) -> tuple[str, ...]:
        """Labels of the structures that a disease is of, as far as the model has learned them."""
        concerned = [self.concept(self.entries[name]) for name in entry.concerns if name in self.entries]
        labels = dict.fromkeys(label for concept in concerned for label in concept.labels)
        return tuple(label for label in labels if label in self.labels)

    def of_label(self, label: str) -> Concept:
        """The concept of one label."""
        for entry in self.entries.values():
            for side in _SIDES:
                if getattr(entry, side) == label:
                    return self.concept(entry, side)
            if entry.labels == (label,):
                return self.concept(entry)
        trained = canonical(label)
        return self.of_label(trained) if trained != label else Concept(label, ConceptKind.STRUCTURE, (label,))

    def corrected(self, word: str) -> str:
        """A folded word as the tables spell it, where it is a letter or two from one and from no other; else itself."""
        if len(word) < _SHORTEST_CORRECTED or word in self._words or word in _never_corrected() or word.isdigit():
            return word
        if self.compound(word) is not None or (stem(word),) in self.forms:
            return word
        near = extract(word, self._targets, scorer=OSA.distance, score_cutoff=2, limit=8)
        allowed = [(target, int(distance)) for target, distance, _ in near if distance <= _most(word, target)]
        if not allowed:
            return word
        best = min(distance for _, distance in allowed)
        meant = {stem(target): target for target, distance in allowed if distance == best}
        return next(iter(meant.values())) if len(meant) == 1 else word

    def compound(self, word: str) -> tuple[Entry, Entry | None] | None:
        """A German compound as structure and what is said of it: ("lebertumor": liver, tumour); None for a measure."""
        measures = load_words().sets["measures"]
        for beginning, entry in self._stems:
            rest = word.removeprefix(beginning)
            if rest == word or len(rest) < 2:
                continue
            for text in (rest, rest.removeprefix("s")):
                if (ending := self._endings.get(stem(text))) is not None:
                    return entry, ending
                if text in measures:
                    return entry, None
        return None


def _most(word: str, target: str) -> int:
    if len(target) < _TWO_LETTERS_FROM:
        return 1 if len(target) > _SHORTEST_CORRECTED or word[0] == target[0] else 0
    return 2


@cache
def _sided_names() -> frozenset[str]:
    return frozenset(name for name in load_entries() if name.split()[0] in _SIDES)


@lru_cache(maxsize=32)
def _vocabulary(labels: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(labels)


def vocabulary_of(labels: Sequence[str]) -> Vocabulary:
    """The vocabulary of a list of labels, made once."""
    return _vocabulary(tuple(labels))
