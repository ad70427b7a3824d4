"""The check that nothing leaks between the splits of a set."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from inference.medseg_qa.compose import wording_split
from inference.medseg_qa.duplicates import Fingerprint, fingerprint, near_duplicates
from inference.medseg_qa.knowledge import WordingSplit, folded, load_knowledge
from inference.medseg_qa.records import Split, read_records

__all__ = ["find_leaks"]

_MAY_USE: dict[WordingSplit, frozenset[WordingSplit]] = {
    "train": frozenset({"train"}),
    "val": frozenset({"train", "val"}),
    "test": frozenset({"test"}),
}


def find_leaks(directory: Path) -> list[str]:
    """What stands on two sides of the split that must not: patients, near-duplicates, wordings, held-out labels.

    Validation may use wordings of training, training none of validation's. Raises SourceError.
    """
    sides = _wording_sides()
    held_out = _held_out(directory)
    leaks: list[str] = []
    groups: dict[str, set[Split]] = defaultdict(set)
    questions: dict[str, set[str]] = {"train": set(), "test": set()}
    prints: list[Fingerprint] = []
    ids: list[tuple[str, str, str, Split]] = []
    for record in read_records(directory):
        groups[record.group].add(record.split)
        with Image.open(directory / record.image) as image:
            prints.append(fingerprint(np.asarray(image)))
        ids.append((record.id, record.group, record.modality, record.split))
        for conversation in record.conversations:
            for turn in conversation.turns:
                side = wording_split(record.split)
                questions["test" if side == "test" else "train"].add(folded(turn.question))
                if sides.get(turn.wording, side) not in _MAY_USE[side]:
                    leaks.append(
                        f"{record.id} in {record.split.value} uses the {sides[turn.wording]} wording {turn.wording}"
                    )
        if record.split is not Split.ZERO_SHOT:
            named = {target.label for target in record.targets}
            named |= {label for c in record.conversations for turn in c.turns for label in turn.asked}
            leaks += [
                f"{record.id} in {record.split.value} has {label}, held out" for label in sorted(named & held_out)
            ]
    leaks += [f"patient {name} is in {_names(splits)}" for name, splits in sorted(groups.items()) if len(splits) > 1]
    pairs = near_duplicates(prints, [item[1] for item in ids], [item[2] for item in ids])
    leaks += [f"{ids[a][0]} and {ids[b][0]} look the same" for a, b in pairs if ids[a][3] is not ids[b][3]]
    leaks += [f"question in training and test: {text}" for text in sorted(questions["train"] & questions["test"])]
    return leaks


def _wording_sides() -> dict[str, WordingSplit]:
    """The side of every committed wording by its id; a model's own wordings have none."""
    knowledge = load_knowledge()
    sides: dict[str, WordingSplit] = {w.id: w.split for label in knowledge.labels.values() for w in label.wordings}
    for kind in knowledge.details:
        for split in ("train", "test"):
            sides |= {wording: split for wording, _ in knowledge.detail(kind, split)}
    return sides


def _held_out(directory: Path) -> set[str]:
    """Labels that the build kept for zero_shot; an exported set has no build.json and names none."""
    path = directory / "build.json"
    return set(json.loads(path.read_text(encoding="utf-8")).get("zero_shot", ())) if path.is_file() else set()


def _names(splits: set[Split]) -> str:
    return ", ".join(sorted(split.value for split in splits))
