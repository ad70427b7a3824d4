"""Open a predictor by the name a configuration gives it."""

from __future__ import annotations

from typing import cast

import structlog

from inference import plugin
from inference.checked import CheckedModel, CheckedPredictor
from inference.commissioning import CommissioningPredictor
from inference.errors import DeviceMissing, TermsNotAccepted
from inference.interface import Model, Predictor, PredictorDescription
from inference.medseg_r.description import SHIPPED, CheckpointDescription, checkpoint_folder, read_description
from inference.notices import UNCALIBRATED, WITHOUT_CARD, with_notices
from inference.remote import RemoteAccess, is_address, open_remote

__all__ = ["describe_predictor", "open_model", "open_predictor", "torch_device"]

_log = structlog.get_logger()


def open_predictor(
    checkpoint: str,
    device: str = "cpu",
    accept_research_use: bool = False,
    accept_uncalibrated: bool = False,
    *,
    access: RemoteAccess | None = None,
) -> Predictor:
    """Build the predictor named by `checkpoint`: "commissioning", "tiny" (the shipped weights), a checkpoint folder,
    `module:Class` of an installed package, or the `http(s)://` address of a remote one.

    `device`: a torch device such as "cpu" or "cuda:0", or "auto": the GPU if there is one. `accept_research_use`: the
    operator's consent to weights whose terms are research only; the shipped ones need none. `accept_uncalibrated`: to
    weights whose confidence was never set against the truth; every answer then says so. `access`: how a remote one is
    reached. Torch is imported only when weights are loaded.
    Raises `CheckpointError`, for one that was never trained, too, and, below it, `TermsNotAccepted` and
    `NotCalibrated`; `DeviceMissing`; `OutOfMemory` for weights that would not fit; `RemoteFailed` and `RemoteRefused`.
    """
    if checkpoint == "commissioning":
        return CommissioningPredictor()
    model, notices = _opened(checkpoint, device, accept_research_use, accept_uncalibrated, access)
    if not hasattr(model, "locate"):
        return CheckedPredictor(model)
    from inference.answering import AnsweringPredictor  # serving a model in an environment of its own needs less

    if _is_elsewhere(checkpoint):
        return AnsweringPredictor(CheckedModel(cast(Model, model)))
    return AnsweringPredictor(cast(Model, model), notices=notices)


def open_model(
    checkpoint: str,
    device: str = "cpu",
    accept_research_use: bool = False,
    accept_uncalibrated: bool = False,
    *,
    access: RemoteAccess | None = None,
) -> Model | Predictor:
    """Build what stands behind `open_predictor`: a model without our gate, or a predictor with limits of its own."""
    model, _ = _opened(checkpoint, device, accept_research_use, accept_uncalibrated, access)
    return model


def _opened(
    checkpoint: str, device: str, accept_research_use: bool, accept_uncalibrated: bool, access: RemoteAccess | None
) -> tuple[Model | Predictor, tuple[str, ...]]:
    """Build a model, and say what every answer of it must say."""
    if checkpoint == "commissioning":
        return CommissioningPredictor(), ()
    if _is_elsewhere(checkpoint):
        there = open_remote(checkpoint, access) if is_address(checkpoint) else plugin.build(checkpoint, device)
        _check_terms(checkpoint, there.description, accept_research_use)
        return there, ()
    described = _usable(checkpoint, accept_research_use, accept_uncalibrated)
    if described.card is None:
        _log.warning(
            "the checkpoint has no card, so nothing tells what it has learned: make one with medseg-r card",
            checkpoint=described.name,
        )
    from inference.medseg_r.checkpoint import load_described
    from inference.medseg_r.predictor import MedSegRPredictor

    device = torch_device(device)
    if device != "cpu":
        _compute_in_float32()
    return MedSegRPredictor(load_described(described, device=device), device), _notices(described)


def describe_predictor(
    checkpoint: str,
    accept_research_use: bool = False,
    accept_uncalibrated: bool = False,
    *,
    access: RemoteAccess | None = None,
) -> PredictorDescription:
    """Return what `open_predictor` would answer with, read from the checkpoint's own description: no weights, no torch.

    A remote one is asked; a class is built once where it says who it is only then. The files may be replaced before
    they are loaded: the description of the open predictor is that of its weights.

    Raises `CheckpointError` and, below it, `TermsNotAccepted` and `NotCalibrated`; `RemoteFailed` and `RemoteRefused`.
    """
    if checkpoint == "commissioning":
        return CommissioningPredictor.description
    if _is_elsewhere(checkpoint):
        remote = is_address(checkpoint)
        there = open_remote(checkpoint, access).description if remote else plugin.describe(checkpoint)
        _check_terms(checkpoint, there, accept_research_use)
        return there
    described = _usable(checkpoint, accept_research_use, accept_uncalibrated)
    return with_notices(described.predictor, _notices(described))


def _is_elsewhere(checkpoint: str) -> bool:
    """Whether the weights are no checkpoint of ours: of an installed package, or behind an address."""
    return is_address(checkpoint) or plugin.is_class_name(checkpoint)


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


def _usable(checkpoint: str, accept_research_use: bool, accept_uncalibrated: bool) -> CheckpointDescription:
    """Read the description of a checkpoint that was trained and whose terms are accepted; the only time it is read."""
    described = read_description(checkpoint_folder(checkpoint))
    described.check_trained()
    described.check_terms(accept_research_use=accept_research_use)
    described.check_calibrated(accept_uncalibrated=accept_uncalibrated)
    return described


def _notices(described: CheckpointDescription) -> tuple[str, ...]:
    """Return what every answer of a checkpoint must say."""
    lacking = ((not described.calibration, UNCALIBRATED), (described.card is None, WITHOUT_CARD))
    return tuple(notice for lacks, notice in lacking if lacks)


def _check_terms(checkpoint: str, described: PredictorDescription, accept_research_use: bool) -> None:
    """Raise `TermsNotAccepted` for terms that speak of research, unless accepted or the shipped weights served."""
    restricted = described.terms is not None and "research" in described.terms.casefold()
    if restricted and not accept_research_use and described.digest != read_description(SHIPPED).digest:
        raise TermsNotAccepted(
            f"the weights behind {checkpoint} are for {described.terms}; "
            "set accept_research_use = true under [model] if you may use them so"
        )


def _compute_in_float32() -> None:
    """Keep convolutions from TensorFloat-32, torch's default for them on a GPU: ten bits of a float32's 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
