"""A picture of a run's losses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["draw_curves"]


def draw_curves(log: Path, out: Path, names: Sequence[str]) -> None:
    """Write a PNG of the losses in `log`, JSON Lines with a `step` each, one curve for each of `names`."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axis = plt.subplots(figsize=(7, 4))
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), label=name)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    plt.close(figure)
