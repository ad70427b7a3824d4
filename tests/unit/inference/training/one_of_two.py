"""One process of two that train together on the CPU: stopped half way and resumed, then the same run whole.

accelerate finds the other by the environment that `accelerate launch` would set. Arguments: settings as JSON, a folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

from inference.training import joint
from inference.training.settings import TrainSettings


class _Stopped(Exception):
    pass


def main(settings: dict[str, object], folder: Path) -> None:
    torch.manual_seed(0)
    save, rates = joint._save_state, list[float]()
    run = joint._run

    def stopping(accelerator: object, out: Path, step: int) -> None:
        save(accelerator, out, step)
        raise _Stopped

    def noting(accelerator, model, optimiser, schedule, *rest: object) -> None:  # type: ignore[no-untyped-def]
        run(accelerator, model, optimiser, schedule, *rest)
        rates.extend(schedule.get_last_lr())
        total = torch.stack([value.detach().double().sum() for value in model.parameters()]).sum()
        rates.append(float(total))

    stopped = TrainSettings.model_validate({**settings, "out": folder / "stopped"})
    joint._save_state = stopping
    try:
        joint.train_joint(stopped)
    except _Stopped:
        joint._save_state = save
    joint._run = noting
    joint.train_joint(stopped)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    joint.train_joint(TrainSettings.model_validate({**settings, "out": folder / "whole"}))
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(rates))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
