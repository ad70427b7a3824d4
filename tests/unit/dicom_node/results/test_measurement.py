"""Measurements against figures worked out by hand, and their one rounding."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.results import codes
from dicom_node.results.measurement import DEFINITIONS, Measurement, MeasurementKind, measure
from dicom_node.volumes.load import load_series

KIND = MeasurementKind


def measured(volume, mask) -> dict[MeasurementKind, Measurement]:
    measurements = measure(volume, mask)
    assert len({measurement.kind for measurement in measurements}) == len(measurements)
    return {measurement.kind: measurement for measurement in measurements}


def test_a_box(box_series) -> None:
    volume = load_series(box_series().files)
    box = measured(volume, volume.values > 3000)  # 3 slices x 6 rows x 9 columns
    height, width = 6 * 0.8, 9 * 0.7
    diagonal = np.hypot(height, width)
    expected = {
        KIND.VOLUME: (162 * 3.0 * 0.8 * 0.7 / 1000, "ml"),
        KIND.LONG_AXIS: (diagonal, "mm"),
        KIND.SHORT_AXIS: (2 * height * width / diagonal, "mm"),
        KIND.MEAN: (3071.0, "[hnsf'U]"),
        KIND.STANDARD_DEVIATION: (0.0, "[hnsf'U]"),
    }
    assert {kind: (measurement.value, measurement.unit.value) for kind, measurement in box.items()} == {
        kind: (pytest.approx(value), unit) for kind, (value, unit) in expected.items()
    }
    assert [measurement.text for measurement in box.values()] == [
        "0.27 ml", "7.9 mm", "7.6 mm", "3071.0 HU", "0.0 HU",
    ]  # fmt: skip


def test_an_x_ray_has_an_area_and_no_volume(shared_data) -> None:
    volume = load_series([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 10:20, 10:30] = True
    on_the_image = measured(volume, mask)
    assert set(on_the_image) == {KIND.AREA, KIND.LONG_AXIS, KIND.SHORT_AXIS}
    assert on_the_image[KIND.AREA].value == pytest.approx(200 * 1.2 * 1.2012, rel=1e-4)
    assert all(measurement.method is not None for measurement in on_the_image.values())


def test_without_spacing_nothing_is_measured(shared_data) -> None:
    volume = load_series([shared_data / "dicom/pydicom/src/pydicom/data/test_files/examples_palette.dcm"])
    assert measure(volume, np.ones(volume.values.shape[:3], dtype=bool)) == ()


def test_only_hounsfield_units_have_a_mean(shared_data) -> None:
    volume = load_series([shared_data / "dicom/suyash/testdata/1.dcm"])
    assert volume.unit is not None and volume.unit.value == "Bq/ml"
    assert KIND.MEAN not in measured(volume, np.ones(volume.values.shape[:3], dtype=bool))


def test_an_empty_mask_measures_nothing_but_its_emptiness(box_series) -> None:
    volume = load_series(box_series().files)
    (nothing,) = measure(volume, np.zeros(volume.values.shape, dtype=bool))
    assert (nothing.kind, nothing.rounded, nothing.text) == (KIND.VOLUME, 0.0, "0.0 ml")


def test_the_longest_diameter_is_that_of_all_voxel_corners(box_series) -> None:
    volume = load_series(box_series().files)
    random = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros(volume.values.shape, dtype=bool)
        mask[4] = random.random(mask.shape[1:]) > 0.97
        rows, columns = np.nonzero(mask[4])
        corners = np.concatenate([np.stack([rows + i, columns + j], 1) for i in (0, 1) for j in (0, 1)]) * (0.8, 0.7)
        farthest = np.linalg.norm(corners[:, None] - corners[None], axis=-1).max()
        assert measured(volume, mask)[KIND.LONG_AXIS].value == pytest.approx(farthest)


@pytest.mark.parametrize(
    ("value", "rounded", "text"),
    [
        (12.34, 12.3, "12.3 ml"),
        (1499.96, 1500.0, "1500.0 ml"),
        (1.04, 1.0, "1.0 ml"),
        (0.996, 1.0, "1.00 ml"),
        (0.2722, 0.27, "0.27 ml"),
        (0.04, 0.04, "0.040 ml"),
        (0.000456, 0.00046, "0.00046 ml"),
        (0.0, 0.0, "0.0 ml"),
        (-0.04, -0.04, "-0.040 ml"),
    ],
)
def test_one_decimal_or_two_digits_and_never_zero_for_something(value: float, rounded: float, text: str) -> None:
    measurement = Measurement(KIND.VOLUME, value, codes.MILLILITRE)
    assert (measurement.rounded, measurement.text) == (rounded, text)
    assert float(text.split()[0]) == rounded


def test_every_kind_has_its_definition() -> None:
    assert set(DEFINITIONS) == set(KIND)
    assert Measurement(KIND.LONG_AXIS, 1.0, codes.MILLIMETRE).name == "long axis"
    named = [(definition.concept, definition.derivation) for definition in DEFINITIONS.values()]
    assert len(set(named)) == len(named)
