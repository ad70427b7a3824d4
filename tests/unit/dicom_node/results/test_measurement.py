"""Measurements against figures worked out by hand, what holds of them, and their one rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.measurement import DEFINITIONS, Measurement, MeasurementKind, measure
from dicom_node.volumes.load import SeriesVolume, SliceSource
from dicom_node.volumes.projection import SpacingBasis
from tests.unit.dicom_node.results.loading import only_part

KIND = MeasurementKind


def measured(volume, mask) -> dict[MeasurementKind, Measurement]:
    measurements = measure(volume, mask)
    assert len({measurement.kind for measurement in measurements}) == len(measurements)
    return {measurement.kind: measurement for measurement in measurements}


def boxed(volume: SeriesVolume, *boxes: tuple[slice | int, slice, slice]) -> np.ndarray:
    mask = np.zeros(volume.values.shape[:3], dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


@pytest.fixture
def volume(box_series) -> SeriesVolume:
    """9 slices of 24 rows and 32 columns, 3.0 x 0.8 x 0.7 mm."""
    return only_part(box_series().files)


def test_a_box(volume) -> None:
    box = measured(volume, volume.values > 3000)  # 3 slices x 6 rows x 9 columns
    height, width = 6 * 0.8, 9 * 0.7
    diagonal = np.hypot(height, width)
    expected = {
        KIND.VOLUME: (162 * 3.0 * 0.8 * 0.7 / 1000, "ml"),
        KIND.LONG_AXIS: (diagonal, "mm"),
        KIND.SHORT_AXIS: (diagonal * height / width, "mm"),
        KIND.MEAN: (3071.0, "[hnsf'U]"),
        KIND.STANDARD_DEVIATION: (0.0, "[hnsf'U]"),
    }
    assert {kind: (measurement.value, measurement.unit.value) for kind, measurement in box.items()} == {
        kind: (pytest.approx(value), unit) for kind, (value, unit) in expected.items()
    }
    assert [measurement.text for measurement in box.values()] == ["0.27 ml", "7.9 mm", "6.0 mm", "3071.0 HU", "0 HU"]
    assert box[KIND.LONG_AXIS].line is not None and box[KIND.LONG_AXIS].line.slice_index == 2


# --- At least ---------------------------------------------------------------------------------------------------------

SIZES = {KIND.VOLUME, KIND.AREA, KIND.LONG_AXIS, KIND.SHORT_AXIS}


@pytest.mark.parametrize(
    ("box", "cut_off"),
    [
        ((slice(1, 8), slice(1, 23), slice(1, 31)), False),
        ((slice(0, 8), slice(1, 23), slice(1, 31)), True),
        ((slice(1, 9), slice(1, 23), slice(1, 31)), True),
        ((slice(1, 8), slice(0, 23), slice(1, 31)), True),
        ((slice(1, 8), slice(1, 24), slice(1, 31)), True),
        ((slice(1, 8), slice(1, 23), slice(0, 31)), True),
        ((slice(1, 8), slice(1, 23), slice(1, 32)), True),
    ],
)
def test_sizes_of_what_touches_an_edge_are_at_least(volume, box, cut_off) -> None:
    found = measured(volume, boxed(volume, box))
    assert {kind for kind, measurement in found.items() if measurement.at_least} == (
        SIZES - {KIND.AREA} if cut_off else set()
    )
    for kind, measurement in found.items():
        assert measurement.text.startswith("at least ") == (cut_off and kind in SIZES)


def test_a_piece_at_the_edge_holds_for_the_finding(volume) -> None:
    mask = boxed(volume, (slice(3, 6), slice(5, 15), slice(5, 15)), (4, slice(0, 1), slice(20, 21)))
    assert measured(volume, mask)[KIND.LONG_AXIS].at_least


def test_a_lone_slice_has_an_area_and_is_the_first_and_the_last(box_series) -> None:
    volume = only_part(box_series().files[:1])
    found = measured(volume, boxed(volume, (0, slice(5, 10), slice(5, 15))))
    assert {kind for kind, measurement in found.items() if measurement.at_least} == SIZES - {KIND.VOLUME}
    assert found[KIND.AREA].text == "at least 28.0 mm2" and KIND.VOLUME not in found


def test_an_x_ray_has_an_area_and_no_volume(shared_data) -> None:
    volume = only_part([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    on_the_image = measured(volume, boxed(volume, (0, slice(10, 20), slice(10, 30))))
    assert set(on_the_image) == {KIND.AREA, KIND.LONG_AXIS, KIND.SHORT_AXIS}
    assert on_the_image[KIND.AREA].value == pytest.approx(200 * 1.2 * 1.2012, rel=1e-4)
    assert all(measurement.method is not None for measurement in on_the_image.values())
    assert not any(measurement.at_least for measurement in on_the_image.values())
    at_the_edge = measured(volume, boxed(volume, (0, slice(0, 20), slice(10, 30))))
    assert all(measurement.at_least for measurement in at_the_edge.values())


# --- Parts and frames -------------------------------------------------------------------------------------------------


def test_axes_are_those_of_the_largest_part_though_a_smaller_one_is_longer(volume) -> None:
    large, long = (slice(2, 6), slice(2, 8), slice(2, 8)), (3, slice(20, 21), slice(1, 31))
    found = measured(volume, boxed(volume, large, long))
    assert found[KIND.LONG_AXIS].value == pytest.approx(np.hypot(6 * 0.8, 6 * 0.7))
    assert found[KIND.PARTS].text == "2"
    assert KIND.PARTS not in measured(volume, boxed(volume, large))


def test_pieces_that_touch_in_the_next_slice_are_one_part(volume) -> None:
    two = (slice(2, 5), slice(2, 6), slice(2, 6)), (slice(2, 5), slice(2, 6), slice(8, 14))
    bridge = (5, slice(2, 6), slice(2, 14))
    found = measured(volume, boxed(volume, *two, bridge))
    assert KIND.PARTS not in found
    line = found[KIND.LONG_AXIS].line
    assert line is not None and line.slice_index == 5
    assert found[KIND.LONG_AXIS].value == pytest.approx(np.hypot(4 * 0.8, 12 * 0.7))


def cine(volume: SeriesVolume) -> SeriesVolume:
    """The same pixels as frames over time, from frame 11 on."""
    frames = tuple(SliceSource(volume.source, 11 + index) for index in range(len(volume.slices)))
    return dataclasses.replace(
        volume, geometry=None, spacing_basis=SpacingBasis.UNSTATED, slices=frames, unit=None, modality="XA"
    )


def test_frames_over_time_are_measured_where_most_is_marked(volume) -> None:
    frames = cine(volume)
    mask = boxed(frames, (0, slice(0, 3), slice(0, 3)), (4, slice(4, 10), slice(4, 10)), (8, slice(4, 9), slice(4, 9)))
    found = measured(frames, mask)
    assert set(found) == {KIND.AREA, KIND.LONG_AXIS, KIND.SHORT_AXIS}
    assert found[KIND.AREA].text == "20.2 mm2 in frame 15"  # neither the edge in frame 11 nor the last frame cut it off
    line = found[KIND.LONG_AXIS].line
    assert line is not None and line.slice_index == 4


# --- Units ------------------------------------------------------------------------------------------------------------


def test_without_spacing_nothing_is_measured(shared_data) -> None:
    volume = only_part([shared_data / "dicom/pydicom/src/pydicom/data/test_files/examples_palette.dcm"])
    assert measure(volume, np.ones(volume.values.shape[:3], dtype=bool)) == ()


def test_values_without_a_known_unit_have_no_mean(volume) -> None:
    mask = volume.values > 3000
    assert KIND.MEAN in measured(volume, mask)
    for modality in ("CT", "MR", "NM"):
        unknown = dataclasses.replace(volume, unit=None, modality=modality)
        assert set(measured(unknown, mask)) == {KIND.VOLUME, KIND.LONG_AXIS, KIND.SHORT_AXIS}


def test_pet_has_its_activity(shared_data) -> None:
    volume = only_part([shared_data / "dicom/suyash/testdata/1.dcm"])
    mask = np.ones(volume.values.shape[:3], dtype=bool)
    found = measured(volume, mask)
    assert KIND.MEAN not in found
    activity = found[KIND.ACTIVITY_MEAN]
    assert (activity.value, activity.unit.value) == (pytest.approx(float(volume.values.mean()), rel=1e-5), "Bq/ml")


def test_an_empty_mask_measures_nothing_but_its_emptiness(volume) -> None:
    (nothing,) = measure(volume, np.zeros(volume.values.shape, dtype=bool))
    assert (nothing.kind, nothing.rounded, nothing.text) == (KIND.VOLUME, 0.0, "0 ml")


def test_mean_and_deviation_are_those_of_all_marked_values(volume) -> None:
    random = np.random.default_rng(0)
    values = random.normal(40, 15, volume.values.shape).astype(np.float32)
    mask = random.random(values.shape) < 0.3
    mask[3] = False
    found = measured(dataclasses.replace(volume, values=values), mask)
    inside = values[mask].astype(np.float64)
    assert found[KIND.MEAN].value == pytest.approx(inside.mean(), rel=1e-12)
    assert found[KIND.STANDARD_DEVIATION].value == pytest.approx(inside.std(), rel=1e-12)


def test_values_that_are_all_the_same_do_not_deviate(volume) -> None:
    flat = dataclasses.replace(volume, values=np.full(volume.values.shape, 0.1, dtype=np.float32))
    mask = np.ones(volume.values.shape, dtype=bool)
    assert measured(flat, mask)[KIND.STANDARD_DEVIATION].text == "0 HU"


# --- Volume -----------------------------------------------------------------------------------------------------------


def test_slices_count_with_what_they_stand_for(box_series) -> None:
    """Gaps of 3 mm up to the fifth slice and of 6 mm from there on, on a tilted gantry."""

    def mixed(index: int, header: Dataset) -> None:
        place = 3.0 * index if index < 5 else 12.0 + 6.0 * (index - 4)
        header.ImagePositionPatient = [0, 0.2 * place, place]
        header.InstanceNumber = index + 1

    volume = only_part(box_series(change=mixed).files)
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[3:6, 5:10, 5:10] = True
    cubic_mm = 25 * 0.8 * 0.7 * (3.0 + 4.5 + 6.0)
    assert measured(volume, mask)[KIND.VOLUME].value == pytest.approx(cubic_mm / 1000)


# --- Rounding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rounded", "text"),
    [
        (12.34, 12.3, "12.3 ml"),
        (1499.96, 1500.0, "1500.0 ml"),
        (1.04, 1.0, "1.0 ml"),
        (0.996, 1.0, "1.0 ml"),
        (0.994, 0.99, "0.99 ml"),
        (0.2722, 0.27, "0.27 ml"),
        (0.0996, 0.1, "0.10 ml"),
        (0.0499, 0.05, "0.050 ml"),
        (0.04, 0.04, "0.040 ml"),
        (0.000456, 0.00046, "0.00046 ml"),
        (1e-4, 0.0001, "0.00010 ml"),
        (0.0, 0.0, "0 ml"),
        (-0.0, 0.0, "0 ml"),
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
