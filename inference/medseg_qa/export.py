"""Exports of a set: Hugging Face datasets, and the layouts that LLaVA and LISA training code read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inference.medseg_qa.errors import BuildStopped, OutputExists
from inference.medseg_qa.records import RECORDS_FILE, Conversation, Record, read_records, record_to_json

__all__ = ["ExportFormat", "export"]


Accepted = Mapping[str, Conversation]
"""Conversations by id, as a review left them."""


class ExportFormat(Enum):
    """Layouts a set can be exported to."""

    JSONL = "jsonl"
    HUGGING_FACE = "hf"
    LLAVA = "llava"
    LISA = "lisa"


def export(directory: Path, out: Path, layout: ExportFormat, accepted: Accepted | None = None) -> int:
    """Write a set in another layout and return how many records it holds.

    `accepted`: the conversations to keep, as a review left them; records without any are left out. Raises
    OutputExists, SourceError, or BuildError when the disk is full; then nothing is left.
    """
    if out.exists():
        raise OutputExists(f"{out} exists; name another folder")
    partial = out.absolute().with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        count = _WRITERS[layout](directory, partial, accepted)
        partial.rename(out.absolute())
    except OSError as error:
        raise BuildStopped(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _chosen(directory: Path, accepted: Accepted | None) -> Iterator[Record]:
    for record in read_records(directory):
        kept = record.conversations
        if accepted is not None:
            kept = tuple(accepted[c.id] for c in record.conversations if c.id in accepted)
        if kept:
            yield Record(**{**record.__dict__, "conversations": kept})


def _copy(directory: Path, out: Path, paths: Iterator[str] | tuple[str, ...]) -> None:
    for path in paths:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / path, out / path)


def _write_jsonl(directory: Path, out: Path, accepted: Accepted | None) -> int:
    count = 0
    with (out / RECORDS_FILE).open("w", encoding="utf-8") as lines:
        for record in _chosen(directory, accepted):
            _copy(directory, out, (record.image, *(target.mask for target in record.targets)))
            lines.write(record_to_json(record) + "\n")
            count += 1
    return count


def _write_hugging_face(directory: Path, out: Path, accepted: Accepted | None) -> int:
    """A DatasetDict on disk; images and masks are embedded as PNG bytes."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "modality": datasets.Value("string"),
            "group": datasets.Value("string"),
            "licence": datasets.Value("string"),
            "image": datasets.Image(),
            "labels": datasets.List(datasets.Value("string")),
            "masks": datasets.List(datasets.Image()),
            "conversations": datasets.Value("string"),
        }
    )
    splits = sorted({record.split.value for record in _chosen(directory, accepted)})
    try:
        made = {
            split: datasets.Dataset.from_generator(
                _hugging_face_rows,
                features=features,
                gen_kwargs={"directory": directory, "accepted": accepted, "split": split},
                cache_dir=str(out / ".cache"),
            )
            for split in splits
        }
    except datasets.exceptions.DatasetGenerationError as error:
        raise BuildStopped(f"cannot write {out}: {error.__cause__ or error}") from error
    datasets.DatasetDict(made).save_to_disk(str(out))
    shutil.rmtree(out / ".cache", ignore_errors=True)
    return sum(len(part) for part in made.values())


def _hugging_face_rows(directory: Path, accepted: Accepted | None, split: str) -> Iterator[dict[str, Any]]:
    for record in _chosen(directory, accepted):
        if record.split.value != split:
            continue
        row = json.loads(record_to_json(record))
        yield {
            **{name: row[name] for name in ("id", "modality", "group", "licence")},
            "image": {"path": None, "bytes": (directory / record.image).read_bytes()},
            "labels": [target.label for target in record.targets],
            "masks": [{"path": None, "bytes": (directory / target.mask).read_bytes()} for target in record.targets],
            "conversations": json.dumps(row["conversations"], ensure_ascii=False),
        }


def _write_llava(directory: Path, out: Path, accepted: Accepted | None) -> int:
    """SPLIT.json: `id`, `image`, `conversations` of `from` and `value`, and beside it `masks` in order of [SEG]."""
    rows: dict[str, list[dict[str, Any]]] = {}
    count = 0
    for record in _chosen(directory, accepted):
        count += 1
        _copy(directory, out, (record.image, *(target.mask for target in record.targets)))
        for conversation in record.conversations:
            said: list[dict[str, str]] = []
            masks: list[str] = []
            for number, turn in enumerate(conversation.turns):
                said.append({"from": "human", "value": ("<image>\n" if number == 0 else "") + turn.question})
                said.append({"from": "gpt", "value": turn.answer})
                masks += [record.targets[index].mask for index in turn.targets]
            row = {"id": conversation.id, "image": record.image, "conversations": said, "masks": masks}
            rows.setdefault(record.split.value, []).append(row)
    for split, entries in rows.items():
        _write_json(out / f"{split}.json", entries)
    return count


def _write_lisa(directory: Path, out: Path, accepted: Accepted | None) -> int:
    """SPLIT/NAME.jpg with NAME.json of polygons and questions, as the reasoning segmentation loader of LISA expects.

    One pair of files per turn with exactly one mask; `text` holds the question, `shapes` the row runs of the mask as
    rectangles, so that drawing them gives the mask again to the pixel.
    """
    count = 0
    for record in _chosen(directory, accepted):
        folder = out / record.split.value
        folder.mkdir(parents=True, exist_ok=True)
        count += 1
        turns = [turn for c in record.conversations for turn in c.turns if len(turn.targets) == 1]
        shapes = {i: _rectangles(directory / record.targets[i].mask) for turn in turns for i in turn.targets}
        with Image.open(directory / record.image) as image:
            colour = image.convert("RGB")
        for number, turn in enumerate(turns):
            stem = f"{record.id.replace('/', '_')}_{number:02d}"
            colour.save(folder / f"{stem}.jpg", quality=95)
            row = {"text": [turn.question], "is_sentence": True, "shapes": shapes[turn.targets[0]]}
            _write_json(folder / f"{stem}.json", {**row, "answer": turn.answer})
    return count


def _rectangles(path: Path) -> list[dict[str, Any]]:
    """Horizontal runs of a mask as closed polygons, x then y, end included."""
    with Image.open(path) as image:
        mask = np.asarray(image) > 0
    shapes: list[dict[str, Any]] = []
    for row in np.flatnonzero(mask.any(axis=1)):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mask[row].astype(np.int8), [0]))))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            left, right, y = int(start), int(end) - 1, int(row)
            points = [[left, y], [right, y], [right, y], [left, y]]
            shapes.append({"label": "target", "labels": ["target"], "shape_type": "polygon", "points": points})
    return shapes


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


_Writer = Callable[[Path, Path, Accepted | None], int]
_WRITERS: Mapping[ExportFormat, _Writer] = {
    ExportFormat.JSONL: _write_jsonl,
    ExportFormat.HUGGING_FACE: _write_hugging_face,
    ExportFormat.LLAVA: _write_llava,
    ExportFormat.LISA: _write_lisa,
}
