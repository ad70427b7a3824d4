"""What is no question, and what to ask instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

from inference.understanding.intents import is_no_question
from inference.understanding.mentions import Text
from inference.understanding.question import ConceptKind
from inference.understanding.table import load_words
from inference.understanding.vocabulary import vocabulary_of

__all__ = ["asks_nothing", "example_of", "refusal"]

_MOST_EXAMPLES = 3
_LEAST_LETTERS = 4
_LEAST_OF_DISEASE = 7
_PLURAL = re.compile(r"[^suia]s$")


def asks_nothing(text: Text, raw: str) -> bool:
    """Whether a text is empty, a greeting, chat or no words at all. What asks something in vain is none of these."""
    if is_no_question(text) or not re.search(r"[^\W\d_]", text.plain):
        return True
    words, asking = text.plain.split(), load_words().phrases["question_words"]
    if "?" in raw and any(len(word) >= _LEAST_LETTERS for word in words):
        return False
    if any(len(word) >= _LEAST_OF_DISEASE and word.endswith(load_words().phrases["disease_endings"]) for word in words):
        return False
    return words[0] not in asking and "patient" not in words


def example_of(labels: Sequence[str]) -> str:
    """Return a question that can be asked, about the first of some labels."""
    if not labels:
        return "Where is the liver?"
    concept = vocabulary_of(labels).of_label(labels[0])
    plural = _PLURAL.search(concept.name) is not None
    if concept.kind is ConceptKind.STRUCTURE:
        return f"Where {'are' if plural else 'is'} the {concept.name}?"
    return f"Are there {concept.name}?" if plural else f"Is there {_article(concept.name)}{concept.name}?"


def refusal(text: str, labels: Sequence[str]) -> str:
    """Return why a text is refused, with what can be asked. `labels`: those first that are known best."""
    names = list(dict.fromkeys(vocabulary_of(labels).of_label(label).name for label in labels))[1:_MOST_EXAMPLES]
    more = f" It has also learned {', '.join(names)}." if names else ""
    example = f'"{example_of(labels)}".{more}'
    if not text.strip():
        return f"The question is empty. Ask for something that the image may show, for example {example}"
    return f"This asks for nothing that an image shows. Ask for a structure or a finding, for example {example}"


def _article(name: str) -> str:
    if name == "consolidation":
        return ""
    return "an " if name[0] in "aeiou" else "a "
