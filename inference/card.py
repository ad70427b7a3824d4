"""What a model has learned, as data: a card beside the weights, made by training. No torch here.

    read_card(FOLDER)       the card of a checkpoint, `card.json`
    ModelCard.learned(...)  what it knows of a label

The gate (`inference/gate.py`) asks the card before the model is asked, and results say "not assessed" where it says no.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from inference.errors import CheckpointError

__all__ = [
    "CARD_FILE",
    "SAME_MODALITY",
    "UNKNOWN_CARD",
    "ImageKind",
    "LabelCode",
    "LearnedLabel",
    "ModelCard",
    "Plane",
    "Region",
    "card_from_json",
    "card_to_json",
    "learned_modality",
    "read_card",
    "write_card",
]  # fmt: skip

CARD_FILE = "card.json"

SAME_MODALITY = {"CR": "DX", "DR": "DX", "RG": "DX", "OPV": "OP"}
"""Modality codes (PS3.3 C.7.3.1.1.1) of images that look alike, by the one that cards use. OPT, tomography of the eye,
is no photograph and not among them."""


class Region(StrEnum):
    """A part of the body that an image may show."""

    HEAD = "head"
    NECK = "neck"
    CHEST = "chest"
    ABDOMEN = "abdomen"
    PELVIS = "pelvis"
    SPINE = "spine"
    BREAST = "breast"
    EYE = "eye"
    BOWEL = "bowel seen from inside"
    LIMB = "limb"


class Plane(StrEnum):
    """How slices lie in the patient."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"


class ImageKind(StrEnum):
    """What kind of picture an image is."""

    SECTION = "section"
    PROJECTION = "projection"
    SONOGRAM = "sonogram"
    PHOTOGRAPH = "photograph"


@dataclass(frozen=True)
class LabelCode:
    """What a label means, coded (PS3.3 C.8.20.4), where the model brings labels of its own.

    `category`: anatomy, abnormality or object. `side`: left, right or empty.
    """

    value: str
    scheme: str
    meaning: str
    category: str = "anatomy"
    side: str = ""


@dataclass(frozen=True)
class LearnedLabel:
    """A label on one kind of images: `images` of them showed it, and `absent` were looked through and did not.

    `planes`, `regions`: what those images were of; empty: they did not say. `least_confidence`: below it the label is
    not claimed, chosen on validation images; None: the model's own threshold alone.
    """

    label: str
    modality: str
    kind: ImageKind
    regions: frozenset[Region]
    planes: frozenset[Plane]
    images: int
    absent: int = 0
    least_confidence: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """What a model has learned.

    `labels`: an entry for each label on each kind of images. `windows`: by modality, the values shown as black and as
    white that it learned from (HU for CT); a modality without one is shown by percentiles. `codes`: for labels that the
    program has no code of. `likeness_limits`: below the first a stack is refused, below the second answered with less
    confidence; None: the model has no measure. `languages`: of the questions that it takes as they are.
    `letters`: for labels learned on pictures that lie otherwise than a display shows them, which side of the patient
    (R, L, A, P, H, F) lay at the picture's left, right, top and bottom; the stack is turned so before they are sought.
    `open_set`: it takes any label, and the card lists those that were tested.
    """

    labels: tuple[LearnedLabel, ...] = ()
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    codes: Mapping[str, LabelCode] = field(default_factory=dict)
    likeness_limits: tuple[float, float] | None = None
    letters: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)
    languages: tuple[str, ...] = ("en",)
    open_set: bool = False

    @property
    def known_labels(self) -> tuple[str, ...]:
        """Every label once, in the card's order."""
        return tuple(dict.fromkeys(entry.label for entry in self.labels))

    def learned(self, label: str, modality: str | None = None) -> tuple[LearnedLabel, ...]:
        """What it knows of a label, of one modality or of all."""
        wanted = None if modality is None else learned_modality(modality)
        entries = self._by_label.get(label, ())
        return tuple(entry for entry in entries if wanted in (None, learned_modality(entry.modality)))

    @cached_property
    def _by_label(self) -> Mapping[str, Sequence[LearnedLabel]]:
        entries: dict[str, list[LearnedLabel]] = {}
        for entry in self.labels:
            entries.setdefault(entry.label, []).append(entry)
        return entries


UNKNOWN_CARD = ModelCard(open_set=True)
"""Stands for a checkpoint that brings no card: nothing is known of what it learned, so nothing can be refused by it."""


def learned_modality(code: str) -> str:
    """Return the modality code under which cards list images of a DICOM modality: computed radiography is DX."""
    return SAME_MODALITY.get(code.upper(), code.upper())


def read_card(folder: Path) -> ModelCard | None:
    """Read the card beside a checkpoint's weights; None where there is none, as for checkpoints before 0.7.

    Raises `CheckpointError` naming file and key where it is unreadable or says what a card cannot say.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        return None
    try:
        stated = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON: {error}; delete it and make another with medseg-r card"
        ) from error
    return card_from_json(stated, str(path))


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card beside a checkpoint's weights, in one step. The checkpoint's digest is not brought up to date."""
    part = folder / f"{CARD_FILE}.part"
    part.write_text(json.dumps(card_to_json(card), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / CARD_FILE)


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """Return a card as plain values, in the form that `card_from_json` reads."""
    return {
        "labels": [
            {
                "label": entry.label,
                "modality": entry.modality,
                "kind": entry.kind.value,
                "regions": sorted(entry.regions),
                "planes": sorted(entry.planes),
                "images": entry.images,
                "absent": entry.absent,
                "least_confidence": entry.least_confidence,
            }
            for entry in card.labels
        ],
        "windows": {modality: list(limits) for modality, limits in card.windows.items()},
        "codes": {label: vars(code) for label, code in card.codes.items()},
        "likeness_limits": None if card.likeness_limits is None else list(card.likeness_limits),
        "letters": {label: list(letters) for label, letters in card.letters.items()},
        "languages": list(card.languages),
        "open_set": card.open_set,
    }


def card_from_json(stated: object, where: str = CARD_FILE) -> ModelCard:
    """Return the card that plain values state; `where`: the file or address they came from, for the message.

    Raises `CheckpointError` naming `where` and the key.
    """
    reading = _Reading(where)
    card = reading.table(stated, "the card")
    if unknown := sorted(set(card) - set(_KEYS)):
        raise reading.wrong(unknown[0], "is no key of a card")
    if not card.get("labels") and not card.get("open_set"):
        raise reading.wrong("labels", "is empty or missing: the card must name what was learned")
    entries = reading.items(card.get("labels", []), "labels")
    if len(entries) > _MOST_LABELS:
        raise reading.wrong("labels", f"has {len(entries)} entries; {_MOST_LABELS} are taken")
    labels = tuple(reading.label(entry, f"labels[{number}]") for number, entry in enumerate(entries))
    seen: set[tuple[str, str, ImageKind]] = set()
    for number, entry in enumerate(labels):
        if (key := (entry.label, entry.modality, entry.kind)) in seen:
            raise reading.wrong(f"labels[{number}]", f"names {entry.label!r} on {entry.modality} twice")
        seen.add(key)
    limits = card.get("likeness_limits")
    return ModelCard(
        labels=labels,
        windows={
            name: reading.pair(value, f"windows.{name}")
            for name, value in reading.table(card.get("windows", {}), "windows").items()
        },
        codes={
            name: reading.code(value, f"codes.{name}")
            for name, value in reading.table(card.get("codes", {}), "codes").items()
        },
        likeness_limits=None if limits is None else reading.shares(limits, "likeness_limits"),
        letters={
            name: reading.letters(value, f"letters.{name}")
            for name, value in reading.table(card.get("letters", {}), "letters").items()
        },
        languages=reading.languages(card.get("languages", ["en"])),
        open_set=reading.truth(card.get("open_set", False), "open_set"),
    )


_KEYS = ("labels", "windows", "codes", "likeness_limits", "letters", "languages", "open_set")
_Choice = TypeVar("_Choice", bound=StrEnum)
_LARGEST = 1e9  # of any number in a card
_MOST_LABELS = 10_000
_LONGEST_NAME = 128
_CATEGORIES = ("anatomy", "abnormality", "object")


@dataclass(frozen=True)
class _Reading:
    """Checks of a card's values; each error names the place and what must stand there."""

    where: str

    def wrong(self, key: str, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {key} {problem}")

    def table(self, value: object, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be an object with names and values, not {value!r:.80}")
        return value

    def items(self, value: object, key: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.wrong(key, f"must be a list, not {value!r:.80}")
        return value

    def text(self, value: object, key: str, *, empty: bool = False) -> str:
        if not isinstance(value, str) or not (empty or value.strip()):
            raise self.wrong(key, f"must be text, not {value!r:.80}")
        if len(value) > _LONGEST_NAME or not value.isprintable():
            raise self.wrong(key, f"must be at most {_LONGEST_NAME} characters that can be seen, not {value!r:.80}")
        return value

    def truth(self, value: object, key: str) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(key, f"must be true or false, not {value!r:.80}")
        return value

    def number(self, value: object, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST or value != value:
            raise self.wrong(key, f"must be a number, not {value!r:.80}")
        return float(value)

    def count(self, value: object, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(key, f"must be a whole number of images, not {value!r:.80}")
        return value

    def share(self, value: object, key: str) -> float:
        if not 0 <= (number := self.number(value, key)) <= 1:
            raise self.wrong(key, f"must be from 0 to 1, not {value!r:.80}")
        return number

    def pair(self, value: object, key: str) -> tuple[float, float]:
        numbers = [self.number(item, key) for item in self.items(value, key)]
        if len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise self.wrong(key, f"must be two rising numbers, not {value!r:.80}")
        return numbers[0], numbers[1]

    def shares(self, value: object, key: str) -> tuple[float, float]:
        low, high = (self.share(item, key) for item in self.pair(value, key))
        return low, high

    def choices(self, value: object, key: str, kind: type[_Choice]) -> frozenset[_Choice]:
        return frozenset(self.choice(item, key, kind) for item in self.items(value, key))

    def choice(self, value: object, key: str, kind: type[_Choice]) -> _Choice:
        try:
            return kind(self.text(value, key))
        except ValueError as error:
            raise self.wrong(key, f"must be one of {', '.join(kind)}, not {value!r:.80}") from error

    def letters(self, value: object, key: str) -> tuple[str, str, str, str]:
        letters = [self.text(item, key) for item in self.items(value, key)]
        if len(letters) != 4 or not set(letters) <= set("RLAPHF") or len(set(letters)) != 4:
            raise self.wrong(key, f"must be four of R, L, A, P, H and F, not {value!r:.80}")
        left, right, top, bottom = letters
        return left, right, top, bottom

    def languages(self, value: object) -> tuple[str, ...]:
        return tuple(self.text(item, "languages") for item in self.items(value, "languages"))

    def code(self, value: object, key: str) -> LabelCode:
        stated = self.table(value, key)
        if unknown := sorted(set(stated) - {"value", "scheme", "meaning", "category", "side"}):
            raise self.wrong(f"{key}.{unknown[0]}", "is no key of a code")
        category = self.text(stated.get("category", "anatomy"), f"{key}.category")
        side = self.text(stated.get("side", ""), f"{key}.side", empty=True)
        if category not in _CATEGORIES:
            raise self.wrong(f"{key}.category", f"must be one of {', '.join(_CATEGORIES)}, not {category!r:.80}")
        if side not in ("", "left", "right"):
            raise self.wrong(f"{key}.side", f"must be left, right or empty, not {side!r:.80}")
        value_, scheme, meaning = (
            self.text(stated.get(name), f"{key}.{name}") for name in ("value", "scheme", "meaning")
        )
        return LabelCode(value_, scheme, meaning, category, side)

    def label(self, value: object, key: str) -> LearnedLabel:
        stated = self.table(value, key)
        least = stated.get("least_confidence")
        return LearnedLabel(
            label=self.text(stated.get("label"), f"{key}.label"),
            modality=self.text(stated.get("modality"), f"{key}.modality"),
            kind=self.choice(stated.get("kind"), f"{key}.kind", ImageKind),
            regions=self.choices(stated.get("regions", []), f"{key}.regions", Region),
            planes=self.choices(stated.get("planes", []), f"{key}.planes", Plane),
            images=self.count(stated.get("images"), f"{key}.images"),
            absent=self.count(stated.get("absent", 0), f"{key}.absent"),
            least_confidence=None if least is None else self.share(least, f"{key}.least_confidence"),
        )
