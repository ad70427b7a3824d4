"""One stage of training, step by step: its rate, a running mean of its weights, and states to go on from.

What a step draws depends on the seed and the step's number alone, so a run that was stopped goes on exactly as it would
have gone.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from inference.errors import InferenceError
from inference.training.journal import Journal
from inference.training.settings import WARMUP, TrainSettings

__all__ = ["cosine_rate", "run_steps", "seed_of", "tell_resumed"]

_log = structlog.get_logger()
_CLIP = 1.0  # the gradient's norm
_VALIDATE_EVERY = 500  # steps


def cosine_rate(step: int, steps: int, warmup: int) -> float:
    """Return the share of the learning rate at a step: a linear warm-up, then a cosine to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    turn = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, turn)))


def seed_of(*numbers: int) -> int:
    """Return one seed for torch from several numbers, such as a run's seed and a step."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def run_steps(
    stage: nn.Module,
    optimiser: torch.optim.Optimizer,
    losses: Callable[[int], Mapping[str, Tensor]],
    weights: Mapping[str, float],
    settings: TrainSettings,
    *,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> None:
    """Train `stage` up to `settings.steps` steps, resuming from `settings.out`/STAGE.pt; the last state is left there.

    `losses`: what the step of that number costs, by name; `weights`: of each in the sum. A parameter group's `lr` is
    its peak. `validate` is given the running mean of the weights now and then; its figures go to the journal.
    Raises `InferenceError` for a state that cannot be read.
    """
    path = settings.out / f"{settings.stage}.pt"
    average, first = copy.deepcopy(stage), 0
    peaks = [group["lr"] for group in optimiser.param_groups]
    if path.exists():
        try:
            state = torch.load(path, weights_only=True, map_location=next(stage.parameters()).device)
            stage.load_state_dict(state["stage"])
            average.load_state_dict(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            first = int(state["step"])
        except (OSError, RuntimeError, LookupError, ValueError, EOFError, UnpicklingError) as error:
            raise InferenceError(
                f"the state {path} cannot be read ({type(error).__name__}): it is truncated, or of another model; "
                "remove it to begin anew"
            ) from error
        tell_resumed(first, settings.steps)
    with Journal(settings.out, settings.stage, steps=settings.steps, first=first) as journal:
        for step in range(first, settings.steps):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * cosine_rate(step, settings.steps, WARMUP)
            torch.manual_seed(seed_of(settings.seed, step))
            each = losses(step)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack([weights[name] * value for name, value in each.items()]).sum())
            nn.utils.clip_grad_norm_(stage.parameters(), _CLIP)
            optimiser.step()
            reach = min(settings.averaged_steps, 1 + step / 2)  # early on, half of the steps so far
            _towards(average, stage, 1 / reach)
            noted = {name: float(value.detach()) for name, value in each.items()}
            if validate is not None and (step + 1) % _VALIDATE_EVERY == 0:
                noted |= validate(average)
            journal.add(step + 1, noted, rate=peaks[0] * cosine_rate(step, settings.steps, WARMUP))
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                _save(path, stage, average, optimiser, step + 1)


def tell_resumed(step: int, steps: int) -> None:
    """Log where a run goes on, of how many steps; a warning where it has them all."""
    if step >= steps:
        _log.warning("already trained: there is nothing to do", trained_steps=step, wanted_steps=steps)
    else:
        _log.info("resumed", step=step, of=steps)


@torch.no_grad()
def _towards(average: nn.Module, stage: nn.Module, share: float) -> None:
    """Move a running mean of weights by `share` of the way."""
    for mean, value in zip(average.state_dict().values(), stage.state_dict().values(), strict=True):
        mean.lerp_(value, share) if mean.is_floating_point() else mean.copy_(value)


def _save(path: Path, stage: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    state = {
        "stage": stage.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
