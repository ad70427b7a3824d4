"""SUVbw against figures worked out by hand, from every place that a header may say it in."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydicom.dataset import Dataset

from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.rescale import BECQUEREL_PER_ML, SUV_BODY_WEIGHT
from dicom_node.volumes.uptake import UptakeUnknown, suv_factor

HALF_LIFE_S = 6586.2
Change = Callable[[Dataset], None]


def header() -> Dataset:
    """70 kg, 370 MBq of F-18 injected at 09:00, scanned at 10:00."""
    made = Dataset()
    made.Units, made.DecayCorrection, made.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    made.PatientWeight = 70
    made.SeriesDate, made.SeriesTime = "20260105", "100000"
    made.AcquisitionDate, made.AcquisitionTime = "20260105", "100000.00"
    injection = Dataset()
    injection.RadionuclideTotalDose, injection.RadionuclideHalfLife = 370e6, HALF_LIFE_S
    injection.RadiopharmaceuticalStartTime = "090000.00"
    made.RadiopharmaceuticalInformationSequence = [injection]
    return made


def volume(*headers: Dataset, **changes: Any) -> SeriesVolume:
    values = {"modality": "PT", "is_color": False, "inverted": False, "unit": BECQUEREL_PER_ML}
    return cast(SeriesVolume, SimpleNamespace(source=headers[0], sources=headers, **(values | changes)))


def factor(change: Change = lambda _: None, **changes: Any) -> float:
    made = header()
    change(made)
    return suv_factor(volume(made, **changes))


def after(seconds: float) -> float:
    return 70_000 / (370e6 * math.pow(2, -seconds / HALF_LIFE_S))


def of_injection(**values: Any) -> Change:
    def change(made: Dataset) -> None:
        for keyword, value in values.items():
            setattr(made.RadiopharmaceuticalInformationSequence[0], keyword, value)

    return change


def of_header(**values: Any) -> Change:
    def change(made: Dataset) -> None:
        for keyword, value in values.items():
            setattr(made, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (of_header(), after(3600)),
        (of_header(DecayCorrection="ADMIN"), after(0)),
        (of_injection(RadiopharmaceuticalStartDateTime="20260105083000.000000+0100"), after(5400)),
        (of_injection(RadiopharmaceuticalStartDateTime="20990105083000"), after(3600)),  # a shifted date: by the time
        (of_injection(RadiopharmaceuticalStartTime="09:00"), after(3600)),
        (of_injection(RadiopharmaceuticalStartTime="233000"), after(10.5 * 3600)),  # the evening before
        # A series made later: the scan began when the first frame did, less what passed before it.
        (of_header(SeriesTime="120000", FrameReferenceTime=900.0, ActualFrameDuration=1800.0), after(3600)),
        (of_header(DecayCorrectionDateTime="20260105094500", DecayCorrection=""), after(2700)),
    ],
)
def test_the_dose_decays_to_the_moment_that_images_are_corrected_to(change: Change, expected: float) -> None:
    assert factor(change) == pytest.approx(expected, rel=1e-6)


def test_a_moment_in_another_time_zone_is_turned_into_the_scans() -> None:
    def change(made: Dataset) -> None:
        made.TimezoneOffsetFromUTC = "+0100"
        of_injection(RadiopharmaceuticalStartDateTime="20260105080000+0000")(made)

    assert factor(change) == pytest.approx(after(3600))


@pytest.mark.parametrize(
    "change",
    [
        of_header(Units="CNTS"),
        of_header(PatientWeight=80),
        of_header(DecayCorrection="ADMIN"),
        of_injection(RadionuclideTotalDose=300e6),
        of_injection(RadiopharmaceuticalStartTime="091000"),
    ],
)
def test_slices_that_say_otherwise_have_no_common_factor(change: Change) -> None:
    first, second = header(), header()
    change(second)
    with pytest.raises(UptakeUnknown, match="slices differ"):
        suv_factor(volume(first, second))


def test_a_later_series_takes_the_start_from_the_slice_that_was_acquired_first() -> None:
    first, second = header(), header()
    for made, at, reference_ms in ((first, "100200", 240e3), (second, "100400", 360e3)):
        made.SeriesTime, made.AcquisitionTime = "120000", at
        made.FrameReferenceTime, made.ActualFrameDuration = reference_ms, 240e3
    # The first frame, from 2 to 6 minutes after the start, has its mean activity a little before its middle at 4.
    assert suv_factor(volume(second, first)) == pytest.approx(after(3600), rel=1e-3)


def test_ge_says_when_it_scanned() -> None:
    made = header()
    made.SeriesTime = "120000"
    made.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20260105101500.00")
    assert suv_factor(volume(made)) == pytest.approx(after(4500))


def test_values_that_are_suv_stay_what_they_are() -> None:
    assert factor(of_header(Units="GML", PatientWeight=None), unit=SUV_BODY_WEIGHT) == 1.0


@pytest.mark.parametrize(("element", "expected"), [(0x00, 0.002), (0x09, 0.002 * after(3600))])
def test_philips_counts_have_private_factors(element: int, expected: float) -> None:
    made = header()
    made.Units = "CNTS"
    made.private_block(0x7053, "Philips PET Private Group", create=True).add_new(element, "DS", "0.002")
    assert suv_factor(volume(made, unit=None)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (of_header(PatientWeight=None), "Patient's Weight"),
        (of_header(PatientWeight=0), "Patient's Weight"),
        (of_header(RadiopharmaceuticalInformationSequence=[]), "Radionuclide Total Dose"),
        (of_header(PatientWeight=70_000), "not in kg"),
        (of_injection(RadionuclideTotalDose=370), "not in Bq"),
        (of_injection(RadionuclideHalfLife=None), "Half Life"),
        (of_injection(RadiopharmaceuticalStartTime=""), "Start Time"),
        # A scan that begins before the injection, by two clocks or on purpose, is none of the next day.
        (of_injection(RadiopharmaceuticalStartTime="100500"), "does not fit the scan"),
        (
            of_injection(RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20260105100500"),
            "Start Time",
        ),
        (of_injection(RadionuclideHalfLife=109.8), "does not fit the scan"),  # minutes
        (of_injection(RadionuclideHalfLife=78.4 * 3600), "date of the injection"),
        (of_header(CorrectedImage=["ATTN"]), "corrected"),
        (of_header(CorrectedImage=["DECY"]), "corrected"),
        (of_header(DecayCorrection="NONE"), "Decay Correction"),
        (of_header(SeriesTime="120000"), "Series Time"),
    ],
)
def test_what_is_missing_is_named(change: Change, missing: str) -> None:
    with pytest.raises(UptakeUnknown, match=missing):
        factor(change)


@pytest.mark.parametrize(
    "changes", [{"modality": "CT"}, {"inverted": True}, {"is_color": True}, {"unit": None}], ids=str
)
def test_other_values_have_none(changes: dict[str, Any]) -> None:
    with pytest.raises(UptakeUnknown):
        factor(**changes)
