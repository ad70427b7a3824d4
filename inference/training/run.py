"""Run the stage that a settings file names, or go on with a run of the same settings."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from inference.errors import InferenceError
from inference.medseg_qa.splits import check_split
from inference.medseg_r.config import PRESETS
from inference.training.compose import compose_stages
from inference.training.joint import train_joint
from inference.training.language import train_language
from inference.training.packing import check_manifest, pack
from inference.training.settings import TrainSettings
from inference.training.vision import train_vision

__all__ = ["run_training"]

_MAY_CHANGE = frozenset(
    {"out", "threads", "steps", "save_every", "device", "accept_research_use"}
)  # when a run goes on


def run_training(settings: TrainSettings) -> Path:
    """Train, resuming what is found in `settings.out`, and return that folder or the finished checkpoint's.

    Raises `InferenceError` for settings that do not fit together, or not to the run that is found there.
    """
    _check(settings)
    if settings.stage != "compose":  # which begins anew each time
        _remember(settings)
    if settings.stage == "joint":
        return train_joint(settings)
    torch.set_num_threads(settings.threads)
    config = PRESETS[settings.preset]
    if settings.stage == "language":
        train_language(config, settings)
        return settings.out
    if settings.images is None:
        raise InferenceError(f"stage {settings.stage} needs images = FOLDER")
    packed = partial(pack, settings.images, settings.out / "pack")
    if settings.stage == "grounding":
        train_vision(packed(), config, settings)
        return settings.out
    compose_stages(packed, config, settings)
    return settings.out / "checkpoint"


def _check(settings: TrainSettings) -> None:
    """Find what is missing before anything is written; raises as `run_training` does."""
    if settings.stage != "joint" and (settings.preset not in PRESETS or not PRESETS[settings.preset].language_layers):
        raise InferenceError(
            f"the stage {settings.stage} trains tiny alone, not {settings.preset!r}: that is for the stage joint"
        )
    if settings.qa is not None:
        check_split(settings.qa, "train")
    if settings.images is not None:
        check_manifest(settings.images)


def _remember(settings: TrainSettings) -> None:
    """Keep what a run was told beside it: another time it would go on with old weights under new settings."""
    kept = settings.out / f"{settings.stage}.settings.json"
    told: dict[str, Any] = settings.model_dump(mode="json", exclude=set(_MAY_CHANGE))
    told |= {name: str(Path(told[name]).resolve()) for name in ("qa", "images") if told[name] is not None}
    told |= {name: str(Path(value).resolve()) for name, value in settings.checkpoints().items()}
    if kept.is_file():
        # a setting that came later had its default
        before = {name: field.default for name, field in TrainSettings.model_fields.items()}
        before |= json.loads(kept.read_text())
        changed = [f"{name} = {before.get(name)!r}" for name in told if before.get(name) != told[name]]
        if changed:
            raise InferenceError(
                f"{settings.out} holds a run of stage {settings.stage} with {', '.join(changed)}; "
                "set it so again to go on with it, or name another out"
            )
    part = kept.with_suffix(f".{os.getpid()}.part")  # of several processes, each writes the same
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(told, indent=2) + "\n")
        part.replace(kept)
    except OSError as error:
        raise InferenceError(f"{settings.out} cannot be written to ({error.strerror}); name another out") from error
