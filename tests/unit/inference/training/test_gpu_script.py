"""The script for a lent GPU: what it carries, how it compares, and its ladder, all on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.errors import InferenceError
from inference.medseg_qa.labels import DATASETS
from inference.medseg_r.model import MedSegR
from inference.training.packing import Pack
from tests.bench import gpu


@pytest.fixture
def pack() -> Pack:
    names = np.array([name for name in DATASETS for _ in range(2)])
    random = np.random.default_rng(0)
    images = np.repeat(random.integers(0, 255, (len(names), 256, 256, 1)), 3, axis=3).astype(np.uint8)
    images[np.isin(names, sorted(gpu.COLOUR)), ..., 0] = 200
    masks = np.zeros((len(names), 256, 256), np.uint16)
    masks[:, 90:140, 90:140] = 1
    splits, extents = np.array(["train", "val"] * len(DATASETS)), np.full((len(names), 2), 256)
    return Pack(images, masks, names, names, names, splits, extents, names)


def test_what_is_carried_is_what_was_packed(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = gpu.carried(pack, tmp_path / "images.npz")
    again = gpu.unpacked(tmp_path / "images.npz")
    assert size == (tmp_path / "images.npz").stat().st_size
    for name in ("images", "masks", "datasets", "splits", "extents", "groups"):
        assert (getattr(again, name) == getattr(pack, name)).all()
    monkeypatch.setattr(gpu, "MOST_PACKED", 1000)
    with pytest.raises(InferenceError, match="lower PACKED"):
        gpu.carried(pack, tmp_path / "images.npz")


def test_without_a_gpu_or_images_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu.main(["run", "--carry", str(tmp_path)]) == 2
    assert "--device cpu --quick" in capsys.readouterr().err
    assert gpu.main(["run", "--carry", str(tmp_path), "--device", "cpu", "--quick"]) == 2
    assert "tests.bench.gpu pack" in capsys.readouterr().err


def test_other_weights_are_not_equal(model: MedSegR, pack: Pack) -> None:
    plan = gpu.Plan("cpu", 0, 1, 1, (1,), 1, 1, 1)
    assert gpu.compared(model, model, pack, plan)["equal"]
    other = MedSegR(model.config, model.tokenizer).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        next(other.grounding.pixel_features.parameters()).add_(1.0)
    assert not gpu.compared(model, other, pack, plan)["equal"]


def test_where_memory_is_short_the_masks_are_the_same(model: MedSegR, pack: Pack) -> None:
    outcome = gpu.ladder(model, pack, "cpu")
    assert outcome["short"] == {"largest_batch": 1, "ended_on": "cpu", "alike": True}
    assert outcome["none"]["alike"] and "encode" not in vars(model.grounding)
