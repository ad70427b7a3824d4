"""`python -m inference.training`: train the stages in turn, or export what there is to a checkpoint folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from inference.medseg_r.config import PRESETS
from inference.training.export import export
from inference.training.language import align, train_language
from inference.training.packing import pack
from inference.training.thresholds import choose_thresholds
from inference.training.vision import train_vision


def main() -> None:
    """Run one stage for a given time; each resumes from what `--out` holds."""
    parser = argparse.ArgumentParser(prog="python -m inference.training", description=main.__doc__)
    parser.add_argument("stage", choices=["vision", "language", "align", "export"])
    parser.add_argument("--images", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"), help="where states and logs are kept")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time of the stage, resumed time included")
    parser.add_argument("--to", type=Path, default=Path("runs/export"), help="checkpoint folder that export writes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = pack(arguments.images, arguments.out.parent / "pack")
    config = PRESETS["tiny"]
    if arguments.stage == "vision":
        train_vision(data, config, arguments.out, minutes=arguments.minutes, batch_size=4, decoder_from=0.6)
    elif arguments.stage == "language":
        train_language(data, config, arguments.out, minutes=arguments.minutes)
    elif arguments.stage == "align":
        align(data, config, arguments.out, minutes=arguments.minutes)
    else:
        thresholds = choose_thresholds(data, config, arguments.out)
        print(export(arguments.out, arguments.to, config, version="0.1", thresholds=thresholds))


if __name__ == "__main__":
    main()
