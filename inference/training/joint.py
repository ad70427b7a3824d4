"""Stage 3: all parts of a model together, on MedSeg-QA's conversations with their masks; any size, LoRA or full.

Steps are counted by the optimiser. What a batch holds depends on seed, process, step and place in the step alone, so
that a run that was stopped goes on exactly as it would have gone. accelerate spreads it over processes (`accelerate
launch`): each draws its own batches, gradients are averaged over them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from inference.errors import InferenceError
from inference.interface import Exchange
from inference.medseg_qa.records import Record, Turn
from inference.medseg_r.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from inference.medseg_r.description import checkpoint_folder
from inference.medseg_r.lora import add_lora, has_lora
from inference.medseg_r.model import Conversation, Losses, MedSegR
from inference.medseg_r.tokenizer import IGNORED
from inference.medseg_r.transform import grounding_square, to_square
from inference.training.augment import rewindow
from inference.training.journal import Journal
from inference.training.settings import TrainSettings
from inference.training.steps import cosine_rate, seed_of, tell_resumed
from inference.training.turns import TurnSampler

__all__ = ["ConversationBatches", "train_joint"]


_NAMES = ("text", "entropy", "dice", "quality")
_STATE = "state"
_CLIP = 1.0  # the gradient's norm


class ConversationBatches:
    """Batches of one split: images with their conversations and masks, as `MedSegR.forward` takes them."""

    def __init__(self, qa: Path, split: str, model: MedSegR) -> None:
        self.qa, self.model = qa, model
        self.turns = TurnSampler(qa, split)
        side = model.config.context_square
        blank = np.zeros((side, side, 3), dtype=np.uint8)  # every square is of this size
        self._visual_tokens = model.context.visual_tokens(model.context.pixels([blank]))

    def draw(self, random: np.random.Generator, size: int, device: torch.device) -> Conversation:
        """Return `size` conversations; one too long for the model is cut after its last turn that fits."""
        model = self.model
        config = model.config.grounding
        squares: list[NDArray[np.uint8]] = []
        images: list[Tensor] = []
        conversations: list[tuple[Turn, ...]] = []
        masks: list[Tensor] = []
        while len(squares) < size:
            place, turns = self.turns.draw(random)
            record = self.turns.records[place]
            pixels = np.asarray(Image.open(self.qa / record.image).convert("RGB"))
            seen = rewindow(pixels, random)
            square, _ = to_square(seen, model.config.context_square)
            fitting = self._fitting(turns)
            if not fitting:
                continue
            image, _ = grounding_square(seen, config.preprocessing, config.image_size)
            squares.append(square)
            images.append(torch.from_numpy(image).permute(2, 0, 1))
            conversations.append(fitting)
            masks += [self._mask(record, index) for turn in fitting for index in turn.targets]
        pixels_seen = model.context.pixels(squares)
        ids, attention, targets = self._tokens(conversations)
        drawn = torch.stack(masks) if masks else torch.zeros(0, config.mask_size, config.mask_size)
        return Conversation(
            {name: value.to(device) for name, value in pixels_seen.items()},
            ids.to(device),
            attention.to(device),
            targets.to(device),
            torch.stack(images).to(device),
            drawn.to(device),
        )

    def _fitting(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        context = self.model.context
        for count in range(len(turns), 0, -1):
            conversation = context.tokenizer.conversation(_exchanges(turns[:count]), self._visual_tokens)
            if len(conversation.ids) <= context.positions:
                return tuple(turns[:count])
        return ()

    def _tokens(self, conversations: Sequence[tuple[Turn, ...]]) -> tuple[Tensor, Tensor, Tensor]:
        tokenizer = self.model.tokenizer
        rows = [tokenizer.conversation(_exchanges(turns), self._visual_tokens) for turns in conversations]
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), tokenizer.pad)
        targets = torch.full((len(rows), longest), IGNORED)
        attention = torch.zeros((len(rows), longest), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            targets[place, : len(row.ids)] = torch.tensor(row.targets)
            attention[place, : len(row.ids)] = 1
        return ids, attention, targets

    def _mask(self, record: Record, index: int) -> Tensor:
        """Return a target's mask on the grid of the mask logits, float32 `size size` of 0 to 1."""
        config = self.model.config.grounding
        with Image.open(self.qa / record.targets[index].mask) as picture:
            mask = np.asarray(picture.convert("L"))
        square, _ = to_square(mask, config.image_size, nearest=True, stretched=config.preprocessing.stretched)
        whole = torch.from_numpy((square > 127).astype(np.float32))[None, None]
        return torch.nn.functional.adaptive_avg_pool2d(whole, config.mask_size)[0, 0]


def _exchanges(turns: Sequence[Turn]) -> list[Exchange]:
    return [Exchange(turn.question, turn.answer) for turn in turns]


def train_joint(settings: TrainSettings) -> Path:
    """Train as `settings` say, resuming a run found in `settings.out`; return the folder of the trained checkpoint.

    Logs and curves go to `settings.out` (`journal.py`). Raises `InferenceError` for settings that train nothing,
    `CheckpointError` and `SourceError` for what cannot be read.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # at every state it warns of tied embeddings
    accelerator = Accelerator(
        gradient_accumulation_steps=settings.accumulation,
        mixed_precision=settings.precision,
        # a batch without [SEG] uses neither mask decoder nor P_l
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    folder = checkpoint_folder(settings.checkpoint)
    start = _start(folder, settings)
    model = start.model
    trained = _trained(model, settings.trained)
    batches = ConversationBatches(_there(settings.qa), "train", model)
    optimiser = torch.optim.AdamW(trained, lr=settings.peak_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: cosine_rate(step, settings.steps, settings.warmup_steps)
    )
    prepared, optimiser = accelerator.prepare(model, optimiser)
    # not prepared: accelerate would step it once for every process, and the cosine would end long before the run
    accelerator.register_for_checkpointing(schedule)
    first = _resume(accelerator, settings)
    prepared.train()
    _run(accelerator, prepared, optimiser, schedule, batches, settings, first)
    finished = settings.out / "checkpoint"
    state = accelerator.get_state_dict(prepared)  # of all processes: each may hold a shard
    if accelerator.is_main_process:
        if accelerator.distributed_type is DistributedType.FSDP:  # the model is in shards; a whole one takes the state
            start = _start(folder, settings)
        _export(state, start, finished, settings)
    accelerator.end_training()
    return finished


def _run(
    accelerator: Accelerator,
    model: MedSegR,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    batches: ConversationBatches,
    settings: TrainSettings,
    first: int,
) -> None:
    parameters = list(model.parameters())  # all: accelerate knows a sharded model by them
    silent = not accelerator.is_main_process
    with Journal(settings.out, "joint", steps=settings.steps, first=first, silent=silent) as journal:
        for step in range(first, settings.steps):
            sums = np.zeros(len(_NAMES))
            for part in range(settings.accumulation):
                seeds = [settings.seed, accelerator.process_index, step, part]
                torch.manual_seed(seed_of(*seeds))  # dropout
                batch = batches.draw(np.random.default_rng(seeds), settings.batch_size, accelerator.device)
                with accelerator.accumulate(model):
                    losses: Losses = model(batch)
                    total = (
                        settings.text_weight * losses.text
                        + settings.bce_weight * losses.entropy
                        + settings.dice_weight * losses.dice
                        + settings.quality_weight * losses.quality
                    )
                    if total.requires_grad:  # not where a batch only denies and no part that is trained spoke
                        accelerator.backward(total)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(parameters, _CLIP)
                    optimiser.step()
                    optimiser.zero_grad()
                sums += [float(getattr(losses, name).detach()) for name in _NAMES]
            rate = optimiser.param_groups[0]["lr"]
            schedule.step()
            means = (sums / settings.accumulation).tolist()
            journal.add(step + 1, dict(zip(_NAMES, means, strict=True)), rate=rate)
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                _save_state(accelerator, settings.out, step + 1)


def _start(folder: Path, settings: TrainSettings) -> Checkpoint:
    """Return what training begins with, LoRA beside it where the settings want it."""
    start = load_checkpoint(folder, accept_research_use=settings.accept_research_use, merge_adapter=False)
    lora = settings.lora
    if lora is not None and not has_lora(start.model.language_model):
        add_lora(
            start.model.language_model,
            rank=lora.rank,
            alpha=lora.alpha,
            dropout=lora.dropout,
            projections=lora.projections,
        )
    return start


def _there(path: Path | None) -> Path:
    if path is None:
        raise InferenceError("the settings name no MedSeg-QA set; give qa = FOLDER")
    return path


def _trained(model: MedSegR, names: Sequence[str]) -> list[torch.nn.Parameter]:
    """Freeze all but the parameters whose name holds one of `names`, and return those."""
    chosen = []
    for name, parameter in model.named_parameters():
        wanted = "*" in names or any(one in name for one in names)
        parameter.requires_grad_(wanted)
        if wanted:
            chosen.append(parameter)
    if not chosen:
        raise InferenceError(f"no parameter's name holds one of {list(names)}; nothing would be trained")
    return chosen


def _save_state(accelerator: Accelerator, out: Path, step: int) -> None:
    """Write a state beside the last one, say which counts, then delete the last.

    A run that was killed in between goes on from the older one.
    """
    accelerator.save_state(str(out / _STATE / str(step)), safe_serialization=True)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        part = out / _STATE / "latest.part"
        part.write_text(str(step))
        part.replace(out / _STATE / "latest")
        for older in (out / _STATE).iterdir():
            if older.name.isdigit() and older.name != str(step):
                shutil.rmtree(older)


def _resume(accelerator: Accelerator, settings: TrainSettings) -> int:
    latest = settings.out / _STATE / "latest"
    step = int(latest.read_text()) if latest.exists() else 0
    if step:
        state = settings.out / _STATE / str(step)
        try:
            accelerator.load_state(str(state))
        except (OSError, ValueError, RuntimeError, LookupError, EOFError, SafetensorError, UnpicklingError) as error:
            raise InferenceError(
                f"the state {state} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]:.160}): it is "
                f"truncated, or of another model; remove {settings.out / _STATE} to begin anew"
            ) from error
        tell_resumed(step, settings.steps)
    accelerator.wait_for_everyone()
    return step


def _export(state: Mapping[str, Tensor], start: Checkpoint, folder: Path, settings: TrainSettings) -> None:
    """Write `state` as a checkpoint, through the model of `start`, which has no wrapper around it.

    Thresholds and calibration are still those of the start, and so it is noted.
    """
    description, lora = start.description, settings.lora
    older = start.calibrated and start.calibrated | {"since": "trained further; medseg-r calibrate sets them anew"}
    start.model.load_state_dict(state)
    save_checkpoint(
        folder,
        start.model,
        name=description.name,
        version=f"{description.version.removesuffix(' untrained')}+trained",
        terms=description.terms,
        thresholds=start.thresholds,
        calibration=start.calibration,
        calibrated=older,
        keep_adapter=not (lora is None or lora.merge),
    )
