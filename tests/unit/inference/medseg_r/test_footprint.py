"""The memory of a checkpoint, told before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.errors import OutOfMemory
from inference.medseg_r import checkpoint
from inference.medseg_r.checkpoint import load_described
from inference.medseg_r.description import checkpoint_folder, read_description
from inference.medseg_r.footprint import footprint_of, require_room


def test_weights_are_what_the_loaded_model_holds() -> None:
    described = read_description(checkpoint_folder("tiny"))
    loaded = load_described(described).model
    held = {value.data_ptr(): value.numel() * value.element_size() for value in loaded.state_dict().values()}
    assert footprint_of(described).weights == pytest.approx(sum(held.values()), rel=0.05)


def test_what_would_not_fit_is_refused_with_both_numbers_and_not_read(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = read_description(checkpoint_folder)
    whole = footprint_of(described).whole
    require_room(described, "cpu", {"cpu": whole})
    with pytest.raises(OutOfMemory, match=r"needs about 0\.\d GB of RAM.*, and 0.0 GB are free"):
        require_room(described, "cpu", {"cpu": whole - 1})
    require_room(described, "cuda", {"cuda": 1, "cpu": whole})  # it stays on the CPU, as the ladder has it
    with pytest.raises(OutOfMemory, match=r"on cuda, where 0\.0 GB are free"):
        require_room(described, "cuda", {"cuda": 1, "cpu": 1})
    monkeypatch.setattr("inference.medseg_r.footprint.free_memory_bytes", lambda _device: 1)
    monkeypatch.setattr(checkpoint, "load_language_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(OutOfMemory):
        load_described(described)


def test_a_large_model_is_told_from_headers_alone(checkpoint_folder: Path) -> None:
    """Seven thousand million values in a file that holds none of them: 28 GB in float32, and a cache that grows."""
    small = footprint_of(read_description(checkpoint_folder))
    header = {"w": {"dtype": "F16", "shape": [70_000, 100_000], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (checkpoint_folder / "language_model" / "extra.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    large = footprint_of(read_description(checkpoint_folder))
    assert large.weights - small.weights == 4 * 70_000 * 100_000
    config = checkpoint_folder / "language_model" / "config.json"
    stated = json.loads(config.read_text())
    stated["text_config"]["num_hidden_layers"] *= 10
    config.write_text(json.dumps(stated))
    assert footprint_of(read_description(checkpoint_folder)).cache == 10 * small.cache
    save_file({"w": torch.zeros(3)}, checkpoint_folder / "language_model" / "extra.safetensors")
    assert footprint_of(read_description(checkpoint_folder)).weights == small.weights + 12
