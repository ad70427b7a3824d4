"""What a source of images and masks gives, whichever way they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pixels", "Problem", "Skip", "Source", "SourceImage"]


class Problem(Enum):
    """Why an image or one of its labels is left out; the value stands in the build report."""

    SIZE_MISMATCH = "mask-of-another-size"
    EMPTY_MASK = "empty-mask"
    UNKNOWN_LABEL = "unknown-label"
    BROKEN_IMAGE = "broken-image"
    MISSING_FILE = "missing-file"
    BAD_ROW = "bad-manifest-row"
    DUPLICATE_ID = "duplicate-id"
    NOTHING_TO_ASK = "nothing-to-ask"
    FAILED_CHECK = "failed-check"
    ANNOTATOR_FAILED = "annotator-failed"


class Skip(Exception):
    """An image or label that is left out and counted."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(f"{problem.value}: {detail}")
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True)
class Pixels:
    """Image uint8 `rows columns` or `rows columns 3` and its masks, bool `rows columns`, by label."""

    image: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class SourceImage:
    """One image before it is read. `load` may raise Skip.

    `spacing_mm`: row and column spacing or None. `searched`: labels the annotators looked for, so that a missing mask
    means "not there"; None takes what the knowledge says about the dataset. `context`: age and sex in words. `window`:
    values shown as black and as white, HU for CT; None where they are not fixed, or where it was a picture before.
    """

    id: str
    dataset: str
    group: str
    split: str | None
    modality: str
    source: str
    licence: str
    load: Callable[[], Pixels]
    spacing_mm: tuple[float, float] | None = None
    orientation: str | None = None
    laterality: str | None = None
    context: str = ""
    searched: tuple[str, ...] | None = None
    window: tuple[float, float] | None = None


class Source(Protocol):
    """Images one after another, always in the same order; a Skip in their place is counted."""

    def __iter__(self) -> Iterator[SourceImage | Skip]: ...

    def __len__(self) -> int: ...
