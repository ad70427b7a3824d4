"""An evaluation from the names of its parts to its figures: what `medseg-r evaluate` does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from inference.errors import InferenceError
from inference.evaluation.figures import case_grid, reliability_plot
from inference.evaluation.run import evaluate
from inference.evaluation.scores import FEWEST_IMAGES
from inference.medseg_qa.splits import check_split
from inference.open import open_predictor, torch_device
from inference.progress import Counter

__all__ = ["run_evaluation", "table"]

_COLUMNS = {
    "dice": "Dice",
    "giou": "gIoU",
    "ciou": "cIoU",
    "present_recall": "got a mask",
    "n": "present n",
    "absent_specificity": "absent, said so",
    "absent_n": "absent n",
}


def run_evaluation(
    checkpoint: str,
    qa: Path,
    split: str,
    *,
    device: str = "auto",
    most_per_set: int | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Evaluate and return plain values; with `out`, write evaluation.json, cases.png and reliability.png there too.

    Progress goes to stderr. Everything that can be wrong with the call is found before weights are loaded. Raises
    `InferenceError` for a split that does not exist or is empty and an `out` that cannot be written, `DeviceMissing`,
    `CheckpointError` and `SourceError` for what cannot be read, `OutOfMemory`.
    """
    check_split(qa, split)
    torch_device(device)
    if out is not None:
        _make_folder(out)
    predictor = open_predictor(checkpoint, device, accept_research_use=True, accept_uncalibrated=True)
    with Counter("images") as progress:
        evaluation = evaluate(predictor, qa, split, most_per_set=most_per_set, progress=progress)
    if not evaluation.images:
        raise InferenceError(f"the split {split} of {qa} holds no question; choose another split")
    described = predictor.description
    result = evaluation.to_json()
    result["checkpoint"] = {"name": described.name, "version": described.version, "digest": described.digest}
    result["checkpoint"]["terms"] = described.terms
    result["split"], result["most_per_set"] = split, most_per_set
    if out is not None:
        (out / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
        case_grid(evaluation, qa, out / "cases.png")
        reliability_plot(evaluation, out / "reliability.png")
    return result


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InferenceError(f"{out} cannot be made a folder ({error.strerror}); name another folder") from error
    if not os.access(out, os.W_OK):
        raise InferenceError(f"{out} cannot be written to; name another folder")


def table(result: dict[str, Any]) -> str:
    """Return a result as text in Markdown: a row for each label, the means below, then for each question kind."""
    lines = _rows("label", result["labels"])
    overall = result["overall"]
    lines.append(
        f"| **overall** ({overall['labels']} labels) | "
        + " | ".join(f"**{_figure(overall[name])}**" for name in _COLUMNS)
        + " |"
    )
    text = result["text"] or {}
    lines += [
        "",
        *_rows("kind of question (means over targets)", result["kinds"]),
        "",
        f"{result['images']} images, {result['questions']} questions ({result['refused']} refused); Dice and gIoU are "
        f"means over the {overall['labels']} labels with at least {FEWEST_IMAGES} images.",
        f"seen precision {_figure(overall['seen_precision'])}, expected calibration error {_figure(overall['ece'])}, "
        + ", ".join(f"{name} {_figure(value)}" for name, value in text.items()),
        f"{result['seconds_per_image']} s an image; {result['checkpoint']['name']} {result['checkpoint']['version']}, "
        f"sha256 {result['checkpoint']['digest'][:12]}..., terms: {result['checkpoint']['terms'] or 'none recorded'}",
    ]
    return "\n".join(lines)


def _rows(what: str, rates: dict[str, Any]) -> list[str]:
    """Return a table's lines: a heading, then what each row is and its rates."""
    lines = [f"| {what} | " + " | ".join(_COLUMNS.values()) + " |", "|---|" + "---:|" * len(_COLUMNS)]
    return lines + [
        f"| {name} | " + " | ".join(_figure(row[column]) for column in _COLUMNS) + " |" for name, row in rates.items()
    ]


def _figure(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
