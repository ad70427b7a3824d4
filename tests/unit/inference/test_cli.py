"""The command medseg-r, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from inference.cli import app
from inference.errors import CheckpointError, OutOfMemory
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.grounding import Grounding
from inference.open import describe_predictor
from tests.unit.inference.medseg_r.conftest import FAMILIES, sam_sizes

runner = CliRunner()


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    """What init is given: a JSON file instead of a preset, so that the model is small."""
    torch.manual_seed(0)
    FAMILIES["qwen2_5_vl"](tmp_path / "language")
    torch.save(Grounding(sam_sizes()).state_dict(), tmp_path / "sam.pth")
    config = MedSegRConfig(context_square=64, grounding=sam_sizes())
    (tmp_path / "small.json").write_text(json.dumps(config.to_json()))
    given = {"preset": "small.json", "language-model": "language", "grounding": "sam.pth", "out": "composed"}
    return [word for name, value in given.items() for word in (f"--{name}", str(tmp_path / value))]


def test_init_composes_and_info_tells(parts: list[str], tmp_path: Path) -> None:
    done = runner.invoke(app, ["init", *parts, "--terms", "MIT"])
    assert done.exit_code == 0, done.output
    out = tmp_path / "composed"
    loaded = load_checkpoint(out)
    assert loaded.description.digest in done.output
    told = json.loads(runner.invoke(app, ["info", str(out), "--json"]).stdout)
    assert told["name"] == "small"
    assert told["terms"] == "MIT"
    assert told["digest"] == loaded.description.digest
    assert told["language model"] == "Qwen2_5_VLForConditionalGeneration"
    assert "MIT" in runner.invoke(app, ["info", str(out)]).stdout
    again = runner.invoke(app, ["init", *parts])
    assert again.exit_code == 2
    assert "not empty" in again.output


def test_what_was_never_trained_answers_nothing(parts: list[str], tmp_path: Path, make_qa: Callable[[], Path]) -> None:
    assert runner.invoke(app, ["init", *parts]).exit_code == 0
    out = str(tmp_path / "composed")
    done = runner.invoke(app, ["evaluate", "--checkpoint", out, "--qa", str(make_qa()), "--split", "all"])
    assert done.exit_code == 2
    assert "never trained" in done.output
    with pytest.raises(CheckpointError, match="never trained"):
        describe_predictor(out)


def test_init_that_fails_leaves_no_folder(parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "sam.pth").write_bytes(b"")
    assert runner.invoke(app, ["init", *parts]).exit_code == 2
    assert not (tmp_path / "composed").exists()


def test_info_misses_a_file_and_verifies_the_digest(checkpoint_folder: Path) -> None:
    assert runner.invoke(app, ["info", str(checkpoint_folder), "--verify"]).exit_code == 0
    path = checkpoint_folder / "grounding.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert runner.invoke(app, ["info", str(checkpoint_folder)]).exit_code == 0
    done = runner.invoke(app, ["info", str(checkpoint_folder), "--verify"])
    assert (done.exit_code, "altered" in done.output) == (2, True)
    path.unlink()
    done = runner.invoke(app, ["info", str(checkpoint_folder)])
    assert (done.exit_code, "lacks" in done.output) == (2, True)


def test_settings_prints_a_file_to_begin_with() -> None:
    assert 'stage = "joint"' in runner.invoke(app, ["settings", "joint"]).stdout
    done = runner.invoke(app, ["settings", "dance"])
    assert (done.exit_code, "grounding, language, compose, joint" in done.output) == (2, True)


def test_info_names_a_file_that_was_copied_in_part(checkpoint_folder: Path) -> None:
    path = checkpoint_folder / "grounding.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    done = runner.invoke(app, ["info", str(checkpoint_folder)])
    assert done.exit_code == 2
    assert "grounding.safetensors is truncated" in done.output
    path.write_bytes(b"not at all")
    assert runner.invoke(app, ["info", str(checkpoint_folder)]).exit_code == 2


def test_mistakes_are_told_in_a_line(parts: list[str], tmp_path: Path) -> None:
    unknown = runner.invoke(app, ["init", "--preset", "huge", *parts[2:]])
    assert unknown.exit_code == 2
    assert "lingshu-7b+medsam-b" in unknown.output
    wrong_size = runner.invoke(app, ["init", "--preset", "lingshu-7b+medsam-b", *parts[2:]])
    assert wrong_size.exit_code == 2
    assert "of another size" in wrong_size.output
    nothing = runner.invoke(app, ["info", str(tmp_path / "nothing")])
    assert nothing.exit_code == 2
    assert "no checkpoint" in nothing.output


def _told(output: str) -> str:
    """What a mistake said: one line, and no traceback."""
    assert output.startswith("medseg-r: "), output
    assert output.count("\n") == 1, output
    return output


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "JSON object"),
        ({"language_storage": "floatx"}, "language_storage must be one of float32"),
        ({"grounding": 5}, "grounding must be"),
        ({"grounding": {"layers": "four"}}, "layers must be a whole number"),
    ],
)
def test_a_preset_file_that_is_no_configuration_is_told_in_a_line(tmp_path: Path, content: object, named: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    call = ["init", "--preset", str(path), "--language-model", "x", "--grounding", "x", "--out", str(tmp_path / "out")]
    done = runner.invoke(app, call)
    assert done.exit_code == 2
    assert named in _told(done.output)
    assert "mine.json" in done.output
    assert "lingshu-7b+medsam-b" in done.output


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_init_into_a_file_is_told_in_a_line(tmp_path: Path, out: str) -> None:
    (tmp_path / "taken").write_text("")
    call = ["init", "--preset", "tiny", "--language-model", "x", "--grounding", "x", "--out", str(tmp_path / out)]
    done = runner.invoke(app, call)
    assert done.exit_code == 2
    assert out in _told(done.output)
    assert "name a new folder" in done.output


@pytest.mark.parametrize(
    "change", [{"model": []}, {"model": 5}, {"model": {"grounding": 5}}, {"terms": 5}, {"thresholds": 5}, {"digest": 5}]
)
def test_a_description_of_the_wrong_kind_is_told_in_a_line(tmp_path: Path, change: dict[str, object]) -> None:
    stated = {"name": "x", "version": "1", "digest": "0", "terms": None, "thresholds": {}, "model": {}}
    (tmp_path / "checkpoint.json").write_text(json.dumps(stated | change))
    done = runner.invoke(app, ["info", str(tmp_path)])
    assert done.exit_code == 2
    assert next(iter(change)) in _told(done.output)
    assert "checkpoint.json" in done.output


def test_info_knows_tiny_and_gives_no_advice_for_the_node(tmp_path: Path) -> None:
    told = json.loads(runner.invoke(app, ["info", "tiny", "--json"]).stdout)
    assert told["name"] == "medseg-r tiny"
    assert "[model]" not in runner.invoke(app, ["info", str(tmp_path)]).output
    lines = runner.invoke(app, ["info", "tiny"]).stdout.splitlines()
    assert not any(bracket in line for line in lines for bracket in "{}[]")
    [ct] = [line for line in lines if line.startswith("learned CT ")]
    assert "liver" in ct and "polyp" not in ct
    assert any(line.startswith("memory needed ") for line in lines)


@pytest.mark.parametrize("other", ["my_package.adapter:Segmenter", "https://gpu.hospital.example:8090"])
def test_info_names_the_commands_for_what_is_no_checkpoint(other: str) -> None:
    done = runner.invoke(app, ["info", other])
    assert done.exit_code == 2
    told = _told(done.output)
    assert f"medseg-r conform {other}" in told and ("medseg-r serve" in told) == ("https" not in other)


@pytest.mark.parametrize("wrong", ["device", "qa", "key", "out"])
def test_evaluate_finds_a_wrong_call_before_it_loads(
    make_qa: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("inference.evaluation.report.open_predictor", load)
    qa = tmp_path / "nothing" if wrong == "qa" else make_qa()
    if wrong == "key":
        lines = (qa / "records.jsonl").read_text().splitlines()
        row = json.loads(lines[1])
        del row["targets"]
        (qa / "records.jsonl").write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]))
    (tmp_path / "taken").write_text("")
    call = ["evaluate", "--checkpoint", "tiny", "--qa", str(qa), "--device", "banana" if wrong == "device" else "cpu"]
    done = runner.invoke(app, [*call, "--out", str(tmp_path / ("taken" if wrong == "out" else "out"))])
    named = {"device": "'banana'", "qa": "medseg-qa build", "key": "line 2: not a MedSeg-QA record: it lacks the key"}
    assert done.exit_code == 2
    assert named.get(wrong, "taken cannot be made a folder") in _told(done.output)


def test_no_memory_is_work_that_failed(make_qa: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise OutOfMemory("not even one image fits into the memory")

    monkeypatch.setattr("inference.evaluation.report.open_predictor", load)
    done = runner.invoke(app, ["evaluate", "--checkpoint", "tiny", "--qa", str(make_qa()), "--device", "cpu"])
    assert done.exit_code == 1
    assert "memory" in _told(done.output)


def test_help_needs_no_torch() -> None:
    script = "import sys, inference.cli; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_evaluate_prints_json_alone_and_draws(
    make_qa: Callable[[], Path], checkpoint_folder: Path, tmp_path: Path
) -> None:
    call = [sys.executable, "-m", "inference.cli", "evaluate", "--checkpoint", str(checkpoint_folder)]
    call += ["--qa", str(make_qa()), "--split", "test", "--device", "cpu", "--out", str(tmp_path / "figures")]
    done = subprocess.run([*call, "--json"], capture_output=True, text=True, check=True, timeout=200)
    told = json.loads(done.stdout)  # whatever was logged while a random model babbles went to stderr
    assert set(told["overall"]) >= {"dice", "giou", "ciou", "present_recall", "absent_specificity", "n"}
    assert told["labels"].keys() >= {"liver", "spleen"}
    assert told["seconds_per_image"] > 0
    assert {one.name for one in (tmp_path / "figures").iterdir()} == {"evaluation.json", "cases.png", "reliability.png"}


def test_evaluate_and_train_tell_mistakes_in_a_line(tmp_path: Path) -> None:
    split = runner.invoke(app, ["evaluate", "--checkpoint", "tiny", "--qa", str(tmp_path), "--split", "exam"])
    assert split.exit_code == 2
    assert "zero_shot" in split.output
    nothing = runner.invoke(app, ["evaluate", "--checkpoint", "tiny", "--qa", str(tmp_path)])
    assert nothing.exit_code == 2
    assert "medseg-qa build" in nothing.output
    settings = runner.invoke(app, ["train", "--config", str(tmp_path / "none.toml")])
    assert settings.exit_code == 2
    assert "none.toml" in settings.output
