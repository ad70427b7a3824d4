"""The ladder on out-of-memory, on a machine that has a GPU in name only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from inference.errors import OutOfMemory
from inference.medseg_r.batches import Batches

_GPU, _CPU = torch.device("mps"), torch.device("cpu")  # any device but a CPU and one that is measured


class _Model:
    def __init__(self) -> None:
        self.device = _CPU
        self.moves: list[str] = []

    def place(self, device: torch.device) -> None:
        self.device = device
        self.moves.append(device.type)


class _Gauge:
    """Finds room for `items`, and counts how often it was asked."""

    def __init__(self, items: int) -> None:
        self.items, self.measured = items, 0

    def begin(self) -> None:
        pass

    def fitting(self) -> int:
        self.measured += 1
        return self.items


def _work(model: _Model, room: dict[str, int], tried: list[tuple[str, int]]) -> Callable[[range], list[int]]:
    def work(batch: range) -> list[int]:
        tried.append((model.device.type, len(batch)))
        if len(batch) > room[model.device.type]:
            raise torch.OutOfMemoryError("no room")
        return list(batch)

    return work


def test_smaller_batches_come_before_the_cpu() -> None:
    model, tried = _Model(), list[tuple[str, int]]()
    batches = Batches(model, _GPU, side=256, size=8)
    done = [one for _, part in batches.run(10, _work(model, {"mps": 2, "cpu": 8}, tried)) for one in part]
    assert done == list(range(10))
    assert tried == [("mps", 8), ("mps", 4), *[("mps", 2)] * 5]


def test_the_cpu_comes_before_the_named_failure_and_the_next_run_begins_at_the_top() -> None:
    model, tried = _Model(), list[tuple[str, int]]()
    batches = Batches(model, _GPU, side=256, size=2)
    assert [part for _, part in batches.run(3, _work(model, {"mps": 0, "cpu": 2}, tried))] == [[0, 1], [2]]
    assert ("mps", 1) in tried
    assert tried[-2:] == [("cpu", 2), ("cpu", 1)]
    tried.clear()
    with pytest.raises(OutOfMemory, match="not even one image"):
        list(batches.run(1, _work(model, {"mps": 0, "cpu": 0}, tried)))
    assert tried[0][0] == "mps"
    assert model.moves == ["mps", "cpu", "mps", "cpu"]


@pytest.mark.parametrize(
    "error", [MemoryError("numpy"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")]
)
def test_a_cpu_runs_out_of_memory_under_other_names(error: Exception) -> None:
    def work(batch: range) -> int:
        if len(batch) > 1:
            raise error
        return len(batch)

    assert [one for _, one in Batches(_Model(), _CPU, side=256, size=4).run(2, work)] == [1, 1]


def test_other_errors_are_not_swallowed() -> None:
    def work(batch: range) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Batches(_Model(), _CPU, side=256).run(1, work))


@pytest.mark.parametrize(("side", "size"), [(256, 8), (512, 2), (1024, 1)])
def test_a_cpu_sees_so_many_pixels_at_once(side: int, size: int) -> None:
    assert Batches(_Model(), _CPU, side).size == size


def test_the_first_run_has_the_batches_of_every_later_one() -> None:
    model, gauge = _Model(), _Gauge(3)
    batches = Batches(model, _GPU, side=256, gauge=gauge)
    runs, tried = list[list[list[int]]](), list[tuple[str, int]]()
    for _ in range(3):
        runs.append([part for _, part in batches.run(7, _work(model, {"mps": 8, "cpu": 8}, tried))])
    assert runs == [[[0, 1, 2], [3, 4, 5], [6]]] * 3
    assert gauge.measured == 1
    assert tried == [("mps", 1), *[("mps", 3), ("mps", 3), ("mps", 1)] * 3]  # the first alone, thrown away


def test_nothing_is_measured_on_the_cpu_or_where_the_size_is_given() -> None:
    for device, size in ((_CPU, None), (_GPU, 4)):
        model, gauge = _Model(), _Gauge(1)
        batches = Batches(model, device, side=256, size=size, gauge=gauge)
        assert len(list(batches.run(4, _work(model, {"mps": 8, "cpu": 8}, [])))) == 1
        assert gauge.measured == 0


def test_one_that_does_not_fit_when_measured_goes_down_the_ladder() -> None:
    model, gauge, tried = _Model(), _Gauge(3), list[tuple[str, int]]()
    batches = Batches(model, _GPU, side=256, gauge=gauge)
    done = [one for _, part in batches.run(3, _work(model, {"mps": 0, "cpu": 8}, tried)) for one in part]
    assert done == [0, 1, 2] and tried[-1] == ("cpu", 3) and gauge.measured == 0
