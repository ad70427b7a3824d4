"""What patients complain of: no image shows it, and labels may explain it (complaints.yaml)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from inference.understanding.folding import stem
from inference.understanding.mentions import Mention, Text
from inference.understanding.table import load_complaints, phrase

__all__ = ["Complaint", "find_complaints", "labels_for"]

_PAIN = "pain"
_REACH = 3


@dataclass(frozen=True)
class Complaint:
    """A complaint in a text, words `start` to `end`, with the labels that may explain it, most telling first.

    `reach`: how many words behind it still say where it is.
    """

    name: str
    labels: tuple[str, ...]
    start: int
    end: int
    reach: int = 0


def find_complaints(text: Text, found: Sequence[Mention]) -> list[Complaint]:
    """Return the complaints of a text, the longest names first taken; pain is that of the structure beside it."""
    forms, complaints = _forms(), []
    longest = max(len(form) for form in forms)
    start = 0
    while start < len(text.words):
        made = None
        for end in range(min(len(text.words), start + longest), start, -1):
            words = text.words[start:end]
            name = forms.get(tuple(stem(word.word) for word in words))
            if name is not None and not any(word.stop or word.comma for word in words[1:]):
                made = Complaint(name, load_complaints()[name].labels, start, end)
                break
        if made is not None:
            complaints.append(_of_place(made, found) if made.name == _PAIN else made)
        start = start + 1 if made is None else made.end
    return complaints


def labels_for(complaints: Iterable[Complaint], labels: Sequence[str]) -> tuple[str, ...]:
    """Return those of some labels that may explain complaints, first those that explain more, or more clearly."""
    scores: dict[str, float] = {}
    for complaint in complaints:
        kept = [label for label in complaint.labels if label in labels]
        for place, label in enumerate(kept):
            scores[label] = scores.get(label, 0.0) + 1 / (1 + place)
    return tuple(sorted(scores, key=lambda label: -scores[label]))


def _of_place(pain: Complaint, found: Sequence[Mention]) -> Complaint:
    """ "liver pain", "pain in the left kidney"."""
    beside = [one for one in found if one.end == pain.start or pain.end <= one.start <= pain.end + _REACH]
    beside = [one for one in beside if one.entry.all_labels]
    if not beside:
        return pain
    [first, *_] = beside
    side = getattr(first.entry, first.side) if first.side else ""
    start = min(pain.start, first.start)
    return Complaint(
        f"{pain.name} ({first.entry.name})",
        (side,) if side else first.entry.all_labels,
        start,
        pain.end,
        reach=max(0, first.end - pain.end),
    )


@cache
def _forms() -> Mapping[tuple[str, ...], str]:
    return {phrase(text): name for name, complaint in load_complaints().items() for text in complaint.names}
