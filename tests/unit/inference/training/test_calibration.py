"""Calibration of a finished checkpoint by its own answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from inference.cli import app
from inference.errors import InferenceError
from inference.medseg_r.checkpoint import load_checkpoint, set_card
from inference.medseg_r.context import GeneratedAnswer, GlobalContext
from inference.medseg_r.grounding import Grounding, MaskPrediction
from inference.training import calibration
from inference.training.calibration import calibrate_checkpoint, judge_answers
from tests.unit.inference.fake_model import CARD, learned


def _says_liver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer names the liver, whether it is asked for or not."""

    def speak(context: GlobalContext, _prefix: object, asked: list[Any], _most: int) -> list[list[GeneratedAnswer]]:
        ids = tuple(context.tokenizer.answer("The CT shows <p> liver </p> [SEG].")[:-1])
        return [[GeneratedAnswer(ids, torch.zeros(1, context.width))] for _ in asked]

    monkeypatch.setattr(GlobalContext, "generate", speak)


def _draws_the_liver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The square where `make_qa` has its livers, of a quality that two of three times deserves its mask."""
    calls = 0

    def decode(grounding: Grounding, _features: object, prompts: torch.Tensor) -> MaskPrediction:
        nonlocal calls
        calls += 1
        side = grounding.config.image_size
        logits = torch.full((len(prompts), side, side), -5.0)
        logits[:, 36:100, 23:92] = 5.0
        return MaskPrediction(logits, torch.full((len(prompts),), 0.3 + 0.01 * (calls % 40)))

    monkeypatch.setattr(Grounding, "decode", decode)


def test_answers_are_judged_by_what_they_name(
    make_qa: Callable[[], Path], checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _says_liver(monkeypatch)
    _draws_the_liver(monkeypatch)
    qa = make_qa()
    judged = judge_answers(load_checkpoint(checkpoint_folder, accept_research_use=True), qa, "train")
    scores = [one.dice[0] for one in judged]
    assert max(scores) > 0.7  # the liver, where it was asked for
    assert min(scores) == -1.0  # what is not there was drawn all the same
    assert len({one.image for one in judged}) > 1


def test_a_checkpoint_gets_thresholds_and_a_digest_of_its_own(
    make_qa: Callable[[], Path], checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _says_liver(monkeypatch)
    _draws_the_liver(monkeypatch)
    monkeypatch.setattr(calibration, "_FEWEST", 5)
    before = load_checkpoint(checkpoint_folder, accept_research_use=True)
    told = calibrate_checkpoint(checkpoint_folder, make_qa(), "train")
    after = load_checkpoint(checkpoint_folder, accept_research_use=True)  # whole: its digest fits
    assert told["digest"] == after.description.digest != before.description.digest
    assert vars(after.thresholds) == told["thresholds"]
    assert after.calibration != before.calibration
    assert 0 < told["cross_validated"]["dice"] <= 1


def test_calibration_notes_in_the_card_from_which_confidence_a_label_is_claimed(
    make_qa: Callable[[], Path], checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _says_liver(monkeypatch)
    _draws_the_liver(monkeypatch)
    monkeypatch.setattr(calibration, "_FEWEST", 5)
    monkeypatch.setattr(calibration, "least_confidences", lambda looked: {("liver", "CT"): 0.4})
    stale = replace(CARD, labels=(learned("liver", least=0.9), learned("spleen", least=0.9)))
    set_card(checkpoint_folder, stale, None)
    told = calibrate_checkpoint(checkpoint_folder, make_qa(), "train")
    after = load_checkpoint(checkpoint_folder, accept_research_use=True)
    assert after.card is not None and told["digest"] == after.description.digest
    assert [entry.least_confidence for entry in after.card.labels] == [0.4, None]
    assert told["least_confidence"] == {"liver (CT)": 0.4}


def test_a_model_that_names_nothing_cannot_be_calibrated(
    make_qa: Callable[[], Path], checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(context: GlobalContext, _prefix: object, asked: list[Any], _most: int) -> list[list[GeneratedAnswer]]:
        ids = tuple(context.tokenizer.answer("No liver is seen.")[:-1])
        return [[GeneratedAnswer(ids, torch.zeros(0, context.width))] for _ in asked]

    monkeypatch.setattr(GlobalContext, "generate", speak)
    before = (checkpoint_folder / "checkpoint.json").read_text()
    with pytest.raises(InferenceError, match="name 0 things that are there"):
        calibrate_checkpoint(checkpoint_folder, make_qa(), "train")
    assert (checkpoint_folder / "checkpoint.json").read_text() == before


def test_the_command_tells_what_it_set_and_leaves_tiny_alone(
    make_qa: Callable[[], Path], checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _says_liver(monkeypatch)
    _draws_the_liver(monkeypatch)
    monkeypatch.setattr(calibration, "_FEWEST", 5)
    qa = str(make_qa())
    run = CliRunner()
    done = run.invoke(
        app, ["calibrate", "--checkpoint", str(checkpoint_folder), "--qa", qa, "--split", "test", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["digest"] in (checkpoint_folder / "checkpoint.json").read_text()
    assert f"chosen by {json.loads(done.stdout)['masks']} masks" in done.stderr
    refused = run.invoke(app, ["calibrate", "--checkpoint", "tiny", "--qa", qa])
    assert refused.exit_code == 2
    assert "copy its folder" in refused.output
    empty = run.invoke(app, ["calibrate", "--checkpoint", str(checkpoint_folder), "--qa", qa, "--split", "val"])
    assert empty.exit_code == 2
    assert "holds no image" in empty.output
