"""A run that goes on: only under the settings it began with, and from a state that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.errors import CheckpointError, InferenceError
from inference.training.run import run_training
from inference.training.settings import LoraSettings, TrainSettings

pytest.importorskip("accelerate")


@pytest.fixture
def settings(make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        stage="joint", out=tmp_path / "run", qa=make_qa(), checkpoint=str(checkpoint_folder), steps=2, save_every=1,
        batch_size=1, accept_research_use=True, trained=("prompt_projector",),
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_goes_on_as_it_began_or_not_at_all(settings: TrainSettings) -> None:
    run_training(settings)
    changed = settings.model_copy(update={"batch_size": 2, "lora": LoraSettings()})
    with pytest.raises(InferenceError, match=r"batch_size = 1, lora = None") as told:
        run_training(changed)
    assert str(settings.out) in str(told.value)
    assert run_training(settings.model_copy(update={"steps": 3, "threads": 2})) == settings.out / "checkpoint"


def test_a_folder_that_cannot_be_written_is_named(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InferenceError, match=r"file.run cannot be written to .*name another out"):
        run_training(settings.model_copy(update={"out": tmp_path / "file" / "run"}))


@pytest.mark.parametrize("wrong", ["qa", "images"])
def test_what_is_missing_is_found_before_a_folder_is_made(settings: TrainSettings, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(InferenceError, match="nonesuch"):
        run_training(settings.model_copy(update={wrong: tmp_path / "nonesuch"}))
    assert not settings.out.exists()


def test_a_state_that_is_cut_off_is_named(settings: TrainSettings) -> None:
    run_training(settings)
    state = settings.out / "state" / "2" / "model.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(InferenceError, match=r"state.2 cannot be read.*remove"):
        run_training(settings)


def test_projections_that_are_not_there_are_named(settings: TrainSettings) -> None:
    lora = LoraSettings(projections=("nonesuch",))
    with pytest.raises(CheckpointError, match=r"no projections nonesuch .*q_proj"):
        run_training(settings.model_copy(update={"lora": lora}))
