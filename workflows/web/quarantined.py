"""What lies in quarantine, for the worklist: instances that belong to no study, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from workflows.quarantine import Quarantine

__all__ = ["Quarantined", "quarantined"]

_MOST = 50


@dataclass(frozen=True)
class Quarantined:
    """Instances that were set aside for one reason. `study_uid`: as they say, "" where they do not."""

    study_uid: str
    reason: str
    sender: str
    received_at: str
    instances: int


_kept: dict[Path, tuple[tuple[int, int], tuple[Quarantined, ...]]] = {}


def quarantined(folder: Path) -> tuple[Quarantined, ...]:
    """What lies there, what came first at the top; read again when the folder has changed."""
    try:
        found = folder.stat()
    except OSError:
        return ()
    state = (found.st_mtime_ns, found.st_ino)
    kept = _kept.get(folder)
    if kept is None or kept[0] != state:
        kept = state, _read(folder)
        _kept[folder] = kept
    return kept[1]


def _read(folder: Path) -> tuple[Quarantined, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], str] = {}
    for one in Quarantine(folder).instances():
        key = (one.study_uid, one.reason, one.calling_ae_title)
        counts[key] += 1
        first.setdefault(key, one.received_at)
    groups = [Quarantined(*key, first[key], count) for key, count in counts.items()]
    return tuple(groups[:_MOST])
