"""Slots of questions and answers filled so that number, article and capitals agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from inference.medseg_qa.knowledge import LabelKnowledge

__all__ = ["articled", "fill", "grounded", "joined", "label_slots", "tidy"]

_UNCOUNTED = ("fluid", "air ", "pleural fluid")


def grounded(phrase: str) -> str:
    """A phrase in the grammar of answers; it takes one mask."""
    return f"<p> {phrase} </p> [SEG]"


def articled(label: LabelKnowledge, name: str) -> str:
    """A name with "the" for structures, "a" or "an" for what may or may not be there."""
    if label.group == "structure":
        return f"the {name}"
    if label.plural or label.article == "none" or name.startswith(_UNCOUNTED):
        return name
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def label_slots(label: LabelKnowledge, name: str) -> dict[str, str]:
    """Slots that depend on a label and the name in use."""
    plural = label.plural or " and " in name
    bare = articled(label, name)
    optional = label.group != "structure"
    return {
        "name": name,
        "target": f"any {name}" if optional else f"the {name}",
        "the": "the",
        "a": bare.removesuffix(name).strip(),
        "art": bare.removesuffix(name).strip(),
        "any": "the" if not optional else "any",
        "thing": label.thing,
        "is": "are" if plural else "is",
        "it": "they" if plural else "it",
        "them": "them" if plural else "it",
        "does": "do" if plural else "does",
        "covers": "cover" if plural else "covers",
        "lies": "lie" if plural else "lies",
        "spans": "span" if plural else "spans",
        "measures": "measure" if plural else "measures",
        "deserves": "deserve" if plural else "deserves",
        "fits": "fit" if plural else "fits",
        "goes": "go" if plural else "goes",
    }


def fill(frame: str, slots: Mapping[str, str]) -> str:
    """A frame with its slots filled; {Slot} is {slot} with a capital."""

    def put(match: re.Match[str]) -> str:
        key = match.group(1)
        return slots[key] if key in slots else _capital(slots[key[0].lower() + key[1:]])

    return tidy(re.sub(r"\{(\w+)\}", put, frame))


def tidy(text: str) -> str:
    """Single spaces, and a capital at the start of each sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"(^|(?<=[.?!] ))([a-z])", lambda match: match.group(2).upper(), text)


def joined(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
