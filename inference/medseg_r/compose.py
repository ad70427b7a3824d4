"""Compose a model from what others have published: a language model's folder, and a SAM or MedSAM `.pth`.

The result is a checkpoint like any other, but nothing has taught it to answer: the added tokens' embeddings and P_l are
new. It is where fine-tuning starts from, and `open_predictor` refuses it until then.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.errors import CheckpointError
from inference.interface import PredictorDescription
from inference.medseg_r.checkpoint import compose_model, load_language_model, save_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import UNTRAINED, Thresholds
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.tokenizer import ADDED_TOKENS, add_tokens

__all__ = ["compose", "load_sam"]

_SEED = 0


def compose(
    config: MedSegRConfig, language_model: Path, grounding: Path, out: Path, *, name: str, terms: str | None
) -> PredictorDescription:
    """Write a checkpoint to `out`; the same parts always give the same bytes.

    Raises `CheckpointError` where a part is missing, not readable, or of other sizes than `config` says.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        language, tokenizer, image_processor = load_language_model(
            language_model, getattr(torch, config.language_storage), extra_allowed=True
        )
        _give_added_tokens(language, tokenizer)
        model = compose_model(config, language, tokenizer, image_processor)
    load_sam(model.grounding, grounding)
    return save_checkpoint(out, model, name=name, version=UNTRAINED, terms=terms, thresholds=Thresholds())


def load_sam(grounding: Grounding, path: Path) -> None:
    """Fill a grounding without refinement from a state dict of segment_anything, SAM's or MedSAM's.

    Only tensors are read (`weights_only`). Raises `CheckpointError` naming what does not fit.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; download a SAM or MedSAM checkpoint (.pth)")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError) as error:
        # Not with torch's own message: it advises to load it without `weights_only`, which runs whatever code is in it.
        raise CheckpointError(
            f"{path} is truncated, no checkpoint of torch, or holds more than tensors; download SAM or MedSAM again"
        ) from error
    tensors = _tensors(loaded, path)
    expected = grounding.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(set(expected) & set(tensors))
        if tensors[key].shape != expected[key].shape
    ]
    if any(key.startswith("prompt_projector.") for key in tensors):
        raise CheckpointError(f"{path} is the grounding of a MedSeg-R checkpoint; give SAM's or MedSAM's own .pth")
    if missing or extra or shapes:
        raise CheckpointError(
            f"{path} is of another size than the preset's grounding: "
            f"missing {missing[:3]}, extra {extra[:3]}, of another shape {shapes[:3]}"
        )
    grounding.load_state_dict(tensors)


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file: bare, as SAM publishes it, or under "model", as MedSAM's training saves it."""
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


def _give_added_tokens(language: Any, tokenizer: Any) -> None:
    """Give the tokenizer `ADDED_TOKENS`, and them embeddings: the mean of all others with a little noise.

    Tables are only ever enlarged: many are longer than their tokenizer. Their rows beyond it are new as well.
    """
    before = len(tokenizer)
    add_tokens(tokenizer)
    if len(tokenizer) > language.get_input_embeddings().weight.shape[0]:
        language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = [number for number in tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS)) if number >= before]
    tables = [language.get_input_embeddings().weight]
    if language.get_output_embeddings().weight.data_ptr() != tables[0].data_ptr():
        tables.append(language.get_output_embeddings().weight)
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for table in tables:
            known = table[:before].float()
            noise = torch.randn(len(new), table.shape[1], generator=generator) * known.std() * 0.1
            table[new] = (known.mean(dim=0) + noise).to(table.dtype)
