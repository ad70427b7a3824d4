"""The records of one split of a MedSeg-QA set."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from inference.errors import InferenceError
from inference.medseg_qa.records import Record, Split, read_records
from inference.sampling import evenly_spaced

__all__ = ["check_split", "select_records"]


def check_split(qa: Path, split: str) -> None:
    """Raise `InferenceError` for a split that does not exist or holds no image, `SourceError` where `qa` is no set."""
    names = [known.value for known in Split]
    if split not in names:
        raise InferenceError(f"there is no split {split!r}; it is one of {', '.join(names)}")
    if next(iter(read_records(qa, None if split == "all" else split)), None) is None:
        raise InferenceError(f"the split {split} of {qa} holds no image; choose another split")


def select_records(qa: Path, split: str, most_per_set: int | None) -> list[Record]:
    """Return the records of a split (`all`: of every split), at most so many of each data set, evenly spaced."""
    by_set: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(qa, None if split == "all" else split):
        by_set[record.dataset].append(record)
    chosen: list[Record] = []
    for records in by_set.values():
        chosen += evenly_spaced(records, most_per_set)
    return chosen
