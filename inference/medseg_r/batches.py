"""Work in batches that fit the memory, with a ladder where it runs out: smaller batches, the CPU, a named failure.

How many fit is measured on a GPU: before the first batch the first item is worked alone, its peak tells how many of the
kind the free memory takes, and what came of it is thrown away. So the first run has the batches that all later ones
have, and gives the same bytes. The measured number holds as long as the process; another process, with other neighbours
in the GPU's memory, may measure another. On a CPU the number is fixed by the image size. Every run starts from the top
of the ladder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import structlog
import torch

from inference.errors import OutOfMemory

__all__ = ["Batches", "Gauge", "Movable"]

_MOST_AT_ONCE = 32
_SHARE_OF_FREE = 0.8
_CPU_PIXELS = 8 * 256 * 256  # seen at once
_CPU = torch.device("cpu")

_log = structlog.get_logger()
_Result = TypeVar("_Result")


class Movable(Protocol):
    """A model that can be moved."""

    @property
    def device(self) -> torch.device: ...

    def place(self, device: torch.device) -> object: ...


class Gauge(Protocol):
    """Measures what one item takes of a device's memory."""

    def begin(self) -> None:
        """Begin to measure."""

    def fitting(self) -> int:
        """Return how many items of what was done since `begin` fit into what is free."""


class Batches:
    """Batches of one kind of work on one model.

    `device`: where the model should run. `side`: pixels a side of what each item is. `size`: items at once, instead of
    finding out. `gauge`: how to find out; that of the device if it has one.
    """

    def __init__(
        self,
        model: Movable,
        device: torch.device,
        side: int,
        size: int | None = None,
        gauge: Gauge | None = None,
    ) -> None:
        self._model, self._wanted, self._side, self._fixed = model, device, side, size
        self._gauge: Gauge | None = gauge or (_CudaGauge(device) if device.type == "cuda" else None)
        self._measured: int | None = None
        self._halvings = 0

    def _begin(self) -> None:
        """Go back to the top of the ladder, where the last run left it."""
        self._halvings = 0
        if self._model.device.type != self._wanted.type:
            try:
                self._model.place(self._wanted)
            except torch.OutOfMemoryError:
                _log.warning("out of memory: staying on the CPU", device=str(self._wanted))
                self._model.place(_CPU)

    @property
    def size(self) -> int:
        """Items at once, now."""
        return max(1, self._full >> self._halvings)

    @property
    def rows(self) -> int:
        """Rows of a batch that may be made of one item, now: questions that share an image."""
        return max(1, _MOST_AT_ONCE >> self._halvings)

    @property
    def _full(self) -> int:
        if self._fixed is not None:
            return self._fixed
        if self._model.device.type == "cpu":
            return max(1, _CPU_PIXELS // self._side**2)
        return 1 if self._measured is None else self._measured

    def run(self, count: int, work: Callable[[range], _Result]) -> Iterator[tuple[range, _Result]]:
        """Yield what `work` makes of 0 to `count`, batch by batch; work that ran out of memory is done again smaller.

        The first item is worked twice where the size is measured first.
        Raises `OutOfMemory` where one item does not fit even on the CPU.
        """
        self._begin()
        start = 0
        while start < count:
            gauge = self._to_measure()
            batch = range(start, start + 1 if gauge else min(start + self.size, count))
            try:
                if gauge is not None:
                    gauge.begin()
                result = work(batch)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _ran_out(error):
                    raise
                reason = str(error)
            else:
                if gauge is not None:
                    del result
                    self._measured = gauge.fitting()
                    continue
                yield batch, result
                start = batch.stop
                continue
            self._step_down(reason)  # outside the handler, which holds on to the memory that is wanted back

    def _step_down(self, reason: str) -> None:
        if self.size > 1 or self.rows > 1:
            self._halvings += 1
            _log.warning("out of memory: smaller batches", device=str(self._model.device), size=self.size)
        elif self._model.device.type != "cpu":
            _log.warning("out of memory: on to the CPU", device=str(self._model.device))
            self._model.place(_CPU)
            self._halvings = 0
        else:
            raise OutOfMemory(
                f"not even one image fits into the memory ({reason.splitlines()[0] if reason else 'no reason given'}); "
                "use a smaller checkpoint or a machine with more memory"
            )
        if self._wanted.type == "cuda":
            torch.cuda.empty_cache()

    def _to_measure(self) -> Gauge | None:
        """Return what measures the device, where the model is on it and the size is not known yet."""
        known = self._fixed is not None or self._measured is not None
        return None if known or self._model.device.type == "cpu" else self._gauge


class _CudaGauge:
    """torch's own count of the memory that it has taken on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def fitting(self) -> int:
        each = max(1, torch.cuda.max_memory_allocated(self._device) - self._before)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        size = int(min(_MOST_AT_ONCE, max(1, _SHARE_OF_FREE * free // each)))
        _log.info("batch size found", size=size, bytes_each=each, bytes_free=free)
        return size


def _ran_out(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error)  # torch's own allocator on the CPU raises a plain RuntimeError
