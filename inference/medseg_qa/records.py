"""Records of a MedSeg-QA set: an image, its masks and the conversations about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from inference.medseg_qa.errors import SourceError

__all__ = [
    "Conversation",
    "QuestionKind",
    "Record",
    "Split",
    "Target",
    "Turn",
    "read_records",
    "record_from_json",
    "record_to_json",
    "windows_of",
]

RECORDS_FILE = "records.jsonl"


class QuestionKind(Enum):
    """What a question asks. The first seven name a target openly or by implication, the others follow up."""

    EXPLICIT = "explicit"
    ANATOMICAL = "anatomical"
    FUNCTIONAL = "functional"
    PATHOLOGICAL = "pathological"
    SYMPTOM = "symptom"
    COMPARATIVE = "comparative"
    REPORT = "report"
    LOCATION = "location"
    SIZE = "size"
    SIDE = "side"
    MEANING = "meaning"
    APPEARANCE = "appearance"
    OVERVIEW = "overview"
    MULTI = "multi"


class Split(Enum):
    """Where a record belongs; `all` is the split of sources that name none."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    ZERO_SHOT = "zero_shot"
    ALL = "all"


@dataclass(frozen=True)
class Target:
    """One label with its mask.

    `mask`: path relative to the set, PNG `rows columns`, 0 or 255. `bbox`: row0, column0, row1, column1, end excluded.
    `centroid`: row, column. `side`: `left` or `right` half where the mask lies, or None where it crosses the middle.
    `area_mm2` is None where the pixel spacing is unknown.
    """

    label: str
    phrase: str
    code: str
    mask: str
    pixels: int
    bbox: tuple[int, int, int, int]
    centroid: tuple[float, float]
    side: str | None
    area_mm2: float | None


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    `asked`: labels the question is about. `targets`: indices into the record's targets, one per [SEG] of the answer and
    in its order. `absent`: asked labels that are not in the image. `wording`: which wording the question came from.
    `standalone` is False where a question needs the turns before it.
    """

    question: str
    answer: str
    kind: QuestionKind
    asked: tuple[str, ...]
    targets: tuple[int, ...]
    absent: tuple[str, ...]
    wording: str
    standalone: bool = True


@dataclass(frozen=True)
class Conversation:
    """Two to five turns about one image. `annotator` says who wrote it."""

    id: str
    annotator: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Record:
    """An image with its targets and conversations.

    `image`: path relative to the set, PNG, grey or RGB, `size` rows, columns. `spacing_mm`: row and column spacing of
    the stored image, or None. `group`: the patient. `orientation`: `radiological` where the patient's left is on the
    image's right, `image` where only sides of the image can be told. `laterality`: L, R or None, of the body part.
    `window`: the values in units of the modality that the picture shows as black and as white, where they were fixed.
    """

    id: str
    dataset: str
    source: str
    licence: str
    group: str
    split: Split
    modality: str
    image: str
    size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    orientation: str
    laterality: str | None
    context: str
    targets: tuple[Target, ...]
    conversations: tuple[Conversation, ...]
    window: tuple[float, float] | None = None


def record_to_json(record: Record) -> str:
    """One line of records.jsonl, keys sorted, without the line break."""
    return json.dumps(asdict(record), sort_keys=True, ensure_ascii=False, default=lambda item: item.value)


def record_from_json(line: str) -> Record:
    """The record of one line; raises SourceError naming what is wrong."""
    try:
        row: dict[str, Any] = json.loads(line)
        targets = tuple(_target(item) for item in row.pop("targets"))
        conversations = tuple(_conversation(item) for item in row.pop("conversations"))
        spacing = row.pop("spacing_mm")
        size = row.pop("size")
        window = row.pop("window", None)
        return Record(
            split=Split(row.pop("split")),
            size=(size[0], size[1]),
            spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
            targets=targets,
            conversations=conversations,
            window=None if window is None else (float(window[0]), float(window[1])),
            **row,
        )
    except KeyError as error:
        raise SourceError(f"not a MedSeg-QA record: it lacks the key {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"not a MedSeg-QA record: {error}") from error


def _target(item: dict[str, Any]) -> Target:
    return Target(**{**item, "bbox": tuple(item["bbox"]), "centroid": tuple(item["centroid"])})


def _conversation(item: dict[str, Any]) -> Conversation:
    return Conversation(item["id"], item["annotator"], tuple(turn_from_json(turn) for turn in item["turns"]))


def turn_from_json(item: dict[str, Any]) -> Turn:
    """The turn of one JSON object; raises KeyError, TypeError or ValueError."""
    lists = {name: tuple(item[name]) for name in ("asked", "targets", "absent")}
    return Turn(**{**item, **lists, "kind": QuestionKind(item["kind"])})


def read_records(directory: Path, split: Split | str | None = None) -> Iterator[Record]:
    """Records of a set one by one, of one split or of all.

    Raises SourceError if the folder holds no set or a line is broken, naming the line.
    """
    path = Path(directory) / RECORDS_FILE
    if not path.is_file():
        raise SourceError(f"{directory} holds no {RECORDS_FILE}; make one with 'medseg-qa build'")
    wanted = Split(split) if isinstance(split, str) else split
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = record_from_json(line)
            except SourceError as error:
                raise SourceError(f"{path}, line {number}: {error}") from error
            if wanted is None or record.split is wanted:
                yield record


def windows_of(directory: Path) -> dict[str, tuple[float, float]]:
    """Return the window that the pictures of a set were made in, by modality, for the card of what learns from it.

    A modality of which the set says none is left out. Raises SourceError where one was shown in two windows, and as
    `read_records` does.
    """
    windows: dict[str, tuple[float, float]] = {}
    for record in read_records(directory):
        if record.window is not None and windows.setdefault(record.modality, record.window) != record.window:
            raise SourceError(
                f"{directory}: {record.modality} images are shown from {windows[record.modality]} and, {record.id}, "
                f"from {record.window}; build the set with one window for all of a modality"
            )
    return windows
