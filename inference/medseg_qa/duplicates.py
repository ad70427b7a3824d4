"""Which patients share near-duplicate images, and the split each patient goes to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.medseg_qa.records import Split

__all__ = ["Fingerprint", "assign_splits", "fingerprint", "near_duplicates"]

HASH_DISTANCE = 6
CORRELATION = 0.97
_THUMBNAIL = 24
_CHUNK = 512
_ORDER = (Split.TRAIN, Split.VAL, Split.TEST, Split.ALL, Split.ZERO_SHOT)


@dataclass(frozen=True)
class Fingerprint:
    """A perceptual hash of 64 bits, and a standardised thumbnail that confirms what the hash suspects."""

    bits: int
    thumbnail: NDArray[np.float16]


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    """Fingerprint of an image, uint8 `rows columns` or `rows columns 3`."""
    grey = Image.fromarray(image).convert("L")
    bits = int(str(imagehash.phash(grey)), 16)
    small = np.asarray(grey.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX), dtype=np.float32)
    scaled = (small - small.mean()) / max(float(small.std()), 1e-3)
    return Fingerprint(bits, scaled.astype(np.float16).ravel())


def near_duplicates(
    prints: Sequence[Fingerprint], groups: Sequence[str], kinds: Sequence[str]
) -> list[tuple[int, int]]:
    """Pairs of images of different groups and the same kind that look the same; memory grows with one chunk."""
    pairs: list[tuple[int, int]] = []
    by_kind: dict[str, list[int]] = defaultdict(list)
    for index, kind in enumerate(kinds):
        by_kind[kind].append(index)
    for members in by_kind.values():
        bits = np.array([prints[i].bits for i in members], dtype=np.uint64)
        for start in range(0, len(members), _CHUNK):
            distances = np.bitwise_count(bits[start : start + _CHUNK, None] ^ bits[None, :])
            rows, columns = np.nonzero(distances <= HASH_DISTANCE)
            for row, column in zip(rows + start, columns, strict=True):
                a, b = members[row], members[column]
                if row < column and groups[a] != groups[b] and _correlation(prints[a], prints[b]) >= CORRELATION:
                    pairs.append((a, b))
    return pairs


def _correlation(a: Fingerprint, b: Fingerprint) -> float:
    return float(np.mean(a.thumbnail.astype(np.float32) * b.thumbnail.astype(np.float32)))


def assign_splits(
    groups: Sequence[str], named: Sequence[Split], pairs: Iterable[tuple[int, int]], held_out: Iterable[str] = ()
) -> tuple[list[Split], int]:
    """A split per image so that a patient, and patients with near-duplicates, stand on one side.

    `groups` and `named` per image, `pairs` of images that look the same, `held_out` groups that go to zero_shot. Where
    the named splits of joined patients differ, the most frequent wins, in doubt the earlier of train, val, test.
    Returns the splits and how many images moved.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for a, b in pairs:
        first, second = sorted((root(groups[a]), root(groups[b])))
        parent[second] = first
    votes: dict[str, Counter[Split]] = defaultdict(Counter)
    for group, split in zip(groups, named, strict=True):
        votes[root(group)][split] += 1
    chosen = {key: min(count, key=lambda split: (-count[split], _ORDER.index(split))) for key, count in votes.items()}
    chosen |= {root(group): Split.ZERO_SHOT for group in held_out}
    splits = [chosen[root(group)] for group in groups]
    return splits, sum(new is not old for new, old in zip(splits, named, strict=True))
