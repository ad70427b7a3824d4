"""The loop of the small stages: exact resumption, rates, a running mean, and what it leaves for people."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inference.training.settings import TrainSettings
from inference.training.steps import cosine_rate, run_steps, seed_of


def _settings(out: Path, **more: object) -> TrainSettings:
    return TrainSettings.model_validate({"stage": "grounding", "out": out, "steps": 6, "save_every": 2, **more})


class _Stopped(Exception):
    pass


def _run(settings: TrainSettings, stops_at: int | None = None) -> nn.Module:
    """Fit a line to what each step draws, dropout included; killed in the step `stops_at`."""
    torch.manual_seed(3)
    stage = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimiser = torch.optim.AdamW(stage.parameters(), lr=0.01)

    def losses(step: int) -> dict[str, Tensor]:
        if step == stops_at:
            raise _Stopped
        rows = torch.randn(16, 4)
        return {"line": (stage(rows)[:, 0] - rows.sum(dim=1)).square().mean(), "size": stage[0].weight.square().mean()}

    run_steps(stage, optimiser, losses, {"line": 1.0, "size": 0.1}, settings)
    return stage


def test_a_stopped_stage_goes_on_exactly(tmp_path: Path) -> None:
    whole = _run(_settings(tmp_path / "whole"))
    with pytest.raises(_Stopped):
        _run(_settings(tmp_path / "stopped"), stops_at=5)  # step 5 is lost, the state after step 4 is there
    resumed = _run(_settings(tmp_path / "stopped"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    first, second = (torch.load(tmp_path / run / "grounding.pt", weights_only=True) for run in ("whole", "stopped"))
    assert all(torch.equal(first["average"][name], second["average"][name]) for name in first["average"])
    logs = [(tmp_path / run / "grounding.jsonl").read_text() for run in ("whole", "stopped")]
    assert logs[0] == logs[1]
    noted = [json.loads(line) for line in logs[1].splitlines()]
    assert [line["step"] for line in noted] == [1, 2, 3, 4, 5, 6]
    assert [line["rate"] for line in noted] == [
        pytest.approx(0.01 * cosine_rate(n, 6, 150), rel=0.01) for n in range(6)
    ]


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    first, second = _run(_settings(tmp_path / "a")), _run(_settings(tmp_path / "b", seed=1))
    assert not torch.equal(first[0].weight, second[0].weight)  # type: ignore[index]
    assert seed_of(0, 1) != seed_of(1, 0)


def test_it_leaves_events_and_curves(tmp_path: Path) -> None:
    _run(_settings(tmp_path))
    assert list((tmp_path / "grounding").glob("events.out.tfevents*"))
    assert (tmp_path / "grounding.png").stat().st_size > 1000


def test_the_running_mean_lags_behind(tmp_path: Path) -> None:
    stage = _run(_settings(tmp_path, steps=40))
    average = torch.load(tmp_path / "grounding.pt", weights_only=True)["average"]
    torch.manual_seed(3)
    start = nn.Linear(4, 8).weight
    moved = (stage[0].weight - start).norm()  # type: ignore[index, operator]
    assert 0.1 * moved < (average["0.weight"] - start).norm() < moved


def test_a_mean_over_one_step_is_the_last_weights(tmp_path: Path) -> None:
    stage = _run(_settings(tmp_path, averaged_steps=1))
    average = torch.load(tmp_path / "grounding.pt", weights_only=True)["average"]
    assert all(torch.equal(average[name], value) for name, value in stage.state_dict().items())


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [cosine_rate(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.01)
