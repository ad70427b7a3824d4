"""Measurements against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.results.measurement import area_mm2, diameters, mean_and_deviation, volume_ml
from dicom_node.volumes.load import load_series


def test_a_box(box_series) -> None:
    volume = load_series(box_series().files)
    mask = volume.values > 3000  # 3 slices x 6 rows x 9 columns
    assert volume_ml(volume, mask) == pytest.approx(162 * 3.0 * 0.8 * 0.7 / 1000)
    assert area_mm2(volume, mask) is None
    size = diameters(volume, mask)
    assert size is not None
    height, width = 6 * 0.8, 9 * 0.7
    assert size.longest_mm == pytest.approx(np.hypot(height, width))
    assert size.perpendicular_mm == pytest.approx(2 * height * width / np.hypot(height, width))
    assert mean_and_deviation(volume, mask) == (3071.0, 0.0)


def test_an_x_ray_has_an_area_and_no_volume(shared_data) -> None:
    volume = load_series([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:20, 10:30] = True
    assert volume_ml(volume, mask) is None and mean_and_deviation(volume, mask) is None
    assert area_mm2(volume, mask) == pytest.approx(200 * 1.2 * 1.2012, rel=1e-4)


def test_without_spacing_nothing_is_measured(shared_data) -> None:
    volume = load_series([shared_data / "dicom/pydicom/src/pydicom/data/test_files/examples_palette.dcm"])
    mask = np.ones(volume.values.shape[:3], dtype=bool)
    assert (volume_ml(volume, mask), area_mm2(volume, mask), diameters(volume, mask)) == (None, None, None)


def test_the_longest_diameter_is_that_of_all_voxel_corners(box_series) -> None:
    volume = load_series(box_series().files)
    random = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros(volume.values.shape, dtype=bool)
        mask[4] = random.random(mask.shape[1:]) > 0.97
        rows, columns = np.nonzero(mask[4])
        corners = np.concatenate([np.stack([rows + i, columns + j], 1) for i in (0, 1) for j in (0, 1)]) * (0.8, 0.7)
        farthest = np.linalg.norm(corners[:, None] - corners[None], axis=-1).max()
        size = diameters(volume, mask)
        assert size is not None and size.longest_mm == pytest.approx(farthest)
