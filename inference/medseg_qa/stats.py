"""Counts of a set, and the check that nothing leaks between its splits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inference.medseg_qa.duplicates import Fingerprint, fingerprint, near_duplicates
from inference.medseg_qa.knowledge import folded
from inference.medseg_qa.records import Record, Split, Turn, read_records

__all__ = ["find_leaks", "statistics"]


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
    words: list[int] = []
    for record in read_records(directory):
        totals["records"] += 1
        counts["modality"][record.modality] += 1
        counts["dataset"][record.dataset] += 1
        counts["split"][record.split.value] += 1
        _count_targets(record, labels, shares)
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
                "kinds": dict(sorted(kinds_by_label[name].items())),
            }
            for name, count in sorted(labels.items())
        },
        **{name: dict(sorted(count.items())) for name, count in sorted(counts.items())},
        "question_words": _quantiles(words),
        "mask_share_percent": _quantiles(shares),
    }


def _count_targets(record: Record, labels: dict[str, Counter[str]], shares: list[float]) -> None:
    for target in record.targets:
        labels[target.label]["pairs"] += 1
        shares.append(100 * target.pixels / (record.size[0] * record.size[1]))


def _is_absent(turn: Turn) -> bool:
    return bool(turn.absent) and not turn.targets


def _quantiles(values: list[Any]) -> dict[str, float]:
    if not values:
        return {}
    points = (0, 5, 25, 50, 75, 95, 100)
    return {f"p{point}": round(float(np.percentile(values, point)), 3) for point in points}


def find_leaks(directory: Path) -> list[str]:
    """What stands on two sides of the split that must not: patients, near-duplicates, questions, held-out labels.

    Training and validation count as two sides for patients and images, as one side for wordings. Raises SourceError.
    """
    groups: dict[str, set[Split]] = defaultdict(set)
    questions: dict[str, set[str]] = {"train": set(), "test": set()}
    prints: list[Fingerprint] = []
    ids: list[tuple[str, str, str, Split]] = []
    trained: set[str] = set()
    zero_shot: set[str] = set()
    for record in read_records(directory):
        groups[record.group].add(record.split)
        with Image.open(directory / record.image) as image:
            prints.append(fingerprint(np.asarray(image)))
        ids.append((record.id, record.group, record.modality, record.split))
        for conversation in record.conversations:
            for turn in conversation.turns:
                side = "train" if record.split in (Split.TRAIN, Split.VAL) else "test"
                questions[side].add(folded(turn.question))
        labels = {target.label for target in record.targets}
        if record.split is Split.ZERO_SHOT:
            zero_shot |= labels
        else:
            trained |= labels
    leaks = [f"patient {name} is in {_names(sides)}" for name, sides in sorted(groups.items()) if len(sides) > 1]
    pairs = near_duplicates(prints, [item[1] for item in ids], [item[2] for item in ids])
    leaks += [f"{ids[a][0]} and {ids[b][0]} look the same" for a, b in pairs if ids[a][3] is not ids[b][3]]
    leaks += [f"question in training and test: {text}" for text in sorted(questions["train"] & questions["test"])]
    if zero_shot and not zero_shot - trained:
        leaks.append("no label of zero_shot is held out from the other splits")
    return leaks


def _names(splits: set[Split]) -> str:
    return ", ".join(sorted(split.value for split in splits))
