"""Open a predictor by the name a configuration gives it."""

from __future__ import annotations

from pathlib import Path

from inference.errors import CheckpointError, DeviceMissing
from inference.interface import Predictor, PredictorDescription
from inference.medseg_r.description import UNTRAINED, checkpoint_folder, describe_checkpoint, read_description

__all__ = ["describe_predictor", "open_predictor", "torch_device"]


def open_predictor(checkpoint: str, device: str = "cpu", accept_research_use: bool = False) -> Predictor:
    """Build the predictor named by `checkpoint`: "commissioning", "tiny" (the shipped weights), or a checkpoint folder.

    `device`: a torch device such as "cpu" or "cuda:0", or "auto": the GPU if there is one. `accept_research_use`: the
    operator's consent to weights whose terms are research only; the shipped ones need none. Torch is imported only when
    weights are loaded.
    Raises `CheckpointError`, for one that was never trained, too, and, below it, `TermsNotAccepted`; `DeviceMissing`.
    """
    from inference.commissioning import CommissioningPredictor

    if checkpoint == "commissioning":
        return CommissioningPredictor()
    from inference.medseg_r.predictor import MedSegRPredictor

    folder = checkpoint_folder(checkpoint)
    _check_trained(folder)
    device = torch_device(device)
    if device != "cpu":
        _compute_in_float32()
    return MedSegRPredictor(folder, device, accept_research_use=accept_research_use)


def describe_predictor(checkpoint: str, accept_research_use: bool = False) -> PredictorDescription:
    """What `open_predictor` would answer with, read from the checkpoint's own description: no weights, no torch.

    Raises `CheckpointError` and, below it, `TermsNotAccepted`.
    """
    if checkpoint == "commissioning":
        return open_predictor(checkpoint).description
    folder = checkpoint_folder(checkpoint)
    _check_trained(folder)
    return describe_checkpoint(folder, accept_research_use=accept_research_use)


def torch_device(device: str) -> str:
    """Return the torch device that a setting names: "auto" is the GPU if there is one.

    Raises `DeviceMissing` for one that is not there, or of a kind that is not used here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceMissing(f"there is no device {device!r}; give cpu, cuda or auto") from error
    if wanted.type not in ("cpu", "cuda"):
        raise DeviceMissing(f"a device {device!r} is not used here; give cpu, cuda or auto")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise DeviceMissing(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count() or 'no'} GPU; give auto or cpu"
        )
    return device


def _check_trained(folder: Path) -> None:
    if read_description(folder)["version"] == UNTRAINED:
        raise CheckpointError(
            f"{folder} was composed and never trained: its answers would mean nothing; train it first (medseg-r train)"
        )


def _compute_in_float32() -> None:
    """Keep convolutions from TensorFloat-32, torch's default for them on a GPU: ten bits of a float32's 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
