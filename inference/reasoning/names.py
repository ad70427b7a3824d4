"""What things are called in an answer, and every name by which a text may mean them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from inference.medseg_qa.knowledge import LabelKnowledge, load_knowledge

__all__ = ["Name", "joined", "knowledge_of", "label_side", "name_of", "names_of_labels"]

_FINDING_WORDS = (
    "tumour", "tumor", "lesion", "cyst", "nodule", "polyp", "effusion", "fracture", "mass", "metasta", "haemorrhage",
    "hemorrhage", "stone", "aneurysm", "pneumothorax", "consolidation", "opacit", "oedema", "edema", "abscess",
)  # fmt: skip
_NO_SIDE_OF_THE_BODY = ("ventric", "atri", "heart", "cardiac", "myocard", "lobe of the liver", "hepatic lobe")
"""Left and right of these are parts of one organ, not sides of the patient."""


@dataclass(frozen=True)
class Name:
    """A thing's name in a sentence. `optional`: it may or may not be there, as findings and devices, not organs."""

    text: str
    plural: bool
    optional: bool
    countable: bool = True

    @property
    def definite(self) -> str:
        """ "the liver"."""
        return f"the {self.text}"

    @property
    def introduced(self) -> str:
        """ "the liver", but "a polyp"."""
        if not self.optional:
            return self.definite
        if self.plural or not self.countable:
            return self.text
        return f"{'an' if self.text[0] in 'aeiouAEIOU' else 'a'} {self.text}"

    @property
    def verb(self) -> str:
        """ "is" or "are"."""
        return "are" if self.plural else "is"


def joined(parts: Iterable[str], word: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    listed = list(parts)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} {word} {listed[-1]}"


@cache
def _by_name() -> dict[str, LabelKnowledge]:
    labels = load_knowledge().labels.values()
    names = {name.casefold(): label for label in labels for name in label.names}
    return names | {label.label.casefold(): label for label in labels}


def knowledge_of(phrase: str) -> tuple[LabelKnowledge, ...]:
    """What is known of a phrase: of its label, or of the two that "breast tumour" joins; empty without any."""
    known = _by_name().get(phrase.casefold().replace("_", " "))
    if known is not None:
        return (known,)
    labels = load_knowledge().labels
    return tuple(label for name, label in labels.items() if name.startswith(f"{phrase} ("))


@cache
def name_of(phrase: str) -> Name:
    """What a label or a phrase is called in a sentence: "kidney left" is "left kidney"."""
    known = knowledge_of(phrase)
    if len(known) == 1:
        [label] = known
        plural = label.plural or " and " in label.phrase
        return Name(label.phrase, plural, label.group != "structure", label.article != "none")
    text = " ".join(phrase.replace("_", " ").split()) or "finding"
    sided = re.fullmatch(r"(.+) (left|right)", text, re.IGNORECASE)
    if sided is not None:
        text = f"{sided[2].lower()} {sided[1]}"
    plural = re.search(r"[^suia]s$", text) is not None
    return Name(text, plural, bool(known) or any(word in text.casefold() for word in _FINDING_WORDS))


def label_side(phrase: str) -> str:
    """The side of the patient that a name says: left, right or empty; a left ventricle says none."""
    known = knowledge_of(phrase)
    if len(known) == 1:
        return known[0].side
    text = phrase.casefold().replace("_", " ")
    if any(word in text for word in _NO_SIDE_OF_THE_BODY):
        return ""
    sides = set(re.findall(r"\b(left|right)\b", text))
    return sides.pop() if len(sides) == 1 else ""


@lru_cache(maxsize=64)
def names_of_labels(phrases: tuple[str, ...]) -> Mapping[str, frozenset[str]]:
    """Every name, in small letters, of things: those given and those of the knowledge; what it means, as `name_of`.

    The plural of a pair ("kidneys") means both of its sides, its singular ("kidney") either.
    """
    meanings: dict[str, set[str]] = {}

    def add(name: str, text: str) -> None:
        meanings.setdefault(name.casefold().replace("_", " "), set()).add(text)

    for name, label in _by_name().items():
        add(name, label.phrase)
        if label.side:
            add(name.replace(label.side, "").strip(), label.phrase)
    for phrase in phrases:
        text = name_of(phrase).text
        add(phrase, text)
        add(text, text)
        side = label_side(phrase)
        if side:
            add(text.casefold().replace(side, "").strip(), text)
    for name in list(meanings):
        if not name.endswith("s"):
            meanings.setdefault(f"{name}s", set()).update(meanings[name])
    return {re.sub(r"[-\s]+", " ", name).strip(): frozenset(texts) for name, texts in meanings.items()}
