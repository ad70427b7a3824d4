"""Put what the stages `grounding` and `language` learned together into a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import structlog
import torch
from tokenizers import Tokenizer
from torch import Tensor

from inference.errors import InferenceError
from inference.interface import PredictorDescription
from inference.medseg_r.checkpoint import save_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import DESCRIPTION_FILE, RESEARCH_ONLY, read_description
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.model import MedSegR
from inference.medseg_r.tiny import build_tokenizer
from inference.progress import Counter
from inference.training.object_score import fit_object_score, gather_evidence
from inference.training.packing import Pack, held_out
from inference.training.settings import TrainSettings
from inference.training.start import starting_point
from inference.training.thresholds import calibrated, choose_thresholds, cross_validated, judge
from inference.training.vision import label_prompts

__all__ = ["compose_stages"]

_log = structlog.get_logger()


def compose_stages(pack: Callable[[], Pack], config: MedSegRConfig, settings: TrainSettings) -> PredictorDescription:
    """Write `settings.out`/checkpoint from the states in `settings.out`, with object score, thresholds, calibration.

    What a stage has left no state of is taken from `settings.start`. `pack` gives the images, once all else is there.
    Raises `InferenceError` where a part is in neither, and rather than overwrite a checkpoint that was calibrated.
    """
    finished = settings.out / "checkpoint"
    if (finished / DESCRIPTION_FILE).is_file() and read_description(finished).calibrated:
        raise InferenceError(f"{finished} has been calibrated; move it away before another is composed there")
    states, prompts = settings.out, label_prompts(config.grounding.prompt_width)
    learned = {name: states / f"{name}.pt" for name in ("grounding", "language") if (states / f"{name}.pt").exists()}
    model = starting_point(settings, config)
    if settings.start_share and model is None:
        raise InferenceError("start_share takes a share of the start's weights; name a start")
    for name in ("grounding", "language"):
        if model is None and name not in learned:
            raise InferenceError(f"{states / name}.pt is missing; run the stage {name} first, or name a start")
        _log.info(f"{name} is that of", state=str(learned.get(name, settings.start)))
    if "language" in learned:
        spoken = MedSegR(config, build_tokenizer(Tokenizer.from_file(str(states / "tokenizer.json"))))
        state = torch.load(learned["language"], weights_only=True, map_location="cpu")["average"]
        _fill(spoken.language_model, state, "language_model.")
        _fill(spoken.prompt_projector, state, "prompt_projector.")
        if model is not None:
            spoken.grounding.load_state_dict(model.grounding.state_dict())
        model = spoken
    assert model is not None, "one of both parts is missing otherwise"
    packed = pack()
    if "grounding" in learned:
        state = torch.load(learned["grounding"], weights_only=True, map_location="cpu")["average"]
        model.grounding.load_state_dict(_between(state, model.grounding.state_dict(), settings.start_share))
        _learn_object_score(packed, model.grounding, prompts, settings)
    model.eval()
    judged = judge(packed, model.grounding, prompts)
    thresholds = choose_thresholds(judged)
    outcome = cross_validated(judged)
    _log.info("composed", **vars(thresholds), cross_validated=None if outcome is None else outcome._asdict())
    return save_checkpoint(
        finished,
        model,
        name=settings.name,
        version=settings.version,
        terms=RESEARCH_ONLY,
        thresholds=thresholds,
        calibration=calibrated(judged, thresholds),
    )


def _learn_object_score(pack: Pack, grounding: Grounding, prompts: Tensor, settings: TrainSettings) -> None:
    count = settings.object_score_images
    share, contrast = _grounding_run(settings.out)
    among = held_out(pack, share) if share else None
    with Counter("what the object score learns from") as progress:
        evidence = gather_evidence(
            pack,
            grounding,
            prompts,
            images=count,
            seed=settings.seed,
            among=among,
            contrast=contrast,
            progress=progress,
        )
    loss = fit_object_score(evidence, grounding.object_score, seed=settings.seed)
    _log.info("object score learned", loss=round(loss, 4))


def _between(learned: dict[str, torch.Tensor], start: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Return learned weights moved by `share` towards the start's (Wortsman 2022); what was not learned is the start's.

    A training that goes on from a start forgets some of it; a mean of both keeps most of either.
    """
    return {
        name: torch.lerp(learned[name], value.to(learned[name].dtype), share)
        if name in learned and value.is_floating_point()
        else learned.get(name, value)
        for name, value in start.items()
    }


def _grounding_run(states: Path) -> tuple[float, float]:
    """Return what share of the patients the grounding never saw, and of the images in another contrast that it saw."""
    told = states / "grounding.settings.json"
    values = json.loads(told.read_text()) if told.is_file() else {}
    return float(values.get("held_out", 0.0)), float(values.get("contrast", 0.0))


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor], prefix: str) -> None:
    module.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
