"""Counts of a set."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.medseg_qa.knowledge import folded
from inference.medseg_qa.records import Record, Turn, read_records

__all__ = ["statistics"]

_WORD_BINS = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0)
_SHARE_BINS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def statistics(directory: Path) -> dict[str, Any]:
    """Counts of a set: pairs, turns, absent_fraction, distinct_question_fraction, and per label and more.

    A turn counts as absent when it asks only about what is not there. Distinct questions are counted after folding
    case, digits and punctuation. Raises SourceError.
    """
    counts = _Counts()
    for record in read_records(directory):
        counts.add(record)
    return counts.to_json()


class _Counts:
    """What was counted so far; `shares`: each mask's per cent of its image, also by label."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.by_name: dict[str, Counter[str]] = defaultdict(Counter)
        self.labels: dict[str, Counter[str]] = defaultdict(Counter)
        self.kinds_by_label: dict[str, Counter[str]] = defaultdict(Counter)
        self.distinct: set[bytes] = set()
        self.shares: list[float] = []
        self.shares_by_label: dict[str, list[float]] = defaultdict(list)
        self.question_words: list[int] = []
        self.answer_words: list[int] = []

    def add(self, record: Record) -> None:
        self.totals["records"] += 1
        self.by_name["modality"][record.modality] += 1
        self.by_name["dataset"][record.dataset] += 1
        self.by_name["split"][record.split.value] += 1
        for target in record.targets:
            share = 100 * target.pixels / (record.size[0] * record.size[1])
            self.labels[target.label]["pairs"] += 1
            self.shares.append(share)
            self.shares_by_label[target.label].append(share)
        for conversation in record.conversations:
            self.totals["conversations"] += 1
            self.by_name["turns_per_conversation"][str(len(conversation.turns))] += 1
            self.by_name["annotator"][conversation.annotator] += 1
            for turn in conversation.turns:
                self._add_turn(turn)

    def _add_turn(self, turn: Turn) -> None:
        self.totals["turns"] += 1
        self.totals["absent"] += _is_absent(turn)
        self.by_name["question_kind"][turn.kind.value] += 1
        self.distinct.add(hashlib.blake2b(folded(turn.question).encode(), digest_size=10).digest())
        self.question_words.append(len(turn.question.split()))
        self.answer_words.append(len(turn.answer.split()))
        for label in turn.asked:
            self.labels[label]["turns"] += 1
            self.labels[label]["absent_turns"] += label in turn.absent
            self.kinds_by_label[label][turn.kind.value] += 1

    def to_json(self) -> dict[str, Any]:
        turns = max(1, self.totals["turns"])
        return {
            "records": self.totals["records"],
            "pairs": sum(count["pairs"] for count in self.labels.values()),
            "conversations": self.totals["conversations"],
            "turns": self.totals["turns"],
            "absent_fraction": round(self.totals["absent"] / turns, 4),
            "distinct_question_fraction": round(len(self.distinct) / turns, 4),
            "labels": {name: self._label(name) for name in sorted(self.labels)},
            **{name: dict(sorted(count.items())) for name, count in sorted(self.by_name.items())},
            "question_length": _binned(self.question_words, _WORD_BINS, ""),
            "answer_length": _binned(self.answer_words, _WORD_BINS, ""),
            "mask_size": _binned(self.shares, _SHARE_BINS, " %"),
            "question_words": _quantiles(self.question_words),
            "answer_words": _quantiles(self.answer_words),
            "mask_share_percent": _quantiles(self.shares),
        }

    def _label(self, name: str) -> dict[str, Any]:
        shares = self.shares_by_label[name]
        return {
            **{key: self.labels[name][key] for key in ("pairs", "turns", "absent_turns")},
            "mask_share_percent_median": round(float(np.median(shares)), 3) if shares else None,
            "kinds": dict(sorted(self.kinds_by_label[name].items())),
        }


def _is_absent(turn: Turn) -> bool:
    return bool(turn.absent) and not turn.targets


def _binned(values: Sequence[float], edges: tuple[float, ...], unit: str) -> dict[str, int]:
    """How many values lie up to each edge, and beyond the last."""
    counts = np.bincount(np.searchsorted(edges, np.asarray(values, dtype=float)), minlength=len(edges) + 1)
    names = [f"up to {edge:g}{unit}" for edge in edges] + [f"over {edges[-1]:g}{unit}"]
    return dict(zip(names, (int(count) for count in counts), strict=True))


def _quantiles(values: list[Any]) -> dict[str, float]:
    if not values:
        return {}
    points = (0, 5, 25, 50, 75, 95, 100)
    return {f"p{point}": round(float(np.percentile(values, point)), 3) for point in points}
