"""Open a predictor by the name a configuration gives it."""

from __future__ import annotations

from pathlib import Path

from inference.errors import DeviceMissing
from inference.interface import Predictor, PredictorDescription
from inference.medseg_r.description import SHIPPED, describe_checkpoint

__all__ = ["describe_predictor", "open_predictor"]


def open_predictor(checkpoint: str, device: str = "cpu", accept_research_use: bool = False) -> Predictor:
    """Build the predictor named by `checkpoint`: "commissioning", "tiny" (the shipped weights), or a checkpoint folder.

    `device`: a torch device such as "cpu" or "cuda:0", or "auto": the GPU if there is one. `accept_research_use`: the
    operator's consent to weights whose terms are research only; the shipped ones need none. Torch is imported only when
    weights are loaded.
    Raises `CheckpointError` and, below it, `TermsNotAccepted`.
    """
    from inference.medseg_r.commissioning import CommissioningPredictor

    if checkpoint == "commissioning":
        return CommissioningPredictor()
    from inference.medseg_r.predictor import MedSegRPredictor

    device = _torch_device(device)
    if device != "cpu":
        _compute_in_float32()
    return MedSegRPredictor(_folder(checkpoint), device, accept_research_use=accept_research_use)


def describe_predictor(checkpoint: str, accept_research_use: bool = False) -> PredictorDescription:
    """What `open_predictor` would answer with, read from the checkpoint's own description: no weights, no torch.

    Raises `CheckpointError` and, below it, `TermsNotAccepted`.
    """
    if checkpoint == "commissioning":
        return open_predictor(checkpoint).description
    return describe_checkpoint(_folder(checkpoint), accept_research_use=accept_research_use)


def _folder(checkpoint: str) -> Path:
    return SHIPPED if checkpoint == "tiny" else Path(checkpoint)


def _torch_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceMissing(f"device {device!r} is not there: torch sees no GPU; set [model] device to auto or cpu")
    return device


def _compute_in_float32() -> None:
    """Keep convolutions from TensorFloat-32, torch's default for them on a GPU: ten bits of a float32's 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
