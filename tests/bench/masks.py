"""How well MedSeg-R draws, beside a plain U-Net for each data set that is told which label to draw; saved weights only.

The same test images, and every label that is there:

- U-Net: told the label (`unet.py` trained it; its weights lie beside this file).
- MedSeg-R, told the label: pixel-level grounding with the label's own prompt and no question; every mask is kept.
- MedSeg-R, asked: questions in wordings not seen in training, the whole way from words to mask; 0 where no mask came.

Dice per image (asked: per question), averaged per label, then over the labels with at least 5 images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from unet import WEIGHTS, load_unet

from inference.evaluation.run import evaluate, stack_of
from inference.evaluation.scores import FEWEST_IMAGES, score_masks, summary
from inference.medseg_qa.builder import build
from inference.medseg_qa.labels import DATASETS, LABELS, canonical
from inference.medseg_qa.records import Record
from inference.medseg_qa.sources import open_source
from inference.medseg_qa.splits import select_records
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.description import SHIPPED
from inference.medseg_r.model import MedSegR
from inference.medseg_r.predictor import MedSegRPredictor
from inference.medseg_r.transform import from_square, standardise, to_square
from inference.training.vision import label_prompts

Draw = Callable[[torch.Tensor, str], torch.Tensor]
"""A standardised image `3 side side` and a data set's name in, logits `labels side side` of that set's labels out."""


def told(draw: Draw, qa: Path, records: list[Record], threshold: float) -> dict[str, Any]:
    """Score masks drawn for each label that is there by something that is told the label."""
    scored = []
    for record in records:
        square, extent = to_square(stack_of(record, qa).values[0])
        with torch.inference_mode():
            logits = draw(torch.from_numpy(standardise(square)).permute(2, 0, 1), record.dataset)
        for target in record.targets:
            label = canonical(target.label)
            if label not in DATASETS[record.dataset]:
                continue
            true: NDArray[np.bool_] = np.asarray(Image.open(qa / target.mask)) > 127
            own = logits[DATASETS[record.dataset].index(label)][None]
            [mask] = from_square(own, extent, *true.shape, threshold, square.shape[0])
            scored.append(score_masks(label, record.id, mask, true, None))
    return summary(scored)


def unet_draw() -> Draw:
    models = {name: load_unet(name) for name in DATASETS}
    return lambda image, name: models[name](image[None])[0]


def grounding_draw(model: MedSegR) -> Draw:
    prompts = label_prompts(model.config.grounding.prompt_width)
    rows = {name: [LABELS.index(label) for label in own] for name, own in DATASETS.items()}

    def draw(image: torch.Tensor, name: str) -> torch.Tensor:
        return model.grounding.decode(model.grounding.encode(image[None])[0], prompts[rows[name]]).logits

    return draw


def show(results: dict[str, dict[str, Any]]) -> None:
    names = list(results)
    table = Table(title="Dice on test images", caption=f"mean over the labels with at least {FEWEST_IMAGES} images")
    table.add_column("label")
    for name in ("images", *names):
        table.add_column(name, justify="right")
    first = results[names[0]]["labels"]
    for label, row in sorted(first.items(), key=lambda item: item[0]):
        cells = [results[name]["labels"].get(label, {}).get("dice") for name in names]
        table.add_row(label, str(row["images"]), *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    table.add_section()
    table.add_row("mean", "", *(f"{results[name]['overall']['dice']:.3f}" for name in names), style="bold")
    ratio = [results[name]["overall"]["dice"] / results[names[0]]["overall"]["dice"] for name in names]
    table.add_row("/ U-Net", "", *(f"{one:.2f}" for one in ratio))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path("../shared/data/images"), help="folder with manifest.jsonl")
    parser.add_argument("--qa", type=Path, help="a MedSeg-QA set of the same images; built for the run without it")
    parser.add_argument("--most-per-set", type=int, default=24, help="test images of each set; 0 for all")
    parser.add_argument("--json", action="store_true", help="print everything that was measured as JSON")
    arguments = parser.parse_args()
    if arguments.qa is None and not (arguments.images / "manifest.jsonl").is_file():
        print(f"no images in {arguments.images}: masks are not compared; pass --images or --qa", file=sys.stderr)
        return
    missing = [name for name in DATASETS if not (WEIGHTS / f"{name}.safetensors").is_file()]
    if missing:
        parser.error(f"no U-Net weights of {', '.join(missing)} in {WEIGHTS}; train them with unet.py")
    most = arguments.most_per_set or None
    with tempfile.TemporaryDirectory() as folder:
        qa = arguments.qa
        if qa is None:
            qa = Path(folder) / "qa"
            build(open_source(arguments.images), qa)
        records = select_records(qa, "test", most)
        checkpoint = load_checkpoint(SHIPPED, accept_research_use=True)
        asked = evaluate(MedSegRPredictor(checkpoint), qa, "test", most_per_set=most).to_json()
        results = {
            "U-Net": told(unet_draw(), qa, records, 0.0),
            "MedSeg-R told": told(grounding_draw(checkpoint.model), qa, records, checkpoint.thresholds.mask_logit),
            "MedSeg-R asked": asked,
        }
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
