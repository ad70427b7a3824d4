"""What a training run is told, in one TOML file; every mistake in it is reported at once."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.errors import InferenceError
from inference.medseg_r.description import SHIPPED_NAME
from inference.suggestions import similar_name

__all__ = ["STAGES", "WARMUP", "LoraSettings", "TrainSettings", "read_settings", "settings_template"]

_Stage = Literal["grounding", "language", "compose", "joint"]
STAGES: tuple[str, ...] = get_args(_Stage)

_PEAKS = {"grounding": 1.2e-3, "language": 1.5e-3, "joint": 3e-4}
_PLACES = ("checkpoint", "start")  # settings that name a checkpoint
WARMUP = 150  # steps in which the rate of grounding and language rises


class LoraSettings(BaseModel):
    """LoRA beside the language model's projections; LISA's and GLaMM's sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    projections: tuple[str, ...] = ("q_proj", "v_proj")
    merge: bool = Field(False, description="add it to the finished checkpoint's weights instead of keeping it apart")


class TrainSettings(BaseModel):
    """One stage of training. `grounding` and `language` build a small model from nothing; `joint` goes on from one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: _Stage
    out: Path = Field(description="folder of states, logs and curves; a run found there is resumed")
    images: Path | None = Field(None, description="grounding, compose: folder with manifest.jsonl")
    qa: Path | None = Field(None, description="language, joint: a MedSeg-QA set")
    device: str = Field("auto", description="grounding, language: cpu, cuda or auto; auto is the GPU if there is one")
    preset: str = Field("tiny", description="grounding, language, compose: the sizes of the model")
    threads: int = Field(1, ge=1, description="CPU threads")
    steps: int = Field(1000, ge=1, description="optimiser steps in all; the learning rate follows a cosine over them")
    save_every: int = Field(100, ge=1, description="steps between states that a run resumes from")
    seed: int = Field(0, ge=0, description="the same seed draws the same batches")
    averaged_steps: int = Field(
        500, ge=1, description="steps that the running mean of the weights, which is what is kept, reaches back"
    )
    learning_rate: float = Field(
        0.0,
        ge=0,
        description=f"its peak, grounding's and language's after {WARMUP} steps; "
        f"0: the stage's own ({', '.join(f'{k} {v}' for k, v in _PEAKS.items())})",
    )
    start: str = Field(
        "",
        description="grounding, language, compose: a checkpoint to go on from, a folder or tiny; empty: nothing",
    )
    held_out: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="grounding: share of the patients of each large set that it never sees; compose learns the object "
        "score from them",
    )
    contrast: float = Field(
        0.0, ge=0, le=1, description="grounding: share of the grey images that are shown in a random contrast"
    )
    limits: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="language: share of the turns about what was never learned, all but one thing, or nothing at all",
    )
    object_score_images: int = Field(
        3000, ge=1, description="compose: augmented images that a newly trained grounding's object score learns from"
    )
    start_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="compose: share of the start's weights in a newly trained grounding, a mean of both",
    )
    name: str = Field(
        "own model", min_length=1, description="compose: what the checkpoint calls itself in every result"
    )
    version: str = Field("1", min_length=1, description="compose: and its version")

    checkpoint: str = Field(SHIPPED_NAME, description="joint: where to start, a folder or tiny")
    accept_research_use: bool = Field(False, description="start from weights that are for research only")
    batch_size: int = Field(8, ge=1, description="images or conversations a step; joint: a device, before accumulation")
    accumulation: int = Field(1, ge=1, description="joint: batches per optimiser step")
    warmup_steps: int = Field(50, ge=0, description="joint: optimiser steps until that peak")
    weight_decay: float = Field(0.0, ge=0, description="joint: of AdamW")
    text_weight: float = Field(1.0, ge=0, description="joint: of the loss on what is said")
    bce_weight: float = Field(2.0, ge=0, description="joint: of masks' cross-entropy; 2 and 0.5 as LISA and GLaMM")
    dice_weight: float = Field(0.5, ge=0, description="joint: of masks' Dice loss")
    quality_weight: float = Field(1.0, ge=0, description="joint: of the estimate of each mask's IoU")
    trained: tuple[str, ...] = Field(
        ("lora_", "lm_head", "embed_tokens", "mask_decoder", "prompt_projector"),
        description="joint: parameters whose name holds one of these are trained; ['*'] for all",
    )
    lora: LoraSettings | None = None
    precision: Literal["no", "bf16"] = Field("no", description="joint: mixed precision of accelerate")

    @property
    def peak_rate(self) -> float:
        """The learning rate at its peak."""
        return self.learning_rate or _PEAKS[self.stage]

    def checkpoints(self) -> dict[str, str]:
        """Return the settings that name a checkpoint's folder, by setting."""
        named = {name: str(getattr(self, name)) for name in _PLACES}
        return {name: value for name, value in named.items() if value not in ("", SHIPPED_NAME)}


_ALL = frozenset({"stage", "out", "threads", "accept_research_use"})
_SMALL = _ALL | {"preset", "steps", "save_every", "seed", "batch_size", "learning_rate", "averaged_steps", "start"}
_READ = {
    "grounding": _SMALL | {"images", "device", "held_out", "contrast"},
    "language": _SMALL | {"qa", "device", "limits"},
    "compose": _ALL | {"preset", "images", "seed", "object_score_images", "start", "start_share", "name", "version"},
    "joint": frozenset(TrainSettings.model_fields)
    - {"images", "preset", "object_score_images", "averaged_steps", "start", "name", "version"}
    - {"device", "held_out", "contrast", "limits", "start_share"},
}
"""What each stage reads; anything else in its file would have no effect, and is refused."""

_OF_STAGES = re.compile(f"^(?:(?:{'|'.join(STAGES)})(?:, )?)+: ")  # which ones read a setting, in its description

_NEEDED = {"grounding": ("images",), "language": ("qa",), "compose": ("images",), "joint": ("qa",)}


def settings_template(stage: str) -> str:
    """Return a TOML file for one of STAGES: what it needs, and behind # what it may say, with the defaults."""
    lines = [f'stage = "{stage}"']
    for name, field in TrainSettings.model_fields.items():
        if name not in _READ[stage] - {"stage", "lora"}:
            continue
        needed = field.is_required() or name in _NEEDED[stage]
        line = f'{name} = "FOLDER"' if needed else f"# {name} = {json.dumps(field.default)}"
        about = _OF_STAGES.sub("", field.description or "")
        lines.append(f"{line}  # {about}" if about else line)
    if "lora" in _READ[stage]:
        lines += ["", "# [lora]  # train this instead of the language model's own projections"]
        for name, field in LoraSettings.model_fields.items():
            line = f"# {name} = {json.dumps(field.default)}"
            lines.append(f"{line}  # {field.description}" if field.description else line)
    return "\n".join(lines) + "\n"


def _mistake(name: str, kind: str, message: str, value: object) -> str:
    if name == "stage" and kind == "literal_error":
        similar = similar_name(str(value), STAGES)
        meant = f"did you mean {similar}? " if similar else ""
        return f"stage: there is no stage {value!r}; {meant}known: {', '.join(STAGES)}"
    if kind != "extra_forbidden":
        return f"{name}: {message}"
    known = list((LoraSettings if name.startswith("lora.") else TrainSettings).model_fields)
    similar = similar_name(name.removeprefix("lora."), known)
    return f"{name}: there is no such setting; " + (
        f"did you mean {similar}?" if similar else f"known: {', '.join(known)}"
    )


def read_settings(path: Path) -> TrainSettings:
    """Read a run's settings; relative paths are relative to the file.

    Raises `InferenceError` with every mistake of the file.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InferenceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InferenceError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InferenceError(f"{path} is not TOML: {error}") from error
    try:
        settings = TrainSettings.model_validate(values)
    except ValidationError as error:
        mistakes = "; ".join(
            _mistake(".".join(map(str, one["loc"])), one["type"], one["msg"], one["input"]) for one in error.errors()
        )
        raise InferenceError(f"{path}: {mistakes}") from error
    unread = sorted(settings.model_fields_set - _READ[settings.stage])
    if unread:
        raise InferenceError(f"{path}: stage {settings.stage} does not read {', '.join(unread)}; remove that")
    lacking = [name for name in _NEEDED[settings.stage] if getattr(settings, name) is None]
    if lacking:
        raise InferenceError(f"{path}: stage {settings.stage} needs {', '.join(lacking)}")
    places: dict[str, object] = {name: path.parent / value for name, value in settings if isinstance(value, Path)}
    places |= {name: str(path.parent / value) for name, value in settings.checkpoints().items()}
    return settings.model_copy(update=places)
