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
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    kinds_by_label: dict[str, Counter[str]] = defaultdict(Counter)
    distinct: set[bytes] = set()
    totals: Counter[str] = Counter()
    shares: list[float] = []
    sizes: dict[str, list[float]] = defaultdict(list)
    words: list[int] = []
    answer_words: list[int] = []
    for record in read_records(directory):
        totals["records"] += 1
        counts["modality"][record.modality] += 1
        counts["dataset"][record.dataset] += 1
        counts["split"][record.split.value] += 1
        _count_targets(record, labels, shares, sizes)
        for conversation in record.conversations:
            totals["conversations"] += 1
            counts["turns_per_conversation"][str(len(conversation.turns))] += 1
            counts["annotator"][conversation.annotator] += 1
            for turn in conversation.turns:
                totals["turns"] += 1
                totals["absent"] += _is_absent(turn)
                counts["question_kind"][turn.kind.value] += 1
                distinct.add(hashlib.blake2b(folded(turn.question).encode(), digest_size=10).digest())
                words.append(len(turn.question.split()))
                answer_words.append(len(turn.answer.split()))
                for label in turn.asked:
                    labels[label]["turns"] += 1
                    labels[label]["absent_turns"] += label in turn.absent
                    kinds_by_label[label][turn.kind.value] += 1
    turns = max(1, totals["turns"])
    return {
        "records": totals["records"],
        "pairs": sum(count["pairs"] for count in labels.values()),
        "conversations": totals["conversations"],
        "turns": totals["turns"],
        "absent_fraction": round(totals["absent"] / turns, 4),
        "distinct_question_fraction": round(len(distinct) / turns, 4),
        "labels": {
            name: {
                **{key: count[key] for key in ("pairs", "turns", "absent_turns")},
                "mask_share_percent_median": round(float(np.median(sizes[name])), 3) if sizes[name] else None,
                "kinds": dict(sorted(kinds_by_label[name].items())),
            }
            for name, count in sorted(labels.items())
        },
        **{name: dict(sorted(count.items())) for name, count in sorted(counts.items())},
        "question_length": _binned(words, _WORD_BINS, ""),
        "answer_length": _binned(answer_words, _WORD_BINS, ""),
        "mask_size": _binned(shares, _SHARE_BINS, " %"),
        "question_words": _quantiles(words),
        "answer_words": _quantiles(answer_words),
        "mask_share_percent": _quantiles(shares),
    }


def _count_targets(
    record: Record, labels: dict[str, Counter[str]], shares: list[float], sizes: dict[str, list[float]]
) -> None:
    for target in record.targets:
        share = 100 * target.pixels / (record.size[0] * record.size[1])
        labels[target.label]["pairs"] += 1
        shares.append(share)
        sizes[target.label].append(share)


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
