"""Put what the stages `grounding` and `language` learned together into a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

from inference.errors import InferenceError
from inference.interface import PredictorDescription
from inference.medseg_r.checkpoint import save_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import RESEARCH_ONLY
from inference.medseg_r.model import MedSegR
from inference.medseg_r.words import Words
from inference.training.packing import Pack
from inference.training.thresholds import calibrated, choose_thresholds, judge
from inference.training.vision import label_prompts

__all__ = ["compose_stages"]


def compose_stages(pack: Pack, config: MedSegRConfig, states: Path, *, version: str = "0.3") -> PredictorDescription:
    """Write `states`/checkpoint from `states`/vision.pt and `states`/language.pt, with thresholds and calibration.

    Raises `InferenceError` where a stage has left nothing.
    """
    for name, stage in (("vision.pt", "grounding"), ("language.pt", "language"), ("tokenizer.json", "language")):
        if not (states / name).exists():
            raise InferenceError(f"{states / name} is missing; run the stage {stage} first")
    model = MedSegR(config, Words(Tokenizer.from_file(str(states / "tokenizer.json"))))
    model.grounding.load_state_dict(torch.load(states / "vision.pt", weights_only=True)["average"])
    language = torch.load(states / "language.pt", weights_only=True)["average"]
    _fill(model.language_model, language, "language_model.")
    _fill(model.prompt_projector, language, "prompt_projector.")
    judged = judge(pack, model.grounding, label_prompts(config.grounding.prompt_width))
    thresholds = choose_thresholds(judged)
    return save_checkpoint(
        states / "checkpoint",
        model,
        name="medseg-r tiny",
        version=version,
        terms=RESEARCH_ONLY,
        thresholds=thresholds,
        calibration=calibrated(judged, thresholds),
    )


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor], prefix: str) -> None:
    module.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
