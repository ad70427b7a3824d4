"""Joint training on a tiny random model: it learns, a stopped run goes on exactly, and its checkpoint answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from inference.errors import InferenceError
from inference.medseg_r.checkpoint import load_checkpoint, set_thresholds
from inference.medseg_r.description import Thresholds
from inference.training.joint import train_joint
from inference.training.journal import Journal
from inference.training.settings import LoraSettings, TrainSettings

pytest.importorskip("accelerate")
pytestmark = pytest.mark.slow


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
        patch.setattr(Journal, "add", _stopping_at(3, Journal.add))
        with pytest.raises(KeyboardInterrupt):
            train_joint(stopped)
    resumed = train_joint(stopped)
    first, second = _weights(whole), _weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "joint.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_it_leaves_curves_logs_and_a_checkpoint_that_loads(
    make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    folder = train_joint(_settings(make_qa(), checkpoint_folder, out, accumulation=2))
    assert (out / "joint.png").stat().st_size > 1000
    assert list(out.glob("joint/events.out.tfevents*"))
    trained = load_checkpoint(folder, accept_research_use=True)
    start = load_checkpoint(checkpoint_folder, accept_research_use=True)
    assert trained.description.terms == start.description.terms
    assert trained.description.digest != start.description.digest
    assert trained.calibrated is None  # nobody knows what those of the start were chosen on


def test_it_says_that_thresholds_are_older_than_the_weights(
    make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path
) -> None:
    set_thresholds(checkpoint_folder, Thresholds(), (), by={"split": "val", "images": 7})
    folder = train_joint(_settings(make_qa(), checkpoint_folder, tmp_path / "run"))
    noted = load_checkpoint(folder, accept_research_use=True).calibrated
    assert noted is not None and noted["images"] == 7 and "calibrate" in noted["since"]


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


def test_only_the_latest_state_is_kept(make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path) -> None:
    train_joint(_settings(make_qa(), checkpoint_folder, tmp_path / "run", save_every=1, steps=3))
    assert sorted(path.name for path in (tmp_path / "run" / "state").iterdir()) == ["3", "latest"]


def test_two_processes_train_and_resume(make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path) -> None:
    own = _settings(make_qa(), checkpoint_folder, tmp_path, batch_size=1, accumulation=2, steps=6, save_every=3)
    settings = own.model_dump_json(include=own.model_fields_set)
    folder = tmp_path / "two"
    folder.mkdir()
    ports = _free_ports(2)
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(ports[0]),
        "SECOND_PORT": str(ports[1]),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script = Path(__file__).with_name("one_of_two.py")
    running = [
        subprocess.Popen(
            [sys.executable, str(script), settings, str(folder)],
            env=environment | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        for one in running:
            _, told = one.communicate(timeout=200)
            assert one.returncode == 0, told[-3000:]
    finally:
        for one in running:
            one.kill()
    first, second = (json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # the same weights in both
    assert first[0] == pytest.approx(0.01 * own.peak_rate)  # the cosine ended with the run, not at half of it
    resumed, whole = _weights(folder / "stopped" / "checkpoint"), _weights(folder / "whole" / "checkpoint")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in resumed)
    load_checkpoint(folder / "whole" / "checkpoint", accept_research_use=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _stopping_at(step: int, add: Callable[..., None]) -> Callable[..., None]:
    def stopping(journal: Journal, current: int, *more: Any, **named: Any) -> None:
        if current == step:
            raise KeyboardInterrupt
        add(journal, current, *more, **named)

    return stopping
