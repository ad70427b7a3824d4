"""Put what the stages `grounding` and `language` learned together into a checkpoint."""

from __future__ import annotations

import structlog
import torch
from tokenizers import Tokenizer

from inference.errors import InferenceError
from inference.interface import PredictorDescription
from inference.medseg_r.checkpoint import save_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import RESEARCH_ONLY
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.model import MedSegR
from inference.medseg_r.words import Words
from inference.progress import Counter
from inference.training.object_score import fit_object_score, gather_evidence
from inference.training.packing import Pack
from inference.training.settings import TrainSettings
from inference.training.thresholds import calibrated, choose_thresholds, cross_validated, judge
from inference.training.vision import label_prompts

__all__ = ["compose_stages"]

_log = structlog.get_logger()


def compose_stages(
    pack: Pack, config: MedSegRConfig, settings: TrainSettings, *, version: str = "0.5"
) -> PredictorDescription:
    """Write `settings.out`/checkpoint from the states in `settings.out`, with object score, thresholds, calibration.

    Raises `InferenceError` where a stage has left nothing.
    """
    states = settings.out
    for name, stage in (("grounding.pt", "grounding"), ("language.pt", "language"), ("tokenizer.json", "language")):
        if not (states / name).exists():
            raise InferenceError(f"{states / name} is missing; run the stage {stage} first")
    model = MedSegR(config, Words(Tokenizer.from_file(str(states / "tokenizer.json"))))
    _fill_grounding(model.grounding, torch.load(states / "grounding.pt", weights_only=True)["average"])
    language = torch.load(states / "language.pt", weights_only=True)["average"]
    _fill(model.language_model, language, "language_model.")
    _fill(model.prompt_projector, language, "prompt_projector.")
    prompts = label_prompts(config.grounding.prompt_width)
    images = settings.object_score_images
    with Counter("what the object score learns from") as progress:
        evidence = gather_evidence(pack, model.grounding, prompts, images=images, seed=settings.seed, progress=progress)
    loss = fit_object_score(evidence, model.grounding.object_score, seed=settings.seed)
    model.eval()
    judged = judge(pack, model.grounding, prompts)
    thresholds = choose_thresholds(judged)
    outcome = cross_validated(judged)
    _log.info(
        "composed",
        object_score_loss=round(loss, 4),
        **vars(thresholds),
        cross_validated=None if outcome is None else outcome._asdict(),
    )
    return save_checkpoint(
        states / "checkpoint",
        model,
        name="medseg-r tiny",
        version=version,
        terms=RESEARCH_ONLY,
        thresholds=thresholds,
        calibration=calibrated(judged, thresholds),
    )


def _fill_grounding(grounding: Grounding, state: dict[str, torch.Tensor]) -> None:
    """Load what the stage `grounding` learned; its state has no object score yet."""
    own = grounding.state_dict()
    grounding.load_state_dict({name: state.get(name, value) for name, value in own.items()})


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor], prefix: str) -> None:
    module.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
