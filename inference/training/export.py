"""Put the stages together into a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

from inference.interface import PredictorDescription
from inference.medseg_r.checkpoint import Thresholds, save_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.context import Words
from inference.medseg_r.description import RESEARCH_ONLY
from inference.medseg_r.model import MedSegR
from inference.training.vision import VisionStage

__all__ = ["export"]


def export(
    states: Path, folder: Path, config: MedSegRConfig, *, version: str, thresholds: Thresholds
) -> PredictorDescription:
    """Compose vision.pt and language.pt of `states` and write them as a checkpoint to `folder`."""
    words = Words(Tokenizer.from_file(str(states / "tokenizer.json")))
    model = MedSegR(config, words)
    vision = VisionStage(config)
    vision.load_state_dict(torch.load(states / "vision.pt", weights_only=True)["average"])
    model.grounding.load_state_dict(vision.grounding.state_dict())
    language = torch.load(states / "language.pt", weights_only=True)
    model.language_model.load_state_dict(language["model"])
    model.prompt_projector.load_state_dict(language["projector"])
    return save_checkpoint(
        folder, model, name="medseg-r tiny", version=version, terms=RESEARCH_ONLY, thresholds=thresholds
    )
