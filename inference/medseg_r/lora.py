"""LoRA on the language model by peft: put in place, saved apart or merged, and read back.

The adapter's folder is peft's own format. peft is only imported where there is an adapter: a node that answers with a
merged checkpoint does without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.errors import CheckpointError

__all__ = ["add_lora", "base_state", "has_lora", "load_lora", "merge_lora", "save_lora"]

_NAME = "default"
_PREFIX = "base_model.model."  # peft's, before every name in an adapter file
_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def add_lora(
    language_model: Any,
    *,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.05,
    projections: Sequence[str] = ("q_proj", "v_proj"),
) -> None:
    """Put untrained LoRA beside the named projections of the text side, in place; all other weights are frozen.

    The defaults are LISA's and GLaMM's. The vision tower has projections of the same names and stays as it is.
    Raises `CheckpointError` where the text side has none of them.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=rf".*language_model\..*\.({'|'.join(projections)})",
    )
    try:
        peft.inject_adapter_in_model(config, language_model, adapter_name=_NAME)
    except ValueError as error:
        linear = (name.split(".") for name, part in language_model.named_modules() if isinstance(part, torch.nn.Linear))
        known = sorted({path[-1] for path in linear if "language_model" in path})
        raise CheckpointError(
            f"the language model has no projections {', '.join(projections)} for LoRA; it has {', '.join(known)}"
        ) from error
    language_model.peft_config = {_NAME: config}


def has_lora(language_model: Any) -> bool:
    """Tell whether LoRA stands beside the weights."""
    return _NAME in (getattr(language_model, "peft_config", None) or {})


def base_state(language_model: Any, *, merged: bool) -> dict[str, Tensor]:
    """Return the weights under their names without LoRA, with what LoRA adds to them where `merged`.

    Tied weights stay one tensor. The model is left as it is.
    """
    state: dict[str, Tensor] = {}
    for name, value in language_model.state_dict().items():
        if ".lora_" not in name:
            state[name.replace(".base_layer.", ".")] = value
    if merged:
        for name, module in _layers(language_model):
            weight = state[f"{name}.weight"]
            added = module.get_delta_weight(_NAME)
            state[f"{name}.weight"] = (weight.float() + added.float()).to(weight.dtype)
    return state


def merge_lora(language_model: Any) -> None:
    """Add LoRA to the weights it stands beside and remove it, in place."""
    for name, module in list(_layers(language_model)):
        module.merge(adapter_names=[_NAME])
        parent, _, attribute = name.rpartition(".")
        setattr(language_model.get_submodule(parent), attribute, module.get_base_layer())
    if has_lora(language_model):
        del language_model.peft_config


def save_lora(language_model: Any, folder: Path) -> None:
    """Write LoRA alone to `folder`, as peft does."""
    folder.mkdir(parents=True, exist_ok=True)
    language_model.peft_config[_NAME].save_pretrained(folder)
    state = _peft().get_peft_model_state_dict(language_model, adapter_name=_NAME)
    save_file({_PREFIX + name: value.contiguous() for name, value in state.items()}, folder / _WEIGHTS)


def load_lora(language_model: Any, folder: Path) -> None:
    """Read what `save_lora`, or peft itself, wrote into a model without LoRA.

    Raises `CheckpointError`, naming the file, for an adapter that is not readable, no LoRA, or does not fit.
    """
    peft = _peft()
    settings, weights = folder / _SETTINGS, folder / _WEIGHTS
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{settings} is missing or describes no adapter of peft: {error}") from error
    if not isinstance(config, peft.LoraConfig):
        raise CheckpointError(f"{settings} describes no LoRA but {config.peft_type}; only LoRA is read")
    try:
        state = load_file(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{weights} is missing or not readable: {error}") from error
    config.inference_mode = False
    try:
        peft.inject_adapter_in_model(config, language_model, adapter_name=_NAME)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{settings} does not fit the language model: {error}") from error
    language_model.peft_config = {_NAME: config}
    fitting = peft.get_peft_model_state_dict(language_model, adapter_name=_NAME)
    expected = {_PREFIX + name: tuple(value.shape) for name, value in fitting.items()}
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in sorted(expected.items())
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{weights} does not fit the language model: "
            f"missing {missing[:5]}, extra {extra[:5]}, of another shape {shapes[:5]}"
        )
    with torch.no_grad():
        peft.set_peft_model_state_dict(
            language_model, {name.removeprefix(_PREFIX): value for name, value in state.items()}, adapter_name=_NAME
        )


def _layers(language_model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in language_model.named_modules() if hasattr(module, "get_delta_weight")]


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise CheckpointError(
            "this checkpoint keeps its LoRA apart, which needs peft: install medseg-node[train], or merge it"
        ) from error
    return peft
