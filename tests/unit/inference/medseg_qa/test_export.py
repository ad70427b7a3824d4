"""Exports read back: LLaVA keeps masks in step, LISA's polygons draw the mask again, datasets loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from inference.medseg_qa.builder import build
from inference.medseg_qa.errors import OutputExists
from inference.medseg_qa.export import ExportFormat, export
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import open_source


@pytest.fixture
def built(make_images: Any, tmp_path: Path) -> Path:
    build(open_source(make_images()), tmp_path / "set")
    return tmp_path / "set"


def test_llava_has_a_mask_for_each_seg(built: Path, tmp_path: Path) -> None:
    assert export(built, tmp_path / "out", ExportFormat.LLAVA) == 6
    for row in json.loads((tmp_path / "out" / "train.json").read_text()):
        said = [turn["value"] for turn in row["conversations"] if turn["from"] == "gpt"]
        assert sum(text.count("[SEG]") for text in said) == len(row["masks"])
        assert row["conversations"][0]["value"].startswith("<image>\n")
        assert all((tmp_path / "out" / path).is_file() for path in (row["image"], *row["masks"]))
    with pytest.raises(OutputExists):
        export(built, tmp_path / "out", ExportFormat.LLAVA)


def test_lisa_polygons_draw_the_mask(built: Path, tmp_path: Path) -> None:
    export(built, tmp_path / "out", ExportFormat.LISA)
    record = next(read_records(built, "test"))
    row = json.loads((tmp_path / "out" / "test" / f"{record.id.replace('/', '_')}_00.json").read_text())
    canvas = Image.new("L", (record.size[1], record.size[0]))
    for shape in row["shapes"]:
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["points"]], fill=255, outline=255)
    masks = [np.asarray(Image.open(built / target.mask)) for target in record.targets]
    assert any(np.array_equal(np.asarray(canvas), mask) for mask in masks)


def test_hugging_face_datasets_loads_it(built: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    assert export(built, tmp_path / "out", ExportFormat.HUGGING_FACE) == 6
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    row = loaded["train"][0]
    assert row["image"].size == (80, 64) and len(row["masks"]) == len(row["labels"]) == 2
    assert json.loads(row["conversations"])[0]["turns"]
