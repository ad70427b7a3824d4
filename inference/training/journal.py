"""What a run leaves for people: a progress bar, its losses as JSON Lines and TensorBoard's events, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from inference.progress import Counter
from inference.training.curves import RATE, draw_curves

__all__ = ["Journal"]


class Journal:
    """Writes `out`/`name`.jsonl, `out`/`name`.png and TensorBoard's events in `out`/`name`, as a context manager.

    A run that goes on after step `first` drops what a killed one noted beyond it. With `silent`, as in all processes
    but one, nothing is shown or written.
    """

    def __init__(self, out: Path, name: str, *, steps: int, first: int = 0, silent: bool = False) -> None:
        self._log, self._picture, self._silent = out / f"{name}.jsonl", out / f"{name}.png", silent
        self._progress = Counter(name, first=first, silent=silent)
        self._steps, self._writer = steps, None
        if not silent:
            out.mkdir(parents=True, exist_ok=True)
            lines = self._log.read_text().splitlines() if self._log.exists() else []
            self._log.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= first))
            self._writer = SummaryWriter(str(out / name), purge_step=first + 1)

    def __enter__(self) -> Journal:
        self._progress.__enter__()
        return self

    def add(self, step: int, values: Mapping[str, float], *, rate: float) -> None:
        """Note what step `step`, counted from 1, came to, and the learning rate it was taken at."""
        rounded = {name: round(value, 5) for name, value in values.items()}
        if self._writer is not None:
            with self._log.open("a") as log:
                log.write(json.dumps({"step": step, **rounded, RATE: float(f"{rate:.3g}")}) + "\n")
            for name, value in (rounded | {RATE: rate}).items():
                self._writer.add_scalar(name, value, step)
        told = ", ".join(f"{name} {value:.3f}" for name, value in rounded.items())
        self._progress(step, self._steps, told)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._writer is not None:
            self._writer.close()
            draw_curves(self._log, self._picture)
