"""Pictures of an evaluation: best, median and worst cases, and how far confidence can be believed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from inference.evaluation.run import Case, Evaluation

__all__ = ["case_grid", "reliability_plot"]

_COLUMNS = 4
_BINS = np.linspace(0, 1, 11)


def case_grid(evaluation: Evaluation, qa: Path, out: Path) -> None:
    """Write a PNG of the best, median and worst answered questions by Dice, one per label; true masks green.

    Raises `OSError` where an image of the set `qa` is missing or `out` cannot be written.
    """
    best_of: dict[str, list[Case]] = {}
    for case in evaluation.cases:
        best_of.setdefault(case.label, []).append(case)
    rows = [
        ("best", [max(cases, key=lambda case: case.score) for cases in best_of.values()], True),
        ("median", [sorted(cases, key=lambda case: case.score)[len(cases) // 2] for cases in best_of.values()], True),
        ("worst", [min(cases, key=lambda case: case.score) for cases in best_of.values()], False),
    ]
    figure, axes = plt.subplots(3, _COLUMNS, figsize=(4 * _COLUMNS, 14), squeeze=False, layout="constrained")
    for line, (name, cases, high) in zip(axes, rows, strict=True):
        chosen = sorted(cases, key=lambda case: case.score, reverse=high)
        if name == "median":  # across labels as well
            middle = max(0, (len(chosen) - _COLUMNS) // 2)
            chosen = chosen[middle:]
        for place, axis in enumerate(line):
            axis.axis("off")
            if place < len(chosen):
                _draw(axis, chosen[place], qa, name)
    figure.suptitle("green: true mask, orange: predicted mask", fontsize=11)
    figure.savefig(out, dpi=70)
    plt.close(figure)


def reliability_plot(evaluation: Evaluation, out: Path) -> None:
    """Write a PNG of confidence against true IoU, in ten bins, with the number of masks in each."""
    given = [score for score in evaluation.scored if score.given and score.confidence is not None]
    confidence = np.array([score.confidence for score in given], dtype=float)
    true = np.array([score.iou for score in given])
    bins = np.minimum((confidence * 10).astype(int), 9)
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    for number in np.unique(bins):
        upper.plot(confidence[bins == number].mean(), true[bins == number].mean(), "o", color="tab:blue")
    upper.set(ylabel="mean IoU with the true mask", ylim=(0, 1), title="Is the confidence right?")
    lower.hist(confidence, bins=_BINS, color="tab:blue")
    lower.set(xlabel="confidence", ylabel="masks", xlim=(0, 1))
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    plt.close(figure)


def _draw(axis: Axes, case: Case, qa: Path, name: str) -> None:
    with Image.open(qa / case.image) as picture:
        axis.imshow(np.asarray(picture.convert("RGB")))
    with Image.open(qa / case.true) as picture:
        true = np.asarray(picture) > 127
    for mask, colour in ((true, "lime"), (case.predicted, "orange")):
        if mask.any():
            axis.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.2)
    title = textwrap.fill(f"{name}: {case.label}, Dice {case.score:.2f}. {case.question}", 44)
    axis.set_title(title, fontsize=9)
