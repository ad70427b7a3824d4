"""MedSeg-R: global context understanding says what is there, pixel-level grounding shows where.

question + image -> language model -> text with [SEG]; the state that predicts each [SEG] -> P_l -> prompt;
prompt + image seen again at high resolution -> mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.context import Words, build_language_model
from inference.medseg_r.grounding import Grounding

__all__ = ["Conversation", "Losses", "MedSegR", "build_prompt_projector", "context_images", "mask_loss", "quality_loss"]


def build_prompt_projector(config: MedSegRConfig) -> nn.Sequential:
    """Return P_l: Linear(d, d), ReLU, Linear(d, prompt width)."""
    width = config.language_width
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.grounding.prompt_width))


def context_images(images: Tensor, config: MedSegRConfig) -> Tensor:
    """Return the small views for the global encoder: `n 3 256 256` to `n 3 64 64`, each pixel the mean of its area."""
    return F.adaptive_avg_pool2d(images, config.context_image_size)


@dataclass(frozen=True)
class Conversation:
    """A training batch.

    `images`: float32 `n 3 256 256`. `ids`, `attention`: int64 `n tokens`, padded on the right. `targets`: int64
    `n tokens`, the ids to be said and -100 elsewhere. `masks`: float32 `[SEG]s size size`, in the order of rows, then
    positions.
    """

    images: Tensor
    ids: Tensor
    attention: Tensor
    targets: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, weighted as medseg-r's relatives weight them; scalars."""

    text: Tensor
    mask: Tensor
    quality: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.text + self.mask + self.quality


class MedSegR(nn.Module):
    """Both parts and the projector between them."""

    def __init__(self, config: MedSegRConfig, words: Words) -> None:
        super().__init__()
        self.config, self.words = config, words
        self.language_model = build_language_model(config, words)
        self.prompt_projector = build_prompt_projector(config)
        self.grounding = Grounding(config.grounding)

    def forward(self, batch: Conversation) -> Losses:
        """Return the losses of a batch; raises ValueError where [SEG] tokens and masks do not match in number."""
        output = self.language_model.model(
            input_ids=batch.ids,
            pixel_values=context_images(batch.images, self.config),
            attention_mask=batch.attention,
        )
        states = output.last_hidden_state  # n tokens language_width
        logits = self.language_model.lm_head(states)
        text = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.targets[:, 1:].flatten(), ignore_index=-100)
        rows, positions = torch.nonzero(batch.targets == self.words.seg, as_tuple=True)
        if len(rows) != len(batch.masks):
            raise ValueError(f"{len(rows)} [SEG] tokens but {len(batch.masks)} masks")
        prompts = self.prompt_projector(states[rows, positions - 1])  # the state that predicts [SEG]: one before it
        features = self.grounding.encode(batch.images)
        masks, qualities = [], []
        for row in sorted(set(rows.tolist())):
            own = rows == row
            drawn, quality = self.grounding.decode(features[row], prompts[own])
            masks.append(mask_loss(drawn, batch.masks[own]))
            qualities.append(quality_loss(quality, drawn, batch.masks[own]))
        if not masks:
            return Losses(text, text.new_zeros(()), text.new_zeros(()))
        return Losses(text, torch.stack(masks).mean(), torch.stack(qualities).mean())


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return BCE + Dice in equal parts, Dice only where the target is present; `k rows columns` each.

    LISA weighs them 2.0 to 0.5; small targets, most of what the shipped weights are scored on, want more of Dice.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + masks.sum((1, 2)) + 1)
    present = (masks.sum((1, 2)) > 0).float()
    return entropy + (dice * present).sum() / present.sum().clamp(min=1)


def quality_loss(quality: Tensor, logits: Tensor, masks: Tensor) -> Tensor:
    """Return the squared error of the quality head, `k`, against the true IoU; 0 is true of whatever is absent."""
    with torch.no_grad():
        drawn, true = logits > 0, masks > 0.5
        both, either = (drawn & true).sum((1, 2)), (drawn | true).sum((1, 2))
        iou = both / either.clamp(min=1)
    return F.mse_loss(quality, iou)
