"""A run's settings: every mistake at once, paths relative to the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inference.errors import InferenceError
from inference.training.settings import STAGES, LoraSettings, TrainSettings, read_settings, settings_template


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('stage = "joint"\nout = "runs/a"\nqa = "qa"\ncheckpoint = "start"\n')
    settings = read_settings(tmp_path / "run.toml")
    assert settings.checkpoint == str(tmp_path / "start")
    assert settings.out == tmp_path / "runs/a"
    assert settings.qa == tmp_path / "qa"


def test_every_mistake_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('stage = "dance"\nout = "a"\nsteps = 0\nbatchsize = 3\n')
    with pytest.raises(InferenceError) as caught:
        read_settings(tmp_path / "run.toml")
    for name in ("stage", "steps", "batchsize", "run.toml", "did you mean batch_size?"):
        assert name in str(caught.value)


def test_a_stage_that_is_nearly_right_is_meant(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('stage = "langauge"\nout = "a"\n')
    with pytest.raises(InferenceError, match="no stage 'langauge'; did you mean language"):
        read_settings(tmp_path / "run.toml")


@pytest.mark.parametrize("stage, lacks", [("joint", "qa"), ("language", "qa"), ("grounding", "images")])
def test_what_a_stage_needs_is_asked_for(tmp_path: Path, stage: str, lacks: str) -> None:
    (tmp_path / "run.toml").write_text(f'stage = "{stage}"\nout = "a"\n')
    with pytest.raises(InferenceError, match=f"needs {lacks}"):
        read_settings(tmp_path / "run.toml")


def test_a_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("stage = ")
    with pytest.raises(InferenceError, match="not TOML"):
        read_settings(tmp_path / "broken.toml")


@pytest.mark.parametrize("stage", ["grounding", "language", "compose"])
def test_what_a_stage_does_not_read_is_refused(tmp_path: Path, stage: str) -> None:
    (tmp_path / "run.toml").write_text(
        f'stage = "{stage}"\nout = "a"\nimages = "i"\nqa = "q"\nwarmup_steps = 3\nprecision = "bf16"\n'
    )
    with pytest.raises(InferenceError, match=r"does not read .*precision, .*warmup_steps"):
        read_settings(tmp_path / "run.toml")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes('out = "gehört"'.encode("latin-1"))
    with pytest.raises(InferenceError, match="not UTF-8"):
        read_settings(tmp_path / "run.toml")


@pytest.mark.parametrize("stage", STAGES)
def test_a_template_says_every_setting_with_its_default(stage: str, tmp_path: Path) -> None:
    template = settings_template(stage)
    bare = tmp_path / "bare.toml"
    bare.write_text(template)
    whole = tmp_path / "whole.toml"
    whole.write_text(re.sub(r"(?m)^# ", "", template))
    assert read_settings(bare).model_dump(exclude={"lora"}) == read_settings(whole).model_dump(exclude={"lora"})
    assert read_settings(whole).lora == (LoraSettings() if stage == "joint" else None)
    unsaid = [
        name for name in TrainSettings.model_fields if f"{name} = " not in template and f"[{name}]" not in template
    ]
    for name in unsaid:
        refused = tmp_path / "refused.toml"
        refused.write_text(f"{template.partition('# [lora]')[0]}\n{name} = 1\n")
        with pytest.raises(InferenceError, match=name):
            read_settings(refused)
