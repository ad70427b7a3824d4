"""The checkpoint that a stage begins from, where it does not begin from nothing."""

from __future__ import annotations

from inference.errors import InferenceError
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import checkpoint_folder
from inference.medseg_r.model import MedSegR
from inference.training.settings import TrainSettings

__all__ = ["starting_point"]


def starting_point(settings: TrainSettings, config: MedSegRConfig) -> MedSegR | None:
    """Return the model of `settings.start`, None where it names none.

    Raises `CheckpointError` as `load_checkpoint` does, `InferenceError` where its sizes are not those of `config`.
    """
    if not settings.start:
        return None
    folder = checkpoint_folder(settings.start)
    model = load_checkpoint(folder, accept_research_use=settings.accept_research_use).model
    if model.config != config:
        raise InferenceError(f"{folder} has other sizes than the preset {settings.preset}; start from another, or none")
    return model.requires_grad_(True)
