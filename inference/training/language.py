"""Stage 2: global context understanding learns MedSeg-QA's conversations, and its [SEG] states to be prompts.

Four losses: what is said (cross-entropy, answers only); the squared error between P_l(state before [SEG]) and the
label's fixed prompt of stage 1; from the state where an answer begins, which labels the question asks for; from each
visual token, which labels its square of the image shows. Without the second the state before [SEG] forgets what it has
just named, since predicting [SEG] does not need it. The third makes the model settle what is meant before it looks, the
fourth makes the small tower look everywhere. The heads of both are thrown away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from inference.errors import InferenceError
from inference.medseg_qa.labels import LABELS
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.model import build_prompt_projector
from inference.medseg_r.tiny import build_language_model, build_tokenizer, train_tokenizer
from inference.medseg_r.tokenizer import ChatTokenizer
from inference.open import torch_device
from inference.training.dialogues import DialogueBatch, Dialogues, dialogue_texts
from inference.training.settings import WARMUP, TrainSettings
from inference.training.start import starting_point
from inference.training.steps import run_steps
from inference.training.vision import label_prompts

__all__ = ["LanguageStage", "train_language"]

_HEADS_ALONE = WARMUP  # steps, where the rest is a checkpoint's and the heads are new
_AT_ONCE = 6  # batches drawn together, so that those of like length share a batch
_OCCUPIED_GAIN = 4.0  # weight of a square that shows a label over one that does not: most do not
_WEIGHTS = {"text": 1.0, "prompt": 1.0, "asked": 0.3, "occupied": 4.0}


class LanguageStage(nn.Module):
    """The language model, P_l, and two heads that are thrown away."""

    def __init__(self, config: MedSegRConfig, tokenizer: ChatTokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.language_model: LlavaForConditionalGeneration = build_language_model(config, tokenizer)
        self.prompt_projector = build_prompt_projector(config)
        self.asked = nn.Linear(config.language_width, len(LABELS))
        self.occupied = nn.Linear(config.language_width, len(LABELS))
        self.prompts: Tensor
        self.register_buffer("prompts", label_prompts(config.grounding.prompt_width), persistent=False)

    def forward(self, batch: DialogueBatch, *, heads_alone: bool = False) -> Tensor:
        """Return the losses that `_WEIGHTS` names, not weighted: float32 `4`.

        With `heads_alone` nothing but the two heads learns from them.
        """
        model = self.language_model.model
        batch, kind = batch.to(self.prompts.device), self.prompts.device.type
        with torch.autocast(kind, torch.bfloat16), torch.set_grad_enabled(not heads_alone):
            hidden = model.vision_tower(
                _pixels(batch.images, self.config).to(self.prompts.device), output_hidden_states=True
            ).hidden_states[-1]
            visual = model.multi_modal_projector(hidden[:, 1:]).float()  # n+more visual_tokens language_width
            embedded = model.language_model.embed_tokens(batch.ids)
            shown = visual[: len(batch.ids)]
            embedded = embedded.masked_scatter((batch.ids == self.tokenizer.image)[..., None], shown)
            states = model.language_model(inputs_embeds=embedded, attention_mask=batch.attention).last_hidden_state
            said = batch.targets[:, 1:] != -100
            logits = self.language_model.lm_head(states[:, :-1][said])  # only where something is to be said
            known = batch.seg_labels >= 0
            given = self.prompt_projector(states[batch.seg_rows[known], batch.seg_positions[known]])
        with torch.autocast(kind, torch.bfloat16):
            asked = self.asked(states[batch.asked_rows, batch.asked_positions])
            occupied = self.occupied(visual)
        each = F.cross_entropy(logits.float(), batch.targets[:, 1:][said], reduction="none")
        weights = batch.weights[:, 1:][said]
        text = (each * weights).sum() / weights.sum()
        prompt = F.mse_loss(given.float(), self.prompts[batch.seg_labels[known]]) if known.any() else text.new_zeros(())
        meant = F.binary_cross_entropy_with_logits(asked.float(), batch.asked, reduction="none").sum(dim=1).mean()
        certain = ~batch.occupied.isnan()
        gain = torch.full((), _OCCUPIED_GAIN, device=batch.occupied.device)
        seen = F.binary_cross_entropy_with_logits(occupied.float()[certain], batch.occupied[certain], pos_weight=gain)
        return torch.stack([text, prompt, meant, seen])


def train_language(config: MedSegRConfig, settings: TrainSettings) -> None:
    """Train on `settings.qa` up to `settings.steps` steps, resuming from `settings.out`/language.pt.

    Raises `InferenceError` for settings without a set, `SourceError` where the folder holds none.
    """
    if settings.qa is None:
        raise InferenceError("stage language needs qa = FOLDER")
    settings.out.mkdir(parents=True, exist_ok=True)
    tokens = settings.out / "tokenizer.json"
    started = starting_point(settings, config)
    if started is not None:
        started.tokenizer.pretrained.backend_tokenizer.save(str(tokens))
    elif not tokens.exists():
        train_tokenizer(dialogue_texts(settings.qa), config.vocabulary_size).save(str(tokens))
    tokenizer = build_tokenizer(Tokenizer.from_file(str(tokens)))
    torch.manual_seed(settings.seed)
    stage = LanguageStage(config, tokenizer)
    if started is not None:
        stage.language_model.load_state_dict(started.language_model.state_dict())
        stage.prompt_projector.load_state_dict(started.prompt_projector.state_dict())
    stage = stage.to(torch_device(settings.device))
    heads_alone = 0 if started is None else _HEADS_ALONE
    optimiser = torch.optim.AdamW(stage.parameters(), lr=settings.peak_rate, betas=(0.9, 0.95), weight_decay=0.03)
    dialogues = Dialogues(settings.qa, "train", tokenizer, config, limits=settings.limits)

    @lru_cache(maxsize=1)
    def batches(group: int) -> list[DialogueBatch]:
        return dialogues.batches(np.random.default_rng([settings.seed, group]), settings.batch_size, _AT_ONCE)

    def losses(step: int) -> dict[str, Tensor]:
        batch = batches(step // _AT_ONCE)[step % _AT_ONCE]
        return dict(zip(_WEIGHTS, stage(batch, heads_alone=step < heads_alone), strict=True))

    run_steps(stage, optimiser, losses, _WEIGHTS, settings)


def _pixels(images: NDArray[np.uint8], config: MedSegRConfig) -> Tensor:
    """Return what the image processor of `tiny` makes of images, uint8 `n rows columns 3`."""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (F.interpolate(scaled, size=(config.context_image_size,) * 2, mode="area") - 0.5) / 0.25
