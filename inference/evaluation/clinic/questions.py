"""The frozen questions and images, as types."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from inference.interface import Exchange, Question, SliceStack

__all__ = [
    "DIGEST", "Box", "ClinicImage", "ClinicQuestion", "LoadedImage", "Loader", "Place", "digest", "read_images",
    "read_questions",
]  # fmt: skip

DIGEST = "3bded48927ca95a96abcb89d77649d91456adc7d5ba220a0438eef2165b95b81"
"""sha256 over both files: whoever changes a question or what is right of it makes another test."""

_FOLDER = Path(__file__).parent
_FILES = ("images.yaml", "questions.yaml")

Box = tuple[int, int, int, int, int, int]
"""First and last slice, row, column, in display orientation, from 0; the last belongs to it."""


@dataclass(frozen=True)
class Place:
    """Where a thing is: a value of a reference and the least Dice with it, or boxes that were drawn by eye."""

    reference: str = ""
    dice: float = 0.0
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.reference) == bool(self.boxes):
            raise ValueError("a place is a value of the reference or boxes")


@dataclass(frozen=True)
class ClinicImage:
    """A series and what is true of it; images.yaml explains the fields."""

    name: str
    path: str
    learned: bool
    files: tuple[str, ...] = ()
    reference: str = ""
    present: Mapping[str, Place] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    undecided: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClinicQuestion:
    """A question and what a right answer deals with; questions.yaml explains the fields."""

    id: str
    image: str
    kind: str
    answerable: bool
    question: Question
    asks: tuple[str, ...] = ()
    may: frozenset[str] = frozenset()
    everything: bool = False
    but: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    ml: tuple[float, float] | None = None


@dataclass(frozen=True)
class LoadedImage:
    """An image as a predictor is given it. `references`: by value, bool `slices rows columns` on the stack's grid."""

    stack: SliceStack
    references: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


Loader = Callable[[ClinicImage], LoadedImage]
"""Reads an image; raises `InferenceError` where it is not there."""


def digest() -> str:
    """Return the sha256 of both files as they are now."""
    return hashlib.sha256(b"\0".join((_FOLDER / name).read_bytes() for name in _FILES)).hexdigest()


@cache
def read_images() -> Mapping[str, ClinicImage]:
    """The images by name."""
    entries: dict[str, Any] = yaml.safe_load((_FOLDER / "images.yaml").read_text(encoding="utf-8"))
    return {
        name: ClinicImage(
            name=name,
            path=entry["path"],
            learned=entry["learned"],
            files=tuple(entry.get("files", ())),
            reference=entry.get("reference", ""),
            present={label: _place(place) for label, place in entry.get("present", {}).items()},
            absent=frozenset(entry.get("absent", ())),
            undecided=frozenset(entry.get("undecided", ())),
        )
        for name, entry in entries.items()
    }


@cache
def read_questions() -> tuple[ClinicQuestion, ...]:
    """The questions in their order, those that can be answered first."""
    entries: dict[str, Any] = yaml.safe_load((_FOLDER / "questions.yaml").read_text(encoding="utf-8"))
    groups = (("answerable", True), ("not_answerable", False))
    return tuple(_question(entry, answerable) for group, answerable in groups for entry in entries[group])


def _place(entry: Mapping[str, Any]) -> Place:
    boxes = tuple((*map(int, box),) for box in entry.get("boxes", ()))
    reference = entry.get("reference")
    return Place("" if reference is None else str(reference), float(entry.get("dice", 0.0)), boxes)  # type: ignore[arg-type]


def _question(entry: Mapping[str, Any], answerable: bool) -> ClinicQuestion:
    earlier = tuple(
        Exchange(turn["question"], turn["answer"], tuple(turn["phrases"])) for turn in entry.get("earlier", ())
    )
    return ClinicQuestion(
        id=entry["id"],
        image=entry["image"],
        kind=entry["kind"],
        answerable=answerable,
        question=Question(entry["text"], earlier),
        asks=tuple(entry.get("asks", ())),
        may=frozenset(entry.get("may", ())),
        everything=bool(entry.get("everything", False)),
        but=frozenset(entry.get("but", ())),
        says=tuple(entry.get("says", ())),
        never=tuple(entry.get("never", ())),
        ml=tuple(entry["ml"]) if "ml" in entry else None,
    )
