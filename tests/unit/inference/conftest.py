"""A whole MedSeg-R with random weights, and a way to make it say what a test wants."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from inference.interface import SliceStack
from inference.medseg_qa.builder import build
from inference.medseg_qa.sources import open_source
from inference.medseg_r.config import PRESETS, GroundingConfig, MedSegRConfig
from inference.medseg_r.description import Thresholds

if TYPE_CHECKING:  # torch takes seconds to import, which tests of the data set do not need
    from inference.medseg_r.model import MedSegR

TEXTS = ["The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG].", "where is the liver?", "No liver is seen."] * 5


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_config() -> MedSegRConfig:
    return dataclasses.replace(
        PRESETS["tiny"],
        language_layers=1,
        language_width=32,
        vision_layers=1,
        vision_width=32,
        language_context=160,
        vocabulary_size=400,
        most_answer_tokens=64,
        grounding=GroundingConfig(width=32, layers=1, global_layers=(0,), prompt_width=32, pixel_channels=(8, 8, 8)),
    )


@pytest.fixture
def model(small_config: MedSegRConfig) -> MedSegR:
    import torch

    from inference.medseg_r.model import MedSegR
    from inference.medseg_r.tiny import build_tokenizer, train_tokenizer

    torch.manual_seed(0)
    return MedSegR(small_config, build_tokenizer(train_tokenizer(TEXTS, small_config.vocabulary_size))).eval()


@pytest.fixture
def checkpoint_folder(model: MedSegR, tmp_path: Path) -> Path:
    from inference.medseg_r.checkpoint import save_checkpoint

    folder = tmp_path / "checkpoint"
    save_checkpoint(
        folder,
        model,
        name="random",
        version="0",
        terms="research use only",
        thresholds=Thresholds(seen=-100.0),
        calibration=((0.0, 0.0), (0.5, 0.5), (1.0, 0.9)),
    )
    return folder


@pytest.fixture
def stack() -> SliceStack:
    values = np.random.default_rng(0).normal(40, 200, (3, 40, 30)).astype(np.float32)
    return SliceStack(values, "CT", (5.0, 0.8, 0.8))


@pytest.fixture
def make_qa(tmp_path: Path) -> Callable[[], Path]:
    """Returns a function that builds a MedSeg-QA set of six small CT-like images with liver and spleen."""

    def make() -> Path:
        images = tmp_path / "images"
        images.mkdir()
        rows = []
        for i in range(6):
            mask = np.zeros((48, 56), dtype=np.uint8)
            mask[8 : 20 + i, 5:20] = 1
            mask[12:24, 35 : 45 + i] = 2 if i % 3 else 0
            noise = np.random.default_rng(i).integers(0, 60, mask.shape).astype(np.uint8)
            Image.fromarray(noise + 60 * mask).save(images / f"{i}.png")
            Image.fromarray(mask).save(images / f"{i}_mask.png")
            row = {"dataset": "btcv", "id": str(i), "modality": "CT", "image": f"{i}.png", "mask": f"{i}_mask.png"}
            row |= {"labels": {"1": "liver", "2": "spleen"}, "group": str(i), "split": "test" if i > 3 else "train"}
            rows.append(json.dumps(row))
        (images / "manifest.jsonl").write_text("\n".join(rows) + "\n")
        build(open_source(images), tmp_path / "qa")
        return tmp_path / "qa"

    return make
