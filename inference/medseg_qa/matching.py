"""Which of the things an answer names stands for which label that a question asked for."""

from __future__ import annotations

from collections.abc import Sequence

from inference.medseg_qa.labels import canonical
from inference.medseg_qa.records import Record, Turn

__all__ = ["canonical_phrase", "match_phrases", "names_label"]


def match_phrases(record: Record, turn: Turn, phrases: Sequence[str]) -> dict[str, int]:
    """Return the place in `phrases` that answers for each asked label, where one does.

    By phrase first, what is left in order, present labels first.
    """
    left = list(range(len(phrases)))
    names = {record.targets[index].label: record.targets[index].phrase for index in turn.targets}
    asked = [*names, *turn.absent]
    given: dict[str, int] = {}
    for label in asked:
        named = [place for place in left if names_label(phrases[place], {label, names.get(label, label)})]
        if named:
            given[label] = named[0]
            left.remove(named[0])
    for label, place in zip([label for label in asked if label not in given], left, strict=False):
        given[label] = place
    return given


def names_label(phrase: str, labels: set[str]) -> bool:
    """Return whether a phrase is one of a label's names."""
    folded = {label.casefold() for label in labels} | {canonical(label) for label in labels}
    return phrase.casefold() in folded or canonical_phrase(phrase) in folded


def canonical_phrase(phrase: str) -> str:
    """Return a phrase without what is for the text only: "malignant breast tumour" names the breast tumour."""
    words = phrase.casefold().removeprefix("benign ").removeprefix("malignant ")
    return canonical(words)
