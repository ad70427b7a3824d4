"""`python -m inference.evaluation`: score a checkpoint on one split of the images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.evaluation.scores import Scored, dice, summary
from inference.interface import Predictor, Question, SliceStack
from inference.open import open_predictor
from inference.training.labels import DATASETS, LABELS
from inference.training.packing import Pack, pack

_QUESTIONS = (  # none of them is a training template
    "could you segment the {x}?",
    "please draw the {x} for me.",
    "i want to see the {x} outlined in this picture.",
)


def evaluate(predictor: Predictor, data: Pack, split: str, most_per_set: int) -> dict[str, Any]:
    """Ask of each image every label of its set, one by one, and one label of another kind of image.

    At most `most_per_set` images of a set are taken, evenly spaced through it.
    """
    scored: list[Scored] = []
    images, started = 0, time.monotonic()
    for name, own in DATASETS.items():
        records = np.flatnonzero((data.splits == split) & (data.datasets == name))
        if len(records) > most_per_set:
            records = records[np.linspace(0, len(records) - 1, most_per_set).round().astype(int)]
        for record in records.tolist():
            others = [label for label in LABELS if label not in own]
            foreign = others[record % len(others)]
            labels = [*own, foreign]
            questions = [
                Question(_QUESTIONS[(record + place) % len(_QUESTIONS)].format(x=label))
                for place, label in enumerate(labels)
            ]
            rows, columns = (int(side) for side in data.extents[record])
            stack = SliceStack(
                np.ascontiguousarray(data.images[record][None, :rows, :columns]),
                str(data.modalities[record]),
                None,
                (0.0, 255.0),
            )
            present = data.present(record)
            for label, answer in zip(labels, predictor.answer(stack, questions), strict=True):
                masks = [target.mask[0] for target in answer.targets if target.phrase == label]
                score = None
                if label in present:
                    truth = data.mask(record, label)[:rows, :columns]
                    score = dice(masks[0], truth) if masks else 0.0
                scored.append(
                    Scored(label, score, bool(masks or (label not in present and answer.targets)), label == foreign)
                )
            images += 1
    result = summary(scored)
    result["images"] = images
    result["seconds_per_image"] = round((time.monotonic() - started) / max(1, images), 3)
    return result


def main() -> None:
    """Print a table, or with --json the same as JSON."""
    parser = argparse.ArgumentParser(prog="python -m inference.evaluation", description=main.__doc__)
    parser.add_argument("--checkpoint", default="tiny", help="folder of the checkpoint, or tiny for the shipped one")
    parser.add_argument("--images", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument("--cache", type=Path, default=Path("runs/pack"), help="where packed images are kept")
    parser.add_argument("--most-per-set", type=int, default=10_000, help="images of each set, evenly spaced")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accept-research-use", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predictor = open_predictor(arguments.checkpoint, arguments.device, arguments.accept_research_use)
    data = pack(arguments.images, arguments.cache)
    result = evaluate(predictor, data, arguments.split, arguments.most_per_set)
    result["checkpoint"] = predictor.description.digest
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    for label, row in result["labels"].items():
        print(
            f"{label:30} dice {row['dice']}  n {row['n']}  recall {row['present_recall']}  {row['absent_specificity']}"
        )
    print(result["overall"], result["images"], result["seconds_per_image"])


if __name__ == "__main__":
    main()
