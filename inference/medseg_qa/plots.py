"""Pictures of a set: bar charts of its counts, and a contact sheet of conversations with overlays."""

from __future__ import annotations

import random
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.records import Conversation, Record, read_records

__all__ = ["mask_colour", "overlay", "plot_statistics", "write_contact_sheet"]

_COLUMNS, _CELL_WIDTH, _PICTURE = 2, 860, 230
_LINE, _LINE_STEP, _LEGEND_STEP = 86, 18, 17
_COLOURS = (
    "#ff5050", "#50c8ff", "#78ff78", "#ffd23c", "#dc78ff", "#ff963c", "#3c78ff",
    "#00b496", "#ff78b4", "#b4ff00", "#b48c64", "#a0a0ff", "#ffffff",
)  # fmt: skip


def plot_statistics(statistics: Mapping[str, Any], path: Path) -> None:
    """Bar charts of modality, label, absent targets, question kind, turns, length and mask size, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(20, 11))
    pairs = {name: count["pairs"] for name, count in statistics["labels"].items() if count["pairs"]}
    absent = {name: count["absent_turns"] for name, count in statistics["labels"].items() if count["absent_turns"]}
    charts: list[tuple[str, Mapping[str, float]]] = [
        ("records per modality", statistics["modality"]),
        ("pairs per label", pairs),
        ("turns about absent targets per label", absent),
        ("turns per question kind", statistics["question_kind"]),
        ("turns per conversation", statistics["turns_per_conversation"]),
        ("words per question", statistics["question_length"]),
        ("words per answer", statistics["answer_length"]),
        ("pairs per mask size, share of the image", statistics["mask_size"]),
    ]
    for axis, (title, counts) in zip(axes.flat, charts, strict=True):
        axis.barh(list(counts), list(counts.values()), color="#4477aa")
        axis.set_title(title)
        axis.invert_yaxis()
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def mask_colour(number: int) -> str:
    """The colour of a record's target, `#rrggbb`; thirteen targets can be told apart."""
    return _COLOURS[number % len(_COLOURS)]


def overlay(directory: Path, record: Record, side: int = 320) -> Image.Image:
    """The image with its masks in colour, longest side `side`."""
    with Image.open(directory / record.image) as image:
        blended = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
    for number, target in enumerate(record.targets):
        with Image.open(directory / target.mask) as image:
            mask = np.asarray(image) > 0
        blended[mask] = 0.55 * blended[mask] + 0.45 * np.array(ImageColor.getrgb(mask_colour(number)), dtype=np.float32)
    scale = side / max(record.size)
    size = (max(1, round(record.size[1] * scale)), max(1, round(record.size[0] * scale)))
    return Image.fromarray(blended.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def write_contact_sheet(
    directory: Path, path: Path, count: int = 10, seed: int = 0, datasets: Sequence[str] = ()
) -> list[tuple[Record, Conversation]]:
    """PNG of `count` random conversations, each beside its image with masks; returns those shown.

    The same seed shows the same. Data sets take turns, so that a large one does not fill the sheet; `datasets` allows
    only those named. Raises SourceError if there is nothing to show.
    """
    shown = _drawn(directory, count, random.Random(f"contact sheet {seed}"), datasets)
    if not shown:
        known = sorted({record.dataset for record in read_records(directory)})
        wanted = ", ".join(datasets) or "any data set"
        raise SourceError(f"{directory} holds no record of {wanted}; it holds {', '.join(known) or 'nothing'}")
    cells = [_cell(directory, record, conversation) for record, conversation in shown]
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (_CELL_WIDTH * min(_COLUMNS, len(cells)), sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * _CELL_WIDTH, top))
        top += height
    # a palette keeps the sheet small enough to stand in documents; the octree keeps the colours of masks apart
    sheet.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)
    return shown


def _drawn(
    directory: Path, count: int, draw: random.Random, datasets: Sequence[str]
) -> list[tuple[Record, Conversation]]:
    """Random records, data sets in turn, each with one of its conversations; a few per data set are kept in memory."""
    kept: dict[str, list[Record]] = {}
    seen: Counter[str] = Counter()
    for record in read_records(directory):
        if datasets and record.dataset not in datasets:
            continue
        chosen = kept.setdefault(record.dataset, [])
        seen[record.dataset] += 1
        if len(chosen) < count:
            chosen.append(record)
        elif (place := draw.randrange(seen[record.dataset])) < count:
            chosen[place] = record
    turns = [records for _, records in sorted(kept.items())]
    mixed = [records[i] for i in range(count) for records in turns if i < len(records)][:count]
    return [(record, draw.choice(record.conversations)) for record in mixed]


def _cell(directory: Path, record: Record, conversation: Conversation) -> Image.Image:
    """One conversation: image with masks and their names on the left, source and text on the right."""
    font, small = ImageFont.load_default(14), ImageFont.load_default(12)
    picture = overlay(directory, record, _PICTURE)
    lines: list[tuple[str, str]] = []
    for turn in conversation.turns:
        lines += [(line, "#1d3f72") for line in textwrap.wrap(turn.question, _LINE)]
        lines += [(line, "#222222") for line in textwrap.wrap(turn.answer, _LINE)] + [("", "white")]
    legend = len(record.targets) * _LEGEND_STEP
    height = max(50 + len(lines) * _LINE_STEP, 40 + picture.height + legend) + 16
    cell = Image.new("RGB", (_CELL_WIDTH, height), "white")
    pen = ImageDraw.Draw(cell)
    cell.paste(picture, (10, 32))
    pen.text((10, 8), f"{record.id} ({record.modality}, {record.split.value}); {record.licence}", "black", small)
    for number, target in enumerate(record.targets):
        y = 38 + picture.height + number * _LEGEND_STEP
        pen.rectangle((10, y + 2, 20, y + 12), fill=mask_colour(number), outline="#888888")
        pen.text((26, y), target.phrase, "black", small)
    for number, (line, colour) in enumerate(lines):
        pen.text((_PICTURE + 28, 32 + number * _LINE_STEP), line, colour, font)
    return cell
