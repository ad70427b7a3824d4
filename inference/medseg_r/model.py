"""MedSeg-R: global context understanding says what is there, pixel-level grounding shows where.

question + image -> language model -> text with [SEG]; the hidden state that predicts each [SEG] -> P_l -> prompt;
prompt + image seen again at high resolution -> mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.context import GlobalContext
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.tiny import build_image_processor, build_language_model
from inference.medseg_r.tokenizer import IGNORED, ChatTokenizer

__all__ = [
    "Conversation",
    "Losses",
    "MedSegR",
    "build_prompt_projector",
    "language_dtype",
    "mask_loss",
    "mask_losses",
    "quality_loss",
]


def build_prompt_projector(config: MedSegRConfig, language_width: int | None = None) -> nn.Sequential:
    """Return P_l: Linear(d, d), ReLU, Linear(d, prompt width); d is the language model's width."""
    width = config.language_width if language_width is None else language_width
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.grounding.prompt_width))


def language_dtype(config: MedSegRConfig, device: str | torch.device) -> torch.dtype:
    """Return what a language model computes in on a device."""
    dtype: torch.dtype = torch.float32
    if torch.device(device).type != "cpu":
        dtype = getattr(torch, config.language_dtype_gpu)
    return dtype


@dataclass(frozen=True)
class Conversation:
    """A training batch.

    `pixels`: what `GlobalContext.pixels` gives for the `n` images. `ids`, `attention`: int64 `n tokens`, padded on the
    right. `targets`: int64 `n tokens`, the ids to be said and `IGNORED` elsewhere. `images`: float32 `n 3 side side`,
    preprocessed for grounding. `masks`: float32 `[SEG]s size size` at the grounding's mask size, in the order of rows,
    then positions.
    """

    pixels: Mapping[str, Tensor]
    ids: Tensor
    attention: Tensor
    targets: Tensor
    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, not weighted; scalars. `entropy` and `dice` are of masks (`mask_losses`)."""

    text: Tensor
    entropy: Tensor
    dice: Tensor
    quality: Tensor

    @property
    def total(self) -> Tensor:
        """Their plain sum."""
        return self.text + self.entropy + self.dice + self.quality


class MedSegR(nn.Module):
    """Both parts and the projector between them.

    `language_model` and `image_processor` are those of a downloaded checkpoint; without them a Llava is built from
    nothing at the sizes of `config`.
    """

    def __init__(
        self, config: MedSegRConfig, tokenizer: ChatTokenizer, language_model: Any = None, image_processor: Any = None
    ) -> None:
        super().__init__()
        self.config = config
        if language_model is None:
            language_model, image_processor = build_language_model(config, tokenizer), build_image_processor(config)
        self.context = GlobalContext(language_model, tokenizer, image_processor)
        self.prompt_projector = build_prompt_projector(config, self.context.width)
        self.grounding = Grounding(config.grounding)

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The language model's tokenizer."""
        return self.context.tokenizer

    @property
    def language_model(self) -> Any:
        """The image-text-to-text model of transformers."""
        return self.context.language_model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.grounding.parameters()).device

    def place(self, device: str | torch.device) -> MedSegR:
        """Move to a device, the language model in its own dtype on a GPU; all else, and all on a CPU, in float32."""
        self.to(device)
        dtype = language_dtype(self.config, device)
        for parameter in self.context.parameters():  # not its buffers: rotary frequencies stay in float32
            parameter.data = parameter.data.to(dtype)
        return self

    def forward(self, batch: Conversation) -> Losses:
        """Return the losses of a batch; raises ValueError where [SEG] tokens and masks do not match in number."""
        states = self.context.hidden_states(batch.ids, batch.attention, batch.pixels)  # n tokens language_width
        said = batch.targets[:, 1:] != IGNORED  # the state at a position predicts the token after it
        text = F.cross_entropy(self.context.logits(states[:, :-1][said]).float(), batch.targets[:, 1:][said])
        rows, positions = torch.nonzero(batch.targets == self.tokenizer.seg, as_tuple=True)
        if len(rows) != len(batch.masks):
            raise ValueError(f"{len(rows)} [SEG] tokens but {len(batch.masks)} masks")
        prompts = self.prompt_projector(states[rows, positions - 1].float())  # the state that predicts [SEG]
        features = self.grounding.encode(batch.images)
        entropies, dices, qualities = [], [], []
        for row in sorted(set(rows.tolist())):
            of_row = rows == row
            predicted = self.grounding.decode(features[row], prompts[of_row])
            entropy, dice = mask_losses(predicted.logits, batch.masks[of_row])
            entropies.append(entropy)
            dices.append(dice)
            qualities.append(quality_loss(predicted.quality, predicted.logits, batch.masks[of_row]))
        if not entropies:
            return Losses(text, text.new_zeros(()), text.new_zeros(()), text.new_zeros(()))
        return Losses(text, *(torch.stack(losses).mean() for losses in (entropies, dices, qualities)))


def mask_losses(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return BCE, and Dice over those targets that are present; `k rows columns` each, scalars out."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + masks.sum((1, 2)) + 1)
    present = (masks.sum((1, 2)) > 0).float()
    return entropy, (dice * present).sum() / present.sum().clamp(min=1)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return BCE + Dice in equal parts, as the shipped weights learn masks; `k rows columns` each.

    LISA weighs them 2.0 to 0.5 (so does the stage `joint`); small targets want more of Dice.
    """
    entropy, dice = mask_losses(logits, masks)
    return entropy + dice


def quality_loss(quality: Tensor, logits: Tensor, masks: Tensor) -> Tensor:
    """Return the squared error of the quality head, `k`, against the true IoU; 0 is true of whatever is absent."""
    with torch.no_grad():
        drawn, true = logits > 0, masks > 0.5
        both, either = (drawn & true).sum((1, 2)), (drawn | true).sum((1, 2))
        iou = both / either.clamp(min=1)
    return F.mse_loss(quality, iou)
