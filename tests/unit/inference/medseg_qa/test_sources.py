"""Folders and NIfTI pairs become the same kind of images."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.sources import Skip, SourceImage, open_source


def test_folder_of_images_and_masks(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((8, 9, 3), 7, dtype=np.uint8)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    settings = {"modality": "ES", "labels": {"1": "polyp", "2": "liver"}, "licence": "own", "spacing_mm": [1, 2]}
    settings["lateralities"] = {"a": "L"}
    (tmp_path / "labels.json").write_text(json.dumps(settings))
    (image,) = open_source(tmp_path)
    assert isinstance(image, SourceImage)
    pixels = image.load()
    assert pixels.image.shape == (8, 9, 3) and list(pixels.masks) == ["polyp"]
    assert (image.spacing_mm, image.licence, image.searched) == ((1.0, 2.0), "own", ("polyp", "liver"))
    assert image.laterality == "L"


def test_nifti_is_shown_with_anterior_up_and_patient_left_on_the_right(tmp_path: Path) -> None:
    values = np.zeros((6, 5, 4), dtype=np.int16)
    marked = np.zeros((6, 5, 4), dtype=np.uint8)
    marked[0, 4, 2] = 1  # RAS: the leftmost, most anterior voxel
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(marked, affine), tmp_path / "a_mask.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps({"modality": "CT", "labels": {"1": "spleen"}}))
    images = [image for image in open_source(tmp_path) if isinstance(image, SourceImage)]
    assert [image.id for image in images] == ["a_slice_001", "a_slice_002", "a_slice_003"]
    mask = images[1].load().masks["spleen"]
    assert mask.shape == (5, 6) and np.argwhere(mask).tolist() == [[0, 5]]
    assert images[1].spacing_mm == (3.0, 2.0) and images[1].orientation == "radiological"
    assert images[0].load().masks == {}


def test_nifti_mask_of_another_size_is_named(tmp_path: Path) -> None:
    for name, shape in (("a.nii.gz", (4, 4, 4)), ("a_mask.nii.gz", (4, 4, 3))):
        nibabel.save(nibabel.Nifti1Image(np.zeros(shape, dtype=np.uint8), np.eye(4)), tmp_path / name)
    (tmp_path / "labels.json").write_text(json.dumps({"modality": "CT", "labels": {"1": "spleen"}}))
    (found,) = open_source(tmp_path)
    assert isinstance(found, Skip) and found.problem.value == "mask-of-another-size"


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no manifest\.jsonl"):
        open_source(tmp_path)
