"""Pictures of a set: bar charts of its counts, and a contact sheet of conversations with overlays."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from inference.medseg_qa.records import Record, read_records

__all__ = ["overlay", "plot_statistics", "write_contact_sheet"]

_COLOURS = ((255, 80, 80), (80, 200, 255), (120, 255, 120), (255, 210, 60), (220, 120, 255), (255, 150, 60))


def plot_statistics(statistics: Mapping[str, Any], path: Path) -> None:
    """Bar charts of modality, label, kind, turns, and the quantiles of length and mask size, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(17, 11))
    pairs = {name: count["pairs"] for name, count in statistics["labels"].items() if count["pairs"]}
    absent = {name: count["absent_turns"] for name, count in statistics["labels"].items() if count["absent_turns"]}
    charts: list[tuple[str, Mapping[str, float]]] = [
        ("records per modality", statistics["modality"]),
        ("pairs per label", pairs),
        ("turns about absent targets per label", absent),
        ("turns per question kind", statistics["question_kind"]),
        ("turns per conversation", statistics["turns_per_conversation"]),
        ("mask size, % of the image (quantiles)", statistics["mask_share_percent"]),
    ]
    for axis, (title, counts) in zip(axes.flat, charts, strict=True):
        axis.barh(list(counts), list(counts.values()), color="#4477aa")
        axis.set_title(title)
        axis.invert_yaxis()
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def overlay(directory: Path, record: Record, side: int = 320) -> Image.Image:
    """The image with its masks in colour, longest side `side`."""
    with Image.open(directory / record.image) as image:
        blended = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
    for number, target in enumerate(record.targets):
        with Image.open(directory / target.mask) as image:
            mask = np.asarray(image) > 0
        blended[mask] = 0.55 * blended[mask] + 0.45 * np.array(_COLOURS[number % len(_COLOURS)], dtype=np.float32)
    scale = side / max(record.size)
    size = (max(1, round(record.size[1] * scale)), max(1, round(record.size[0] * scale)))
    return Image.fromarray(blended.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def write_contact_sheet(directory: Path, path: Path, count: int = 10, seed: int = 0) -> list[Record]:
    """PNG of `count` random records, each with its overlay and one conversation; returns the records shown."""
    chosen: list[Record] = []
    draw_from = random.Random(f"contact sheet {seed}")
    for seen, record in enumerate(read_records(directory)):
        if len(chosen) < count:
            chosen.append(record)
        elif (place := draw_from.randrange(seen + 1)) < count:
            chosen[place] = record
    width, height, columns = 860, 350, 2
    rows = (len(chosen) + columns - 1) // columns
    sheet = Image.new("RGB", (width * columns, height * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for number, record in enumerate(chosen):
        x, y = width * (number % columns), height * (number // columns)
        sheet.paste(overlay(directory, record), (x + 8, y + 15))
        lines = [f"{record.id} ({record.modality}, {record.split.value})"]
        for turn in record.conversations[0].turns:
            lines += textwrap.wrap(f"Q {turn.question}", 82) + textwrap.wrap(f"A {turn.answer}", 82) + [""]
        pen.multiline_text((x + 345, y + 15), "\n".join(lines[:24]), fill="black", spacing=2)
    sheet.save(path)
    return chosen
