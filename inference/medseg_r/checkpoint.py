"""A checkpoint folder: what it holds, under which terms, and whether it is whole.

model.safetensors   every tensor of `MedSegR`, fp16
tokenizer.json      the tokenizers library's own format
checkpoint.json     name, version, terms, sizes, thresholds, and the sha256 over the two files above
MODEL_CARD.md       for people
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from inference.errors import CheckpointError
from inference.interface import PredictorDescription
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.context import Words
from inference.medseg_r.description import DESCRIPTION_FILE, describe_checkpoint, read_description
from inference.medseg_r.model import MedSegR

__all__ = ["Checkpoint", "Thresholds", "load_checkpoint", "save_checkpoint"]

_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"
_TIED = "language_model.lm_head.weight"  # the token embeddings again: not saved, not expected


@dataclass(frozen=True)
class Thresholds:
    """When a mask counts. Set on the validation split."""

    mask_logit: float = 0.0  # a pixel is drawn above it
    quality: float = 0.0  # a slice's mask is dropped below this estimate of SAM's quality head
    fewest_pixels: int = 1  # of the model's own mask; a slice's mask is dropped below it


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with all that goes with it."""

    model: MedSegR
    description: PredictorDescription
    thresholds: Thresholds


def load_checkpoint(folder: Path, *, accept_research_use: bool = False, device: str = "cpu") -> Checkpoint:
    """Load a model from `folder` in float32 on `device`, ready to answer.

    Raises `CheckpointError` for a missing, truncated or altered file, or a tensor that is missing, extra or of another
    shape (named), and `TermsNotAccepted` as `describe_checkpoint` does.
    """
    description = describe_checkpoint(folder, accept_research_use=accept_research_use)
    stated = read_description(folder)
    tensors = _read_tensors(folder / _WEIGHTS)
    digest = _digest(folder)
    if digest != description.digest:
        raise CheckpointError(
            f"the files in {folder} have sha256 {digest[:12]}..., but checkpoint.json says "
            f"{description.digest[:12]}...: they were altered or copied in part; copy the folder again"
        )
    try:
        words = Words(Tokenizer.from_file(str(folder / _TOKENIZER)))
        thresholds = Thresholds(**stated["thresholds"])
        with torch.random.fork_rng(devices=[]):
            model = MedSegR(MedSegRConfig.from_json(stated["model"]), words)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / DESCRIPTION_FILE} does not describe a model: {error}") from error
    _fill(model, tensors, folder)
    model.eval().requires_grad_(False)
    return Checkpoint(model.to(device), description, thresholds)


def save_checkpoint(
    folder: Path, model: MedSegR, *, name: str, version: str, terms: str | None, thresholds: Thresholds
) -> PredictorDescription:
    """Write a model to `folder` in fp16 and return what it is now known as."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.detach().to(torch.float16).contiguous().clone()
        for key, value in model.state_dict().items()
        if key != _TIED
    }
    save_file(tensors, folder / _WEIGHTS)
    (folder / _WEIGHTS).chmod(0o644)
    model.words.tokenizer.backend_tokenizer.save(str(folder / _TOKENIZER))
    digest = _digest(folder)
    stated = {
        "name": name,
        "version": version,
        "digest": digest,
        "terms": terms,
        "thresholds": vars(thresholds),
        "model": model.config.to_json(),
    }
    (folder / DESCRIPTION_FILE).write_text(json.dumps(stated, indent=2) + "\n")
    return PredictorDescription(name, version, digest, terms)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"the weights are missing: {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or not safetensors ({error}); copy the folder again") from error


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (_TOKENIZER, _WEIGHTS):
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"the checkpoint lacks {path}")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _fill(model: MedSegR, tensors: dict[str, Tensor], folder: Path) -> None:
    expected = {key: value.shape for key, value in model.state_dict().items() if key != _TIED}
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise CheckpointError(f"{folder / _WEIGHTS} does not fit the model: missing {missing[:5]}, extra {extra[:5]}")
    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise CheckpointError(f"tensor {key} is {tuple(tensors[key].shape)}, the model's is {tuple(shape)}")
    model.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False)
