"""One process of two that train together on the CPU: stopped half way and resumed, then the same run whole.

accelerate finds the other by the environment that `accelerate launch` would set. Arguments: settings as JSON, a folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState

from inference.training import joint
from inference.training.journal import Journal
from inference.training.settings import TrainSettings


class _Stopped(Exception):
    pass


def main(settings: dict[str, Any], folder: Path) -> None:
    torch.manual_seed(0)
    add, rates = Journal.add, list[float]()
    run = joint._run

    def stopping(journal: Journal, step: int, *more: Any, **named: Any) -> None:
        if step > settings["save_every"]:
            raise _Stopped
        add(journal, step, *more, **named)

    def noting(accelerator, model, optimiser, schedule, *rest: object) -> None:  # type: ignore[no-untyped-def]
        run(accelerator, model, optimiser, schedule, *rest)
        rates.extend(schedule.get_last_lr())
        total = torch.stack([value.detach().double().sum() for value in model.parameters()]).sum()
        rates.append(float(total))

    stopped = TrainSettings.model_validate({**settings, "out": folder / "stopped"})
    Journal.add = stopping
    try:
        joint.train_joint(stopped)
    except _Stopped:
        Journal.add = add
    joint._run = noting
    joint.train_joint(stopped)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    joint.train_joint(TrainSettings.model_validate({**settings, "out": folder / "whole"}))
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(rates))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
