"""Joint training on a tiny random model: it learns, a stopped run goes on exactly, and its checkpoint answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inference.errors import InferenceError
from inference.medseg_r.checkpoint import load_checkpoint
from inference.training.joint import train_joint
from inference.training.settings import LoraSettings, TrainSettings

pytest.importorskip("accelerate")


def _settings(qa: Path, checkpoint: Path, out: Path, **more: object) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "stage": "joint",
            "out": out,
            "qa": qa,
            "checkpoint": str(checkpoint),
            "accept_research_use": True,
            "steps": 4,
            "batch_size": 2,
            "save_every": 2,
            "warmup_steps": 1,
            "trained": ("*",),
            "learning_rate": 1e-3,
            **more,
        }
    )


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def test_a_stopped_run_goes_on_exactly(
    make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qa = make_qa()
    whole = train_joint(_settings(qa, checkpoint_folder, tmp_path / "whole"))
    stopped = _settings(qa, checkpoint_folder, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr("inference.training.joint._save_state", _stop_after(2))
        with pytest.raises(KeyboardInterrupt):
            train_joint(stopped)
    resumed = train_joint(stopped)
    first, second = _weights(whole), _weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_it_leaves_curves_logs_and_a_checkpoint_that_loads(
    make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    folder = train_joint(_settings(make_qa(), checkpoint_folder, out, accumulation=2))
    assert (out / "curves.png").stat().st_size > 1000
    assert list(out.glob("events.out.tfevents*"))
    trained = load_checkpoint(folder, accept_research_use=True)
    start = load_checkpoint(checkpoint_folder, accept_research_use=True)
    assert trained.description.terms == start.description.terms
    assert trained.description.digest != start.description.digest


def test_lora_trains_only_what_is_named(make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path) -> None:
    lora = LoraSettings(rank=2, alpha=4)
    folder = train_joint(
        _settings(make_qa(), checkpoint_folder, tmp_path / "run", lora=lora, trained=("lora_", "prompt_projector"))
    )
    before, after = _weights(checkpoint_folder), _weights(folder)
    changed = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    assert changed and all("prompt_projector" in name for name in changed)
    assert any("lora_" in name for name in after)


def test_training_nothing_is_an_error(make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="nothing would be trained"):
        train_joint(_settings(make_qa(), checkpoint_folder, tmp_path / "run", trained=("no such name",)))


def _stop_after(step: int) -> Callable[..., None]:
    from inference.training.joint import _save_state

    def save(*arguments: object) -> None:
        _save_state(*arguments)  # type: ignore[arg-type]
        if arguments[-1] == step:
            raise KeyboardInterrupt

    return save
