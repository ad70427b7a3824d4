"""A picture of a run's losses."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["RATE", "draw_curves"]

RATE = "rate"
"""What the learning rate is called beside the losses; it has no curve."""

_POINTS = 200  # of a curve: each is the mean of the steps around it


def draw_curves(log: Path, out: Path) -> None:
    """Write a PNG of what `log` holds, JSON Lines with a `step` each: a curve for each name beside it."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axis = plt.subplots(figsize=(7, 4))
    for name in sorted({name for row in rows for name in row} - {"step", RATE}):
        points = np.array([(row["step"], row[name]) for row in rows if name in row])
        means = [part.mean(axis=0) for part in np.array_split(points, min(len(points), _POINTS))]
        axis.plot(*zip(*means, strict=True), label=name, marker="." if len(means) == 1 else None)
    axis.set(xlabel="step", yscale="log")
    if rows:
        axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    plt.close(figure)
