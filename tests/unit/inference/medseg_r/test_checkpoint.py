"""Checkpoints: whole, or refused by name."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.card import CARD_FILE
from inference.errors import CheckpointError, NotCalibrated, TermsNotAccepted
from inference.medseg_r import checkpoint
from inference.medseg_r.checkpoint import digest_of, load_checkpoint, load_described, save_checkpoint, set_card
from inference.medseg_r.description import SHIPPED, Thresholds, read_description
from inference.medseg_r.model import MedSegR
from inference.notices import UNCALIBRATED, WITHOUT_CARD
from inference.open import describe_predictor, open_predictor
from tests.unit.inference.fake_model import CARD


def test_what_was_saved_is_loaded(checkpoint_folder: Path, model: MedSegR) -> None:
    loaded = load_checkpoint(checkpoint_folder, accept_research_use=True)
    for name, value in model.state_dict().items():
        assert torch.allclose(loaded.model.state_dict()[name], value, atol=2e-3, rtol=2e-3), name
    language = loaded.model.language_model
    assert loaded.calibration == ((0.0, 0.0), (0.5, 0.5), (1.0, 0.9))
    assert language.lm_head.weight is language.get_input_embeddings().weight


def test_a_large_language_model_is_saved_in_shards(
    model: MedSegR, checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.medseg_r.checkpoint._SHARD", "50KB")
    folder = tmp_path / "sharded"
    save_checkpoint(folder, model, name="x", version="0", terms=None, thresholds=Thresholds())
    shards = sorted((folder / "language_model").glob("*.safetensors"))
    assert len(shards) > 1
    whole = load_checkpoint(checkpoint_folder, accept_research_use=True).model.state_dict()
    for name, value in load_checkpoint(folder).model.state_dict().items():
        assert torch.equal(value, whole[name])
    shards[0].unlink()
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(folder)


def test_loading_leaves_the_random_state_alone(checkpoint_folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_checkpoint(checkpoint_folder, accept_research_use=True)
    assert torch.equal(torch.rand(1), expected)


def test_research_only_weights_need_consent(checkpoint_folder: Path) -> None:
    with pytest.raises(TermsNotAccepted, match="accept_research_use"):
        open_predictor(str(checkpoint_folder))
    described = describe_predictor(str(checkpoint_folder), accept_research_use=True)
    assert described.terms == f"research use only; {WITHOUT_CARD}"


def test_the_card_belongs_to_what_the_digest_is_of(checkpoint_folder: Path) -> None:
    before = read_description(checkpoint_folder)
    assert before.card is None
    written = set_card(checkpoint_folder, CARD, None)
    loaded = load_checkpoint(checkpoint_folder, accept_research_use=True)
    assert loaded.card == CARD and loaded.description.digest == written.digest != before.digest
    assert describe_predictor(str(checkpoint_folder), accept_research_use=True).terms == "research use only"
    path = checkpoint_folder / CARD_FILE
    path.write_text(path.read_text().replace('"liver"', '"spine"'))
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)
    path.write_text('{"labels": []}')
    with pytest.raises(CheckpointError, match=rf"{CARD_FILE}: labels is empty"):
        open_predictor(str(checkpoint_folder), accept_research_use=True)


def test_weights_shipped_before_cards_keep_digest_and_have_one(tmp_path: Path) -> None:
    described = read_description(SHIPPED)
    if described.version != "0.6":
        pytest.skip("the weights shipped now bring a card")
    assert digest_of(SHIPPED, described.stated) == described.digest
    assert described.card is not None and described.card.learned("liver", "CT")


def test_weights_without_calibration_need_consent_and_say_so(model: MedSegR, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, model, name="x", version="1", terms=None, thresholds=Thresholds())
    with pytest.raises(NotCalibrated, match="accept_uncalibrated"):
        open_predictor(str(tmp_path))
    with pytest.raises(NotCalibrated, match="medseg-r calibrate"):
        describe_predictor(str(tmp_path))
    predictor = open_predictor(str(tmp_path), accept_uncalibrated=True)
    assert UNCALIBRATED in (predictor.description.terms or "")
    assert describe_predictor(str(tmp_path), accept_uncalibrated=True) == predictor.description


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        open_predictor(str(tmp_path / "nowhere"))


def test_a_truncated_file_is_refused(checkpoint_folder: Path) -> None:
    weights = checkpoint_folder / "grounding.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


def test_altered_weights_are_refused(checkpoint_folder: Path) -> None:
    weights = checkpoint_folder / "grounding.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_missing_or_extra_tensor_is_named(checkpoint_folder: Path, change: str) -> None:
    weights = checkpoint_folder / "grounding.safetensors"
    tensors = load_file(weights)
    if change == "missing":
        del tensors["prompt_projector.0.weight"]
    else:
        tensors["prompt_projector.9.weight"] = torch.zeros(1)
    save_file(tensors, weights)
    _restate_digest(checkpoint_folder)
    with pytest.raises(CheckpointError, match=r"prompt_projector\.[09]\.weight"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


@pytest.mark.parametrize("change", ["missing", "extra", "of another shape"])
def test_a_wrong_tensor_of_the_language_model_is_named(checkpoint_folder: Path, change: str) -> None:
    weights = checkpoint_folder / "language_model" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("layers.0.self_attn.q_proj.weight") and "vision" not in name)
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors[name := "lost.weight"] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, weights, metadata={"format": "pt"})
    _restate_digest(checkpoint_folder)
    with pytest.raises(CheckpointError, match=f"{change}.*{name.removeprefix('language_model.').split('.', 1)[1]}"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


def test_changed_thresholds_are_another_digest(checkpoint_folder: Path) -> None:
    path = checkpoint_folder / "checkpoint.json"
    stated = json.loads(path.read_text())
    stated["thresholds"]["seen"] = 0.5
    path.write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


def test_terms_that_do_not_speak_of_research_are_only_passed_on(checkpoint_folder: Path) -> None:
    path = checkpoint_folder / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"terms": "Apache-2.0"}))
    assert describe_predictor(str(checkpoint_folder)).terms == f"Apache-2.0; {WITHOUT_CARD}"


def test_a_description_without_terms_is_refused(checkpoint_folder: Path) -> None:
    path = checkpoint_folder / "checkpoint.json"
    stated = json.loads(path.read_text())
    del stated["terms"]
    path.write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match="lacks terms"):
        read_description(checkpoint_folder)


def test_the_shipped_checkpoint_is_small_marked_and_needs_no_consent() -> None:
    description = read_description(SHIPPED).predictor
    assert description.terms == "research use only"
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 30_000_000
    assert load_checkpoint(SHIPPED).description == description


@pytest.fixture
def another_folder(checkpoint_folder: Path, model: MedSegR, tmp_path: Path) -> Path:
    """A checkpoint of the same sizes and another name and digest, with all of P_l zero."""
    folder = tmp_path / "another"
    other = copy.deepcopy(model)
    for parameter in other.prompt_projector.parameters():
        parameter.data.zero_()
    save_checkpoint(folder, other, name="another", version="2", terms=None, thresholds=Thresholds())
    return folder


def test_a_link_that_moves_while_it_is_opened_gives_the_weights_that_the_description_speaks_of(
    checkpoint_folder: Path, another_folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(checkpoint_folder, target_is_directory=True)
    described = read_description(link)
    link.unlink()
    link.symlink_to(another_folder, target_is_directory=True)
    loaded = load_described(described)
    assert loaded.description == described.predictor != read_description(link).predictor
    assert loaded.model.prompt_projector[0].weight.any()


def test_a_folder_whose_files_were_replaced_after_it_was_described_is_refused(
    checkpoint_folder: Path, another_folder: Path
) -> None:
    described = read_description(checkpoint_folder)
    shutil.rmtree(checkpoint_folder)
    another_folder.rename(checkpoint_folder)
    with pytest.raises(CheckpointError, match=r"sha256|replaced"):
        load_described(described)
    assert load_checkpoint(checkpoint_folder).description.name == "another"


def test_a_description_that_was_replaced_by_one_of_other_terms_is_refused(checkpoint_folder: Path) -> None:
    described = read_description(checkpoint_folder)
    path = checkpoint_folder / "checkpoint.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"terms": None}))  # which no digest is taken over
    with pytest.raises(CheckpointError, match="replaced or changed while it was loaded; load it again"):
        load_described(described)


@pytest.mark.parametrize("in_place", [False, True])
def test_weights_that_are_replaced_after_their_digest_was_taken_are_refused(
    checkpoint_folder: Path, another_folder: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    def load_late(path: Path) -> dict[str, torch.Tensor]:
        if in_place:
            shutil.copyfile(another_folder / path.name, path)
        else:
            (another_folder / path.name).replace(path)
        return load_file(path)

    monkeypatch.setattr(checkpoint, "load_file", load_late)
    with pytest.raises(CheckpointError, match="replaced or changed while it was loaded; load it again"):
        load_checkpoint(checkpoint_folder, accept_research_use=True)


def test_weights_in_memory_stay_as_they_are_when_their_files_are_overwritten(model: MedSegR, tmp_path: Path) -> None:
    """Files of the dtype that is computed in would be mapped into memory."""
    whole = copy.deepcopy(model)
    whole.config = replace(whole.config, language_storage="float32", grounding_storage="float32")
    folder = tmp_path / "whole"
    save_checkpoint(folder, whole, name="x", version="1", terms=None, thresholds=Thresholds())
    loaded = load_checkpoint(folder).model
    for path in folder.rglob("*.safetensors"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
    for name, value in whole.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert loaded.language_model.lm_head.weight is loaded.language_model.get_input_embeddings().weight


def test_a_description_is_read_once_to_open_a_predictor(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_file = Path.open

    def noted(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(path.name)
        return open_file(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", noted)
    open_predictor(str(checkpoint_folder), accept_research_use=True)
    assert opened.count("checkpoint.json") == 1


def _restate_digest(folder: Path) -> None:
    path = folder / "checkpoint.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"digest": digest_of(folder, stated)}))
