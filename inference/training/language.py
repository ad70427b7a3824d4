"""Stage 2: global context understanding learns MedSeg-QA's conversations, and its [SEG] states to be prompts.

Four losses: what is said (cross-entropy, answers only); the squared error between P_l(state before [SEG]) and the
label's fixed prompt of stage 1; from the state where an answer begins, which labels the question asks for; from each
visual token, which labels its square of the image shows. Without the second the state before [SEG] forgets what it has
just named, since predicting [SEG] does not need it. The third makes the model settle what is meant before it looks, the
fourth makes the small tower look everywhere. The heads of both are thrown away.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.model import build_prompt_projector
from inference.medseg_r.tiny import build_language_model, train_tokenizer
from inference.medseg_r.words import Words
from inference.training.dialogues import DialogueBatch, Dialogues, dialogue_texts
from inference.training.labels import LABELS
from inference.training.vision import label_prompts

__all__ = ["LanguageStage", "train_language"]

_log = structlog.get_logger()

_RATE = 1.5e-3
_EMA = 0.998
_AT_ONCE = 6  # batches drawn together, so that those of like length share a batch
_ASKED_WEIGHT, _OCCUPIED_WEIGHT = 0.3, 4.0
_OCCUPIED_GAIN = 4.0  # weight of a square that shows a label over one that does not: most do not
_LOSSES = ("text", "prompt", "asked", "occupied")


class LanguageStage(nn.Module):
    """The language model, P_l, and two heads that are thrown away."""

    def __init__(self, config: MedSegRConfig, words: Words) -> None:
        super().__init__()
        self.config, self.words = config, words
        self.language_model: LlavaForConditionalGeneration = build_language_model(config, words)
        self.prompt_projector = build_prompt_projector(config)
        self.asked = nn.Linear(config.language_width, len(LABELS))
        self.occupied = nn.Linear(config.language_width, len(LABELS))
        self.prompts: Tensor
        self.register_buffer("prompts", label_prompts(config.grounding.prompt_width), persistent=False)

    def forward(self, batch: DialogueBatch) -> Tensor:
        """Return the losses named in `_LOSSES`, not weighted: float32 `4`."""
        model = self.language_model.model
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.vision_tower(_pixels(batch.images, self.config), output_hidden_states=True).hidden_states[-1]
            visual = model.multi_modal_projector(hidden[:, 1:]).float()  # n+more visual_tokens language_width
            embedded = model.language_model.embed_tokens(batch.ids)
            shown = visual[: len(batch.ids)]
            embedded = embedded.masked_scatter((batch.ids == self.words.image)[..., None], shown)
            states = model.language_model(inputs_embeds=embedded, attention_mask=batch.attention).last_hidden_state
            said = batch.targets[:, 1:] != -100
            logits = self.language_model.lm_head(states[:, :-1][said])  # only where something is to be said
            known = batch.seg_labels >= 0
            given = self.prompt_projector(states[batch.seg_rows[known], batch.seg_positions[known]])
            asked = self.asked(states[batch.asked_rows, batch.asked_positions])
            occupied = self.occupied(visual)
        each = F.cross_entropy(logits.float(), batch.targets[:, 1:][said], reduction="none")
        weights = batch.weights[:, 1:][said]
        text = (each * weights).sum() / weights.sum()
        prompt = F.mse_loss(given.float(), self.prompts[batch.seg_labels[known]]) if known.any() else text.new_zeros(())
        meant = F.binary_cross_entropy_with_logits(asked.float(), batch.asked, reduction="none").sum(dim=1).mean()
        certain = ~batch.occupied.isnan()
        gain = torch.full((), _OCCUPIED_GAIN)
        seen = F.binary_cross_entropy_with_logits(occupied.float()[certain], batch.occupied[certain], pos_weight=gain)
        return torch.stack([text, prompt, meant, seen])


def train_language(qa: Path, config: MedSegRConfig, out: Path, *, minutes: float, batch_size: int = 12) -> None:
    """Train on the set in `qa` for `minutes` of wall time in all, resuming from `out`/language.pt."""
    torch.manual_seed(1)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "tokenizer.json").exists():
        train_tokenizer(dialogue_texts(qa), config.vocabulary_size).save(str(out / "tokenizer.json"))
    words = Words(Tokenizer.from_file(str(out / "tokenizer.json")))
    stage, average = LanguageStage(config, words), LanguageStage(config, words)
    average.load_state_dict(stage.state_dict())
    optimiser = torch.optim.AdamW(stage.parameters(), lr=_RATE, betas=(0.9, 0.95), weight_decay=0.03)
    spent, step, path = 0.0, 0, out / "language.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        stage.load_state_dict(state["stage"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    dialogues = Dialogues(qa, "train", words, config, seed=step)
    started, saved = time.monotonic() - spent, time.monotonic()
    losses: list[list[float]] = []
    weights = torch.tensor([1.0, 1.0, _ASKED_WEIGHT, _OCCUPIED_WEIGHT])
    waiting: list[DialogueBatch] = []
    while (spent := time.monotonic() - started) < minutes * 60:
        for group in optimiser.param_groups:
            turn = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * spent / (minutes * 60)))
            group["lr"] = float(_RATE * min(1.0, (step + 1) / 150) * turn)
        waiting = waiting or dialogues.batches(batch_size, _AT_ONCE)
        each = stage(waiting.pop())
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward((each * weights).sum())
        nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(_EMA, (1 + step) / (10 + step))
            for mean, value in zip(average.state_dict().values(), stage.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)
        losses.append(each.detach().tolist())
        if step % 50 == 0:
            means = np.mean(losses[-50:], axis=0).round(4).tolist()
            line = {"step": step, "minutes": round(spent / 60, 2), **dict(zip(_LOSSES, means, strict=True))}
            _log.info("language", **line)
            with (out / "language.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > 120:
            _save(path, stage, average, optimiser, spent, step)
            saved = time.monotonic()
    _save(path, stage, average, optimiser, spent, step)


def _pixels(images: NDArray[np.uint8], config: MedSegRConfig) -> Tensor:
    """Return what the image processor of `tiny` makes of images, uint8 `n rows columns 3`."""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (F.interpolate(scaled, size=(config.context_image_size,) * 2, mode="area") - 0.5) / 0.25


def _save(
    path: Path, stage: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, spent: float, step: int
) -> None:
    state = {"stage": stage.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"spent": spent, "step": step}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
