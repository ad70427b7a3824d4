"""Stage 1: pixel-level grounding learns to see, prompted by one learned embedding per label instead of by words."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.model import mask_loss, quality_loss
from inference.training.augment import augment, standardise
from inference.training.labels import DATASETS, LABELS
from inference.training.packing import Pack

__all__ = ["VisionStage", "sample_batch", "train_vision"]

_log = structlog.get_logger()

_SHARES = {"acdc": 0.18, "btcv": 0.2, "busi": 0.18, "chasedb1": 0.03, "cxr_covid": 0.1, "hippocampus": 0.08}
_SHARES["kvasir_seg"] = 1 - sum(_SHARES.values())
_PROMPTS_PER_IMAGE = 5
_EMA = 0.998


class VisionStage(nn.Module):
    """Grounding and the label embeddings that stand in for [SEG] states."""

    def __init__(self, config: MedSegRConfig) -> None:
        super().__init__()
        self.grounding = Grounding(config)
        self.label_embeddings = nn.Embedding(len(LABELS), config.prompt_width)
        nn.init.normal_(self.label_embeddings.weight, std=1.0)


@dataclass(frozen=True)
class Batch:
    """`images`: float32 `n 3 256 256`. Per image: `labels`, k indices into LABELS; `masks`, `k 128 128` in 0 to 1."""

    images: Tensor
    labels: list[Tensor]
    masks: list[Tensor]


def sample_batch(pack: Pack, random: np.random.Generator, size: int) -> Batch:
    """Draw a balanced, augmented training batch: a data set by its share, then a record, then some of its labels."""
    names = list(_SHARES)
    by_set = _records_by_set(pack)
    images, labels, masks = [], [], []
    for name in random.choice(names, size=size, p=[_SHARES[n] for n in names]):
        record = int(random.choice(by_set[name]))
        image, bits = augment(np.asarray(pack.images[record]), np.asarray(pack.masks[record]), str(name), random)
        own = DATASETS[str(name)]
        found = [i for i in range(len(own)) if (bits >> np.uint16(i) & np.uint16(1)).any()]
        absent = [i for i in range(len(own)) if i not in found]
        chosen = list(random.permutation(found)[:_PROMPTS_PER_IMAGE])
        chosen += list(random.permutation(absent)[: max(1, _PROMPTS_PER_IMAGE - len(chosen))])[:2]
        planes = np.stack([(bits >> np.uint16(i) & np.uint16(1)).astype(np.float32) for i in chosen])
        images.append(torch.from_numpy(standardise(image)))
        labels.append(torch.tensor([LABELS.index(own[i]) for i in chosen]))
        masks.append(F.avg_pool2d(torch.from_numpy(planes)[None], 2)[0])
    return Batch(torch.stack(images).permute(0, 3, 1, 2), labels, masks)


_cache: dict[int, dict[str, np.ndarray]] = {}


def _records_by_set(pack: Pack) -> dict[str, np.ndarray]:
    if id(pack) not in _cache:
        train = pack.splits == "train"
        _cache[id(pack)] = {name: np.flatnonzero(train & (pack.datasets == name)) for name in DATASETS}
    return _cache[id(pack)]


def train_vision(
    pack: Pack, config: MedSegRConfig, out: Path, *, minutes: float, batch_size: int = 8, decoder_from: float = 0.5
) -> None:
    """Train for `minutes` of wall time in all, resuming from `out`/vision.pt; a cosine over that time sets the rate.

    The mask decoder joins after the share `decoder_from` of the time: until then the label embedding reads the
    high-resolution features alone, at about half the cost of a step.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    stage = VisionStage(config)
    average = VisionStage(config)
    average.load_state_dict(stage.state_dict())
    optimiser = torch.optim.AdamW(stage.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.02)
    spent, step = 0.0, 0
    path = out / "vision.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        stage.load_state_dict(state["stage"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    random = np.random.default_rng(step)
    started, saved = time.monotonic() - spent, time.monotonic()
    sums: dict[str, list[float]] = {"mask": [], "quality": []}
    while (spent := time.monotonic() - started) < minutes * 60:
        progress = spent / (minutes * 60)
        rate = 2e-3 * min(1.0, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = float(rate)
        losses = _step(stage, sample_batch(pack, random, batch_size), decoder=progress >= decoder_from)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["mask"] + losses["quality"])
        nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(_EMA, (1 + step) / (10 + step))
            for mean, value in zip(average.state_dict().values(), stage.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)
        for name, values in sums.items():
            values.append(float(losses[name].detach()))
        if step % 25 == 0:
            line = {"step": step, "minutes": round(spent / 60, 2), "rate": float(rate)}
            line |= {name: round(float(np.mean(values[-25:])), 4) for name, values in sums.items()}
            _log.info("vision", **line)
            with (out / "vision.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > 120:
            _save(path, stage, average, optimiser, spent, step)
            saved = time.monotonic()
    _save(path, stage, average, optimiser, spent, step)


def _step(stage: VisionStage, batch: Batch, *, decoder: bool) -> dict[str, Tensor]:
    features = stage.grounding.encode(batch.images)
    masks, qualities = [], []
    for image, (labels, target) in enumerate(zip(batch.labels, batch.masks, strict=True)):
        prompts = stage.label_embeddings(labels)  # k prompt_width
        if decoder:
            logits, quality = stage.grounding.decode(features[image], prompts)
            qualities.append(quality_loss(quality, logits, target))
        else:
            logits = stage.grounding.refine(features[image], None, prompts)
        masks.append(mask_loss(logits, target))
    zero = torch.zeros(())
    return {"mask": torch.stack(masks).mean(), "quality": torch.stack(qualities).mean() if qualities else zero}


def _save(
    path: Path, stage: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, spent: float, step: int
) -> None:
    state = {"stage": stage.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"spent": spent, "step": step}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
