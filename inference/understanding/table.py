"""The tables of concepts and words, read once from the YAML files beside this and checked.

A table that names a label or a concept that does not exist, or one word for two concepts, is an
`UnderstandingTableError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from inference.errors import InferenceError
from inference.medseg_qa.knowledge import Knowledge, load_knowledge
from inference.medseg_qa.labels import LABELS, canonical
from inference.understanding.folding import fold, stem
from inference.understanding.question import ConceptKind, Language

__all__ = [
    "ComplaintEntry", "Entry", "UnderstandingTableError", "Words", "load_complaints", "load_entries",
    "load_german_words", "load_words", "phrase",
]  # fmt: skip

_FIELDS = {
    "labels", "left", "right", "learned", "en", "de", "adj", "stem", "part", "generic", "german", "own", "bare",
    "region", "concerns",
}  # fmt: skip
_FILES = {
    "structures.yaml": ConceptKind.STRUCTURE,
    "findings.yaml": ConceptKind.FINDING,
    "devices.yaml": ConceptKind.DEVICE,
}


class UnderstandingTableError(InferenceError):
    """A table of concepts or words that contradicts itself or the labels; the message names file and entry."""


@dataclass(frozen=True)
class Entry:
    """A concept as the tables have it; the fields of the YAML files are explained at the head of each.

    `labels`: those that are always meant. `left`, `right`: the label of a side, or empty. `learned`: groups of labels
    that stand for it where the model has learned all of a group. `names`, `adjectives`: stems in order; `words`: the
    folded words of both, for spelling. `concerns`: names of structures that a disease is one of.
    """

    name: str
    kind: ConceptKind
    labels: tuple[str, ...] = ()
    left: str = ""
    right: str = ""
    learned: tuple[tuple[str, ...], ...] = ()
    names: frozenset[tuple[str, ...]] = frozenset()
    words: frozenset[str] = frozenset()
    german: frozenset[tuple[str, ...]] = frozenset()
    adjectives: frozenset[tuple[str, ...]] = frozenset()
    stems: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    composes: bool = False
    part: bool = False
    own: frozenset[str] = frozenset()
    bare: bool = True
    region: bool = False
    concerns: tuple[str, ...] = ()

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Its labels, those of both sides among them."""
        return self.labels + tuple(label for label in (self.left, self.right) if label)


@dataclass(frozen=True)
class Words:
    """The words beside what is asked for: `sets` of folded words, `phrases` in words, in the order of the file."""

    sets: Mapping[str, frozenset[str]]
    phrases: Mapping[str, tuple[str, ...]]
    intents: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    languages: Mapping[Language, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ComplaintEntry:
    """What patients complain of. `names`: its own among them. `labels`: that may explain it, most telling first."""

    names: tuple[str, ...]
    labels: tuple[str, ...]


def phrase(text: str) -> tuple[str, ...]:
    """A name as the stems of its words, without articles."""
    determiners = load_words().sets["determiners"]
    words = fold(text).replace("-", " ").replace("'s ", " s ").split()
    kept = [word for word in words if word not in determiners] or words
    return tuple(stem(word) for word in kept)


@cache
def load_words() -> Words:
    """The words beside what is asked for."""
    raw = _read("words.yaml")
    sets = {
        name: frozenset(fold(word) for word in _flat(raw[name]))
        for name in ("determiners", "side_nouns", "both", "joints", "image", "image_words", "of", "measures", "things",
                     "weak_things", "roles",
                     "asking", "pointing", "clues", "pronouns", "strong_pronouns", "person_pronouns",
                     "superlatives", "whatever", "tags")
    }  # fmt: skip
    sets["everyday"] = frozenset(_read("everyday.yaml")["words"])
    for side, words in raw["sides"].items():
        sets[side] = frozenset(fold(word) for word in words)
    listed = {
        name: tuple(fold(text) for text in _flat(raw[name]))
        for name in ("landmark", "exception", "exception_after_everything", "background", "everything", "abnormalities",
                     "carry_on", "other_side", "else", "no_question", "disease_endings", "overview", "wellbeing",
                     "judgements", "question_words", "identity")
    }  # fmt: skip
    for place, texts in raw["absent"].items():
        listed[f"absent_{place}"] = tuple(fold(text) for text in texts)
    return Words(
        sets=sets,
        phrases=listed,
        intents={intent: tuple(fold(text) for text in texts) for intent, texts in raw["intents"].items()},
        groups={name: (tuple(group["members"]), tuple(group["names"])) for name, group in raw["groups"].items()},
        languages={Language(code): frozenset(fold(word) for word in words) for code, words in raw["language"].items()},
    )


@cache
def load_complaints() -> Mapping[str, ComplaintEntry]:
    """Complaints by name."""
    complaints = {
        name: ComplaintEntry((name, *fields.get("en", ()), *fields.get("de", ())), tuple(fields["labels"]))
        for name, fields in _read("complaints.yaml").items()
    }
    known = {*LABELS, *load_knowledge().labels}
    for name, complaint in complaints.items():
        if missing := [label for label in complaint.labels if label not in known]:
            raise UnderstandingTableError(f"complaints.yaml: {name!r} has {missing[0]!r}, which is no label")
    return complaints


@cache
def load_german_words() -> Mapping[str, str]:
    """German words of descriptions, and what they are in English."""
    found: dict[str, str] = _read("german.yaml")
    return found


@cache
def load_entries() -> Mapping[str, Entry]:
    """All concepts by name, with the names that the knowledge of the data sets has for their labels."""
    entries: dict[str, Entry] = {}
    for name, kind in _FILES.items():
        for concept, fields in _read(f"concepts/{name}").items():
            if concept in entries:
                raise UnderstandingTableError(f"{name}: the concept {concept!r} is there twice")
            entries[concept] = _entry(name, concept, kind, fields or {})
    entries = _with_knowledge(entries, load_knowledge())
    _check(entries)
    return entries


def _entry(file: str, name: str, kind: ConceptKind, fields: Mapping[str, Any]) -> Entry:
    if unknown := sorted(set(fields) - _FIELDS):
        raise UnderstandingTableError(f"{file}: {name!r} has the unknown field {unknown[0]!r}")
    german = frozenset(phrase(text) for text in fields.get("de", ()))
    return Entry(
        name=name,
        kind=kind,
        labels=tuple(fields.get("labels", ())),
        left=fields.get("left", ""),
        right=fields.get("right", ""),
        learned=tuple(tuple(group) for group in fields.get("learned", ())),
        names=frozenset(phrase(text) for text in (name, *fields.get("en", ()))) | german,
        words=_words((name, *fields.get("en", ()), *fields.get("de", ()), *fields.get("adj", ()))),
        german=german,
        adjectives=frozenset(phrase(text) for text in fields.get("adj", ())),
        stems=tuple(fold(text) for text in fields.get("stem", ())),
        endings=tuple(fold(text) for text in fields.get("german", ())),
        composes=bool(fields.get("generic") or fields.get("part")),
        part=bool(fields.get("part")),
        own=frozenset(fields.get("own", ())),
        bare=bool(fields.get("bare", True)),
        region=bool(fields.get("region")),
        concerns=tuple(fields.get("concerns", ())),
    )


def _with_knowledge(entries: Mapping[str, Entry], knowledge: Knowledge) -> dict[str, Entry]:
    """Return the entries with the names of their labels: the phrases of the data sets, without their side."""
    more: dict[str, set[tuple[str, ...]]] = {}
    words: dict[str, frozenset[str]] = {}
    for label in knowledge.labels.values():
        trained = canonical(label.label)
        owners = [
            entry for entry in entries.values() if trained in (entry.left, entry.right) or entry.labels == (trained,)
        ]
        if not owners:
            raise UnderstandingTableError(f"no concept stands for the label {trained!r}; add it to concepts/")
        texts = (*label.names, label.label.split(" (")[0])
        sided = [" ".join(word for word in text.split() if word != label.side) for text in texts]
        more.setdefault(owners[0].name, set()).update(phrase(text) for text in sided)
        words[owners[0].name] = words.get(owners[0].name, frozenset()) | _words(sided)
    return {
        name: replace(
            entry,
            names=entry.names | frozenset(more.get(name, ())),
            words=entry.words | words.get(name, frozenset()),
        )
        for name, entry in entries.items()
    }


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in fold(text).replace("-", " ").split())


def _check(entries: Mapping[str, Entry]) -> None:
    owner: dict[tuple[str, ...], str] = {}
    for entry in entries.values():
        for label in (*entry.all_labels, *(label for group in entry.learned for label in group)):
            if label not in LABELS and label not in load_knowledge().labels:
                raise UnderstandingTableError(f"the concept {entry.name!r} stands for {label!r}, which is no label")
        for name in entry.names:
            if owner.setdefault(name, entry.name) != entry.name:
                raise UnderstandingTableError(
                    f"{' '.join(name)!r} names both {owner[name]!r} and {entry.name!r}; keep it for one"
                )
        if missing := sorted({*entry.own, *entry.concerns} - set(entries)):
            raise UnderstandingTableError(f"the concept {entry.name!r} goes with {missing[0]!r}, which is no concept")
    for group, (members, _) in load_words().groups.items():
        if missing := sorted(set(members) - set(entries)):
            raise UnderstandingTableError(f"the group {group!r} has the member {missing[0]!r}, which is no concept")


def _read(name: str) -> Any:
    text = (files("inference.understanding") / name).read_text(encoding="utf-8")
    # libyaml's parser, where PyYAML has it, is ten times as fast.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _flat(value: Any) -> Iterator[str]:
    nested: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for item in nested:
        if isinstance(item, str):
            yield item
        else:
            yield from _flat(item)
