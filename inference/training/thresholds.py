"""Choose on the validation split when a drawn mask counts as seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from inference.evaluation.scores import dice
from inference.medseg_r.checkpoint import Thresholds
from inference.medseg_r.config import MedSegRConfig
from inference.training.augment import standardise
from inference.training.labels import DATASETS, LABELS
from inference.training.packing import Pack
from inference.training.vision import VisionStage

__all__ = ["choose_thresholds"]

_MOST_PER_SET = 20
_LOGITS = (-2.0, -1.5, -1.0, -0.5, 0.0)
_DICE_GIVEN_UP = 0.01  # what specificity may cost

_log = structlog.get_logger()


def choose_thresholds(pack: Pack, config: MedSegRConfig, states: Path) -> Thresholds:
    """Return the quality and size thresholds that refuse most absent targets for at most 0.01 of mean Dice.

    Prompted by the label embeddings, so that only the grounding is judged; each label of an image's set is asked.
    """
    stage = VisionStage(config)
    stage.load_state_dict(torch.load(states / "vision.pt", weights_only=True)["average"])
    stage.train(mode=False)
    rows: list[tuple[float, ...]] = []  # logit, label, Dice or -1 where absent, quality, pixels
    for name, own in DATASETS.items():
        records = np.flatnonzero((pack.splits == "val") & (pack.datasets == name))
        records = records[np.linspace(0, len(records) - 1, min(len(records), _MOST_PER_SET)).round().astype(int)]
        prompts = stage.label_embeddings.weight[[LABELS.index(label) for label in own]].detach()
        for record in records.tolist():
            square = torch.from_numpy(standardise(np.asarray(pack.images[record]))).permute(2, 0, 1)[None]
            with torch.inference_mode():
                logits, quality = stage.grounding.decode(stage.grounding.encode(square), prompts)
            present = pack.present(record)
            for i, label in enumerate(own):
                true = pack.mask(record, label)[::2, ::2]  # at the logits' size: near enough to compare thresholds
                for least in _LOGITS:
                    drawn = (logits[i] > least).numpy()
                    score = dice(drawn, true) if label in present else -1.0
                    rows.append((least, LABELS.index(label), score, float(quality[i]), int(drawn.sum())))
    table = np.array(rows)
    candidates = {
        (logit, least, fewest): _outcome(table[table[:, 0] == logit], least, fewest)
        for logit in _LOGITS
        for least in (-9.0, *np.arange(0.05, 0.65, 0.05).round(2).tolist())
        for fewest in (1, 8, 16, 32)
    }
    best_dice = max(result[0] for result in candidates.values())
    (logit, least, fewest), chosen = max(
        ((key, result) for key, result in candidates.items() if result[0] >= best_dice - _DICE_GIVEN_UP),
        key=lambda item: item[1][1],
    )
    _log.info(
        "thresholds", logit=logit, quality=least, pixels=fewest, dice=chosen[0], specificity=chosen[1], recall=chosen[2]
    )
    return Thresholds(logit, least, fewest)


def _outcome(table: NDArray[np.float64], least_quality: float, fewest: int) -> tuple[float, float, float]:
    """Return the mean Dice over labels, the specificity of absent and the recall of present targets."""
    _, label, score, quality, pixels = table.T
    present = score >= 0
    kept = (quality >= least_quality) & (pixels >= fewest)
    gained = [np.where(kept, score, 0)[present & (label == one)].mean() for one in np.unique(label[present])]
    return float(np.mean(gained)), float((~kept[~present]).mean()), float(kept[present].mean())
