"""The square that a model learns from is the one that it is shown when it answers, whatever a set is made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

import inference.medseg_r.predictor as serving
import inference.training.joint as training
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import load_series
from inference.card import ModelCard
from inference.evaluation.run import stack_of
from inference.interface import ImageContext, PredictorDescription, SliceStack
from inference.medseg_qa.builder import build
from inference.medseg_qa.records import read_records, windows_of
from inference.medseg_qa.sources import open_source
from inference.medseg_r.checkpoint import Checkpoint
from inference.medseg_r.description import Thresholds
from inference.medseg_r.model import MedSegR
from tests.unit.workflows.datasets.test_dicom_source import write_seg
from workflows.datasets.dicom_source import open_dicom
from workflows.reading import slice_stack


def learned_from(
    qa: Path, model: MedSegR, monkeypatch: pytest.MonkeyPatch, split: str = "train"
) -> dict[bytes, tuple[int, ...]]:
    """The squares that joint training draws from a set, less its random windows, with their extents."""
    squares: dict[bytes, tuple[int, ...]] = {}
    whole = training.grounding_square

    def seen(image: np.ndarray, *settings: object) -> object:
        square, extent = whole(image, *settings)  # type: ignore[arg-type]
        squares[square.tobytes()] = extent
        return square, extent

    with monkeypatch.context() as patch:
        patch.setattr(training, "grounding_square", seen)
        patch.setattr(training, "rewindow", lambda pixels, _: pixels)
        batches, random = training.ConversationBatches(qa, split, model), np.random.default_rng(0)
        for _ in range(6):
            batches.draw(random, 2, model.device)
    assert len(squares) > 1
    return squares


def shown(stack: SliceStack, model: MedSegR, card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The squares that a predictor is shown of a stack."""
    squares: set[bytes] = set()
    whole = serving.grounding_square

    def seen(image: np.ndarray, *settings: object) -> object:
        square, extent = whole(image, *settings)  # type: ignore[arg-type]
        squares.add(square.tobytes())
        return square, extent

    checkpoint = Checkpoint(model, PredictorDescription("", "", "", None), Thresholds(), card=card)
    with monkeypatch.context() as patch:
        patch.setattr(serving, "grounding_square", seen)
        serving.MedSegRPredictor(checkpoint).locate(stack, ["liver"])
    return squares


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A body in air with liver (1) and spleen (2): HU and labels, `x y z`, to the right, to the front and up."""
    x, y, z = np.mgrid[:70, :60, :4]
    body = ((x - 30) / 22) ** 2 + ((y - 30) / 18) ** 2 < 1
    labels = ((x - 38) ** 2 + (y - 33) ** 2 < 60) * 1 + ((x - 20) ** 2 + (y - 26) ** 2 < 30) * 2
    noise = np.random.default_rng(0).normal(0, 20, body.shape)
    values = np.where(body, 40 + 60 * (labels == 1) + 20 * z, -1000) + noise
    return values.astype(np.int16), labels.astype(np.uint8)


@pytest.mark.parametrize(("modality", "window"), [("CT", None), ("CT", (-160, 240)), ("MR", None)])
def test_nifti_volumes(
    tmp_path: Path,
    model: MedSegR,
    monkeypatch: pytest.MonkeyPatch,
    modality: str,
    window: tuple[int, int] | None,
) -> None:
    values, labels = phantom()
    folder = tmp_path / "volumes"
    folder.mkdir()
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "a_mask.nii.gz")
    settings = {"modality": modality, "labels": {"1": "liver", "2": "spleen"}, "splits": {"a": "train"}}
    (folder / "labels.json").write_text(json.dumps(settings | ({} if window is None else {"window": window})))
    build(open_source(folder), tmp_path / "qa")
    windows = windows_of(tmp_path / "qa")
    assert windows == ({"CT": window or (-1024.0, 1100.0)} if modality == "CT" else {})
    displayed = np.stack([values[::-1, ::-1, k].T for k in range(4)]).astype(np.float32)
    stack = SliceStack(displayed, modality, (3.0, 1.0, 1.0))
    assert learned_from(tmp_path / "qa", model, monkeypatch).keys() <= shown(
        stack, model, ModelCard(windows=windows), monkeypatch
    )


def test_dicom_series_with_a_seg(
    shared_data: Path, tmp_path: Path, model: MedSegR, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    paths = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())[:4]
    for path in paths:
        shutil.copy(path, folder)
    sources = sorted((pydicom.dcmread(path) for path in paths), key=lambda item: float(item.ImagePositionPatient[2]))
    mask = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), dtype=np.uint8)
    mask[:, 220:260, 130:180] = 1
    write_seg(folder / "seg.dcm", sources, mask, "BINARY")
    build(open_source(folder, (open_dicom,)), tmp_path / "qa")
    windows = windows_of(tmp_path / "qa")
    (volume,) = load_series(paths).parts
    stack = slice_stack(volume, display_view(volume))
    squares = learned_from(tmp_path / "qa", model, monkeypatch, "all")
    assert squares.keys() <= shown(stack, model, ModelCard(windows=windows), monkeypatch)
    assert all(rows < 200 and columns == 256 for rows, columns in squares.values())  # without air and arms


def test_pictures(make_qa: Callable[[], Path], model: MedSegR, monkeypatch: pytest.MonkeyPatch) -> None:
    qa = make_qa()
    records = list(read_records(qa, "train"))
    served = set[bytes]().union(*(shown(stack_of(one, qa), model, ModelCard(), monkeypatch) for one in records))
    assert learned_from(qa, model, monkeypatch).keys() <= served


def test_volumes_kept_in_array_order(tmp_path: Path, model: MedSegR, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hippocampus set keeps them; a stack in display orientation is turned to lie as they do."""
    images = tmp_path / "images"
    images.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    labels = np.zeros(values.shape, dtype=np.uint8)
    labels[4:12, 5:20] = 1
    np.savez(images / "volumes.npz", a_img=values, a_lab=labels)
    row = {"dataset": "hippocampus", "id": "a", "modality": "MR", "volume": "volumes.npz", "split": "train"}
    row["labels"] = {"1": "anterior hippocampus"}
    (images / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    build(open_source(images), tmp_path / "qa")
    displayed = np.stack([values[::-1, ::-1, k].T for k in range(4)])
    stack = SliceStack(
        np.repeat(displayed[..., None], 3, axis=3), "MR", None, ImageContext(letters=("R", "L", "A", "P"))
    )
    card = ModelCard(letters={"liver": ("P", "A", "L", "R")})
    assert learned_from(tmp_path / "qa", model, monkeypatch).keys() <= shown(stack, model, card, monkeypatch)
