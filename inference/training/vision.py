"""Stage 1: pixel-level grounding learns every label of an image at once, prompted by a fixed vector per label.

The vectors stand in for the [SEG] states of a language model that is not trained yet. They are drawn once from a seed
and never change, so that the language side can learn to give them at the same time; noise on them teaches the grounding
to take what comes near. A prompt is for a label that is there, one that is not, or one of another kind of image.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.evaluation.scores import dice
from inference.medseg_r.config import GroundingConfig
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.model import mask_loss, quality_loss
from inference.training.augment import augment
from inference.training.labels import DATASETS, LABELS
from inference.training.packing import Pack
from inference.training.pretrained import load_pretrained_stem
from inference.transform import standardise

__all__ = ["Batch", "label_prompts", "sample_batch", "train_vision"]

_log = structlog.get_logger()

_SHARES = {
    "acdc": 0.13,
    "btcv": 0.32,
    "busi": 0.11,
    "chasedb1": 0.06,
    "cxr_covid": 0.22,
    "hippocampus": 0.06,
    "kvasir_seg": 0.10,
}
"""Of the images in training: a set with many labels gets more, since the score is a mean over labels."""

_PRESENT_PROMPTS = 4
_ABSENT_PROMPTS = 2  # of the same set
_FOREIGN = 0.5  # chance of one more, of another kind of image
_NOISE = 0.15  # deviation of what is added to a prompt, whose own is 1
_RATE = 1.2e-3
_STEM_RATE = 3e-4  # of what was pretrained
_DECODER_FROM = 0.4  # of the time: before that the mask decoder is left out, for a third less time a step
_EMA = 0.998
_VALIDATED = 8  # images of each set


def label_prompts(width: int) -> Tensor:
    """Return the fixed prompt of each of `LABELS`: float32 `labels width`, standard normal, the same at every call."""
    return torch.randn(len(LABELS), width, generator=torch.Generator().manual_seed(20250610))


@dataclass(frozen=True)
class Batch:
    """`images`: float32 `n 3 256 256`. Per image: `labels`, k indices into LABELS; `masks`, `k 256 256` of 0 and 1."""

    images: Tensor
    labels: list[Tensor]
    masks: list[Tensor]


def sample_batch(pack: Pack, random: np.random.Generator, size: int) -> Batch:
    """Draw an augmented training batch: a data set by its share, then a record, then some labels, there or not."""
    images, labels, masks = [], [], []
    for name in random.choice(list(_SHARES), size=size, p=list(_SHARES.values())):
        records = np.flatnonzero((pack.splits == "train") & (pack.datasets == name))
        record = int(random.choice(records))
        image, bits = augment(np.asarray(pack.images[record]), np.asarray(pack.masks[record]), str(name), random)
        own = DATASETS[str(name)]
        union = int(np.bitwise_or.reduce(bits, axis=None))
        found = [i for i in range(len(own)) if union >> i & 1]
        chosen = random.permutation(found)[:_PRESENT_PROMPTS].astype(int).tolist()
        absent = [i for i in range(len(own)) if i not in found]
        chosen += random.permutation(absent)[:_ABSENT_PROMPTS].astype(int).tolist()
        planes = [(bits >> np.uint16(i) & np.uint16(1)).astype(np.float32) for i in chosen]
        names = [own[i] for i in chosen]
        if not planes or random.random() < _FOREIGN:  # a label of another kind of image
            names.append(str(random.choice([label for label in LABELS if label not in own])))
            planes.append(np.zeros(bits.shape, np.float32))
        images.append(torch.from_numpy(standardise(image)))
        labels.append(torch.tensor([LABELS.index(one) for one in names]))
        masks.append(torch.from_numpy(np.stack(planes)))
    return Batch(torch.stack(images).permute(0, 3, 1, 2), labels, masks)


def train_vision(pack: Pack, config: GroundingConfig, out: Path, *, minutes: float, batch_size: int = 8) -> None:
    """Train for `minutes` of wall time in all, resuming from `out`/vision.pt; a cosine over that time sets the rate."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    grounding, average = Grounding(config), Grounding(config)
    load_pretrained_stem(grounding.stem)
    grounding = grounding.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.load_state_dict(grounding.state_dict())
    stem = [*grounding.stem.parameters()]
    new = [value for name, value in grounding.named_parameters() if not name.startswith("stem.")]
    optimiser = torch.optim.AdamW(
        [{"params": new, "peak": _RATE}, {"params": stem, "peak": _STEM_RATE}], betas=(0.9, 0.98), weight_decay=0.03
    )
    spent, step, path = 0.0, 0, out / "vision.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        grounding.load_state_dict(state["stage"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    random = np.random.default_rng(step)
    prompts = label_prompts(config.prompt_width)
    started, saved, validated = time.monotonic() - spent, time.monotonic(), time.monotonic()
    losses: list[tuple[float, float]] = []
    while (spent := time.monotonic() - started) < minutes * 60:
        progress = spent / (minutes * 60)
        for group in optimiser.param_groups:
            turn = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress))
            group["lr"] = float(group["peak"] * min(1.0, (step + 1) / 150) * turn)
        mask, quality = _losses(
            grounding, prompts, sample_batch(pack, random, batch_size), decoder=progress >= _DECODER_FROM
        )
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(mask + quality)
        nn.utils.clip_grad_norm_(grounding.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(_EMA, (1 + step) / (10 + step))
            for mean, value in zip(average.state_dict().values(), grounding.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)
        losses.append((float(mask.detach()), float(quality.detach())))
        if step % 25 == 0:
            mean_mask, mean_quality = np.mean(losses[-25:], axis=0).round(4).tolist()
            line = {"step": step, "minutes": round(spent / 60, 2), "mask": mean_mask, "quality": mean_quality}
            if time.monotonic() - validated > 480:
                line["dice"] = round(float(np.mean(list(validate(pack, average, prompts).values()))), 4)
                validated = time.monotonic()
            _log.info("vision", **line)
            with (out / "vision.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > 120:
            _save(path, grounding, average, optimiser, spent, step)
            saved = time.monotonic()
    _save(path, grounding, average, optimiser, spent, step)


def validate(
    pack: Pack, grounding: Grounding, prompts: Tensor, split: str = "val", most: int = _VALIDATED
) -> dict[str, float]:
    """Return the mean Dice of each label that is there in at most `most` evenly spaced images of each set."""
    found: dict[str, list[float]] = {}
    for name, own in DATASETS.items():
        records = np.flatnonzero((pack.splits == split) & (pack.datasets == name))
        for record in records[np.linspace(0, len(records) - 1, min(len(records), most)).round().astype(int)].tolist():
            present = pack.present(record)
            if not present:
                continue
            square = torch.from_numpy(standardise(np.asarray(pack.images[record]))).permute(2, 0, 1)[None]
            with torch.inference_mode():
                asked = prompts[[LABELS.index(label) for label in present]]
                drawn = grounding.refine(grounding.encode(square)[0], None, asked) > 0
            for label, mask in zip(present, drawn.numpy(), strict=True):
                found.setdefault(label, []).append(dice(mask, _true(pack, record, own.index(label))))
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}


def _true(pack: Pack, record: int, bit: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (np.asarray(pack.masks[record]) >> np.uint16(bit) & np.uint16(1)).astype(np.bool_)
    return mask


def _losses(grounding: Grounding, prompts: Tensor, batch: Batch, *, decoder: bool) -> tuple[Tensor, Tensor]:
    features = grounding.encode(batch.images.contiguous(memory_format=torch.channels_last))
    masks, qualities = [], []
    for image, (labels, target) in enumerate(zip(batch.labels, batch.masks, strict=True)):
        asked = prompts[labels]  # k prompt_width
        asked = asked + _NOISE * torch.randn_like(asked)
        if decoder:
            logits, quality = grounding.decode(features[image], asked)
            qualities.append(quality_loss(quality, logits, target))
        else:
            logits = grounding.refine(features[image], None, asked)
        masks.append(mask_loss(logits, target))
    return torch.stack(masks).mean(), torch.stack(qualities).mean() if qualities else torch.zeros(())


def _save(
    path: Path, stage: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, spent: float, step: int
) -> None:
    state = {"stage": stage.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"spent": spent, "step": step}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
