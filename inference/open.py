"""Open a predictor by the name a configuration gives it."""

from __future__ import annotations

from inference.commissioning import CommissioningPredictor
from inference.errors import DeviceMissing
from inference.interface import Predictor, PredictorDescription
from inference.medseg_r.description import CheckpointDescription, checkpoint_folder, read_description

__all__ = ["describe_predictor", "open_predictor", "torch_device"]


def open_predictor(checkpoint: str, device: str = "cpu", accept_research_use: bool = False) -> Predictor:
    """Build the predictor named by `checkpoint`: "commissioning", "tiny" (the shipped weights), or a checkpoint folder.

    `device`: a torch device such as "cpu" or "cuda:0", or "auto": the GPU if there is one. `accept_research_use`: the
    operator's consent to weights whose terms are research only; the shipped ones need none. Torch is imported only when
    weights are loaded.
    Raises `CheckpointError`, for one that was never trained, too, and, below it, `TermsNotAccepted`; `DeviceMissing`.
    """
    if checkpoint == "commissioning":
        return CommissioningPredictor()
    described = _usable(checkpoint, accept_research_use)
    from inference.medseg_r.checkpoint import load_described
    from inference.medseg_r.predictor import MedSegRPredictor

    device = torch_device(device)
    if device != "cpu":
        _compute_in_float32()
    return MedSegRPredictor(load_described(described, device=device), device)


def describe_predictor(checkpoint: str, accept_research_use: bool = False) -> PredictorDescription:
    """Return what `open_predictor` would answer with, read from the checkpoint's own description: no weights, no torch.

    The files may be replaced before they are loaded: the description of the open predictor is that of its weights.

    Raises `CheckpointError` and, below it, `TermsNotAccepted`.
    """
    if checkpoint == "commissioning":
        return CommissioningPredictor.description
    return _usable(checkpoint, accept_research_use).predictor


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


def _usable(checkpoint: str, accept_research_use: bool) -> CheckpointDescription:
    """Read the description of a checkpoint that was trained and whose terms are accepted; the only time it is read."""
    described = read_description(checkpoint_folder(checkpoint))
    described.check_trained()
    described.check_terms(accept_research_use=accept_research_use)
    return described


def _compute_in_float32() -> None:
    """Keep convolutions from TensorFloat-32, torch's default for them on a GPU: ten bits of a float32's 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
