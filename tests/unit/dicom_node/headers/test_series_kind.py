"""SeriesKind: when a series was taken, and whether another one shows the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.headers.series_kind import SeriesKind, series_kind


def header(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(("values", "taken"), [
    ({"StudyDate": "20260102", "StudyTime": "120001.5"}, "2026-01-02T12:00:01"),
    ({"StudyDate": "2026.01.02", "StudyTime": "12:00:01"}, "2026-01-02T12:00:01"),
    ({"StudyDate": "20260102", "StudyTime": "12"}, "2026-01-02"),
    ({"StudyDate": "", "AcquisitionDate": "20260103"}, "2026-01-03"),
    ({"StudyDate": "20261399", "AcquisitionDateTime": "20260104101112.0"}, "2026-01-04T10:11:12"),
    ({}, ""),
])  # fmt: skip
def test_the_study_says_when_and_else_the_acquisition(values: dict[str, str], taken: str) -> None:
    assert series_kind(header(**values)).taken == taken


@pytest.mark.parametrize(("orientation", "plane"), [
    ([1, 0, 0, 0, 1, 0], "axial"), ([0, 1, 0, 0, 0, -1], "sagittal"), ([1, 0, 0, 0, 0.1, -0.99], "coronal"),
    ([1, 0, 0, 1, 0, 0], ""), (None, ""),
])  # fmt: skip
def test_a_plane_is_the_nearest(orientation: list[float] | None, plane: str) -> None:
    assert series_kind(header(ImageOrientationPatient=orientation)).plane == plane


def test_an_enhanced_image_says_it_in_its_functional_groups() -> None:
    measures, orientation, group = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 3
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    group.PixelMeasuresSequence, group.PlaneOrientationSequence = [measures], [orientation]
    found = series_kind(header(SharedFunctionalGroupsSequence=[group], PerFrameFunctionalGroupsSequence=[Dataset()]))
    assert (found.plane, found.grid) == ("sagittal", "slices of 3 mm, pixels of 0.8 x 0.7 mm")
    assert SeriesKind.from_json(found.as_json()) == found


def test_only_what_is_known_to_be_earlier_is_before() -> None:
    def on(taken: str) -> SeriesKind:
        return SeriesKind(taken=taken)

    assert on("2026-01-02").is_before(on("2026-01-03T10:00:00"))
    assert on("2026-01-02T09:00:00").is_before(on("2026-01-02T10:00:00"))
    assert not on("2026-01-02").is_before(on("2026-01-02T10:00:00")), "without a time the same day is not earlier"
    assert not on("").is_before(on("2026-01-03")) and not on("2026-01-03").is_before(on(""))
    assert not on("2026-01-03").is_before(on("2026-01-03"))


def test_what_contradicts_does_not_agree() -> None:
    assert SeriesKind(plane="axial").agrees(SeriesKind(view="pa"))
    assert not SeriesKind(view="pa").agrees(SeriesKind(view="lateral"))
    assert not SeriesKind(laterality="L").agrees(SeriesKind(laterality="R"))
