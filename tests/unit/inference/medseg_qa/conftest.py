"""A small folder of images with a manifest, drawn here so that every count is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeImages = Callable[..., Path]


@pytest.fixture
def make_images(tmp_path: Path) -> MakeImages:
    """Returns a function that writes `count` CT-like images with liver and spleen and their manifest."""

    def make(count: int = 6, split: bool = True, change: Callable[[int, dict[str, Any]], None] | None = None) -> Path:
        directory = tmp_path / "images"
        directory.mkdir()
        rows = []
        for i in range(count):
            random = np.random.default_rng(i)
            image = random.integers(0, 255, (64, 80), dtype=np.uint8)
            mask = np.zeros((64, 80), dtype=np.uint8)
            mask[10 : 30 + i, 5:30] = 1
            mask[15:30, 55 : 70 + i] = 2
            Image.fromarray(image).save(directory / f"{i}.png")
            Image.fromarray(mask).save(directory / f"{i}_mask.png")
            row: dict[str, Any] = {
                "dataset": "btcv",
                "id": f"case_{i}",
                "modality": "CT",
                "image": f"{i}.png",
                "mask": f"{i}_mask.png",
                "labels": {"1": "liver", "2": "spleen"},
                "group": f"patient_{i // 2}",
                "spacing_mm": [2.0, 1.0],
            }
            if split:
                row["split"] = ("train", "val", "test")[i // 2 % 3]
            if change is not None:
                change(i, row)
            rows.append(row)
        (directory / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return directory

    return make
