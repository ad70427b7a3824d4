"""A whole MedSeg-R with random weights, and a way to make it say what a test wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.interface import SliceStack
from inference.medseg_r.checkpoint import Thresholds, save_checkpoint
from inference.medseg_r.config import PRESETS, MedSegRConfig
from inference.medseg_r.context import Words, train_tokenizer
from inference.medseg_r.model import MedSegR

TEXTS = ["The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG].", "where is the liver?", "No liver is seen."] * 5


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
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
        vocabulary_size=400,
        grounding_layers=1,
        grounding_width=32,
        grounding_global_layers=(0,),
    )


@pytest.fixture
def model(small_config: MedSegRConfig) -> MedSegR:
    torch.manual_seed(0)
    return MedSegR(small_config, Words(train_tokenizer(TEXTS, small_config.vocabulary_size))).eval()


@pytest.fixture
def checkpoint_folder(model: MedSegR, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_checkpoint(
        folder, model, name="random", version="0", terms="research use only", thresholds=Thresholds(quality=-100.0)
    )
    return folder


@pytest.fixture
def stack() -> SliceStack:
    values = np.random.default_rng(0).normal(40, 200, (3, 40, 30)).astype(np.float32)
    return SliceStack(values, "CT", (5.0, 0.8, 0.8), (-1024.0, 3071.0))
