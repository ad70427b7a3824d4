"""Run the stage that a settings file names."""

from __future__ import annotations

from pathlib import Path

import torch

from inference.errors import InferenceError
from inference.medseg_r.config import PRESETS
from inference.training.compose import compose_stages
from inference.training.joint import train_joint
from inference.training.language import train_language
from inference.training.packing import pack
from inference.training.settings import TrainSettings
from inference.training.vision import train_vision

__all__ = ["run_training"]


def run_training(settings: TrainSettings) -> Path:
    """Train, resuming what is found in `settings.out`, and return that folder or the finished checkpoint's.

    Raises `InferenceError` for settings that do not fit together.
    """
    if settings.stage == "joint":
        return train_joint(settings)
    torch.set_num_threads(settings.threads)
    if settings.preset not in PRESETS or not PRESETS[settings.preset].language_layers:
        raise InferenceError(f"preset {settings.preset!r} is not built from nothing; only tiny is")
    config = PRESETS[settings.preset]
    if settings.stage == "language":
        train_language(config, settings)
        return settings.out
    if settings.images is None:
        raise InferenceError(f"stage {settings.stage} needs images = FOLDER")
    packed = pack(settings.images, settings.out / "pack")
    if settings.stage == "grounding":
        train_vision(packed, config.grounding, settings)
        return settings.out
    compose_stages(packed, config, settings)
    return settings.out / "checkpoint"
