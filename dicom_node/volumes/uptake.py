"""Standardized uptake value by body weight: by which factor the values of a PET volume become it.

The formula is that of QIBA's vendor-neutral pseudo-code: SUVbw = activity (Bq/ml) * weight (g) / dose (Bq), the dose
decayed to the moment to which the images are decay corrected (PS3.3 C.8.9.1, Decay Correction).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import BROKEN, items, number, text, texts
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.rescale import BECQUEREL_PER_ML, SUV_BODY_WEIGHT

__all__ = ["UptakeUnknown", "is_pet", "suv_factor"]

_LEAST_DOSE_BQ = 1e5
"""No dose for a patient is smaller; a number below is in another unit, most often MBq."""
_MOST_KG = 700.0
"""Nobody weighs more; a number above is in another unit, most often grams."""
_MOST_HALF_LIVES = 6
"""After so many half-lives nobody scans: times further apart are of two clocks, or of a scan before the injection."""
_DAY = timedelta(days=1)
_DATED_HALF_LIFE_S = 12 * 3600.0
"""A nuclide that lives longer may have been injected on an earlier day: a time without a date is not enough."""


class UptakeUnknown(DicomNodeError):
    """The header does not say by which factor values become SUVbw; the message says what is missing."""


def is_pet(volume: SeriesVolume) -> bool:
    """Whether SUV is to be expected: a volume of PET in grey values as they were stored."""
    return volume.modality == "PT" and not volume.is_color and not volume.inverted


def suv_factor(volume: SeriesVolume) -> float:
    """SUVbw in g/ml is this times the volume's values. Raises UptakeUnknown.

    1 where values are SUVbw already (Units GML). From Bq/ml by dose, half-life, injection time and weight. Philips
    counts (Units CNTS) by the private SUV Scale Factor (7053,1000), else by Activity Concentration Scale Factor.
    """
    if not is_pet(volume):
        raise UptakeUnknown("it is no PET")
    _require_one_exam(volume.sources)
    if volume.unit is not None and volume.unit == SUV_BODY_WEIGHT:
        return 1.0
    if volume.unit is not None and volume.unit == BECQUEREL_PER_ML:
        return _per_activity(volume.sources)
    header = volume.source
    if text(header, "Units") != "CNTS":
        raise UptakeUnknown("Units is not BQML, GML or CNTS")
    _require_corrected(header)
    if scale := _one_philips_number(volume.sources, 0x00):
        return scale
    if activity := _one_philips_number(volume.sources, 0x09):
        return activity * _per_activity(volume.sources)
    raise UptakeUnknown("values are counts, without a scale factor")


_EXAM = ("Units", "DecayCorrection", "DecayCorrectionDateTime")
_INJECTION = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")


def _require_one_exam(sources: Sequence[Dataset]) -> None:
    """What the factor is computed from is read of the first slice: another must not say otherwise."""
    stated = set()
    for source in sources:
        injection = next(items(source, "RadiopharmaceuticalInformationSequence"), Dataset())
        amounts = (number(source, "PatientWeight"), number(injection, "RadionuclideTotalDose"))
        times = [text(source, keyword) for keyword in _EXAM] + [text(injection, keyword) for keyword in _INJECTION]
        stated.add((*amounts, number(injection, "RadionuclideHalfLife"), *times))
    if len(stated) > 1:
        raise UptakeUnknown("slices differ in their units, weight, dose or decay correction")


def _per_activity(sources: Sequence[Dataset]) -> float:
    """SUVbw per Bq/ml."""
    header = sources[0]
    _require_corrected(header)
    weight_kg = number(header, "PatientWeight")
    if not weight_kg or weight_kg <= 0:
        raise UptakeUnknown("Patient's Weight is missing")
    if weight_kg > _MOST_KG:
        raise UptakeUnknown("Patient's Weight is not in kg")
    injection = next(items(header, "RadiopharmaceuticalInformationSequence"), Dataset())
    dose = number(injection, "RadionuclideTotalDose")
    if not dose or dose < _LEAST_DOSE_BQ:
        raise UptakeUnknown("Radionuclide Total Dose is missing or not in Bq")
    if text(header, "DecayCorrection") != "ADMIN":
        half_life_s = number(injection, "RadionuclideHalfLife")
        if not half_life_s or half_life_s <= 0:
            raise UptakeUnknown("Radionuclide Half Life is missing")
        reference, zone = _corrected_to(sources, half_life_s), text(header, "TimezoneOffsetFromUTC")
        dose *= 2 ** (-_since_injection_s(injection, reference, half_life_s, zone) / half_life_s)
    return weight_kg * 1000 / dose


def _require_corrected(header: Dataset) -> None:
    """For attenuation and decay, in the words of PET Image Storage or of its enhanced class (PS3.3 C.8.22.5)."""
    corrected = set(texts(header, "CorrectedImage"))
    attenuation = "ATTN" in corrected or text(header, "AttenuationCorrected") == "YES"
    decay = "DECY" in corrected or text(header, "DecayCorrected") == "YES"
    if not attenuation or not decay:
        raise UptakeUnknown("the images are not corrected for both attenuation and decay")


def _corrected_to(sources: Sequence[Dataset], half_life_s: float) -> datetime:
    """The moment to which the images are decay corrected, where that is the start of the scan.

    Series Date and Time, unless a slice was acquired before it: then the series was made later, and the start follows
    from GE's private Scan DateTime, or from the Frame Reference Time of the first slice that was acquired.
    """
    header = sources[0]
    zone = text(header, "TimezoneOffsetFromUTC")
    if (stated := _moment(text(header, "DecayCorrectionDateTime"), zone)) is not None:
        return stated
    if text(header, "DecayCorrection") != "START":
        raise UptakeUnknown("Decay Correction is neither START nor ADMIN")
    acquired = [(moment, source) for source in sources if (moment := _date_time(source, "Acquisition")) is not None]
    first = min(acquired, key=lambda entry: entry[0], default=None)
    series = _date_time(header, "Series")
    if series is not None and (first is None or series <= first[0]):
        return series
    if (scan := _moment(_private(header, 0x0009, "GEMS_PETD_01", 0x0D), zone)) is not None:
        return scan
    if first is not None:
        moment, source = first
        reference_ms, duration_ms = number(source, "FrameReferenceTime"), number(source, "ActualFrameDuration")
        if reference_ms and duration_ms and reference_ms > 0 and duration_ms > 0:
            decayed = math.log(2) / half_life_s * duration_ms / 1000
            middle_s = math.log(decayed / -math.expm1(-decayed)) / (math.log(2) / half_life_s)
            return moment - timedelta(seconds=reference_ms / 1000 - middle_s)
    raise UptakeUnknown("Series Time does not say when the scan began")


def _since_injection_s(injection: Dataset, reference: datetime, half_life_s: float, zone: str) -> float:
    started = _moment(text(injection, "RadiopharmaceuticalStartDateTime"), zone)
    if started is not None and 0 <= (reference - started).total_seconds() <= _MOST_HALF_LIVES * half_life_s:
        return (reference - started).total_seconds()
    at = _time(text(injection, "RadiopharmaceuticalStartTime"))
    if at is None:
        raise UptakeUnknown("Radiopharmaceutical Start Time is missing, or does not fit the scan")
    if half_life_s > _DATED_HALF_LIFE_S:
        raise UptakeUnknown("the date of the injection is missing, or does not fit the scan")
    midnight = reference.replace(hour=0, minute=0, second=0, microsecond=0)
    since_s = (reference - midnight - at).total_seconds() % _DAY.total_seconds()  # on the day before, if it is later
    if since_s > _MOST_HALF_LIVES * half_life_s:
        raise UptakeUnknown("Radiopharmaceutical Start Time does not fit the scan")
    return since_s


def _one_philips_number(sources: Sequence[Dataset], element: int) -> float | None:
    """A positive private number that all slices agree on."""
    values = {_private(source, 0x7053, "Philips PET Private Group", element) for source in sources}
    try:
        value = float(values.pop()) if len(values) == 1 else 0.0
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _private(header: Dataset, group: int, creator: str, element: int) -> str:
    """A private element as text, trimmed; empty if it is absent."""
    try:
        value = header.private_block(group, creator)[element].value
        return (value.decode("ascii") if isinstance(value, bytes) else str(value)).strip(" \0")
    except BROKEN:
        return ""


def _date_time(header: Dataset, which: str) -> datetime | None:
    """The pair of Date and Time attributes as one moment."""
    return _moment(text(header, f"{which}Date") + text(header, f"{which}Time"))


_MOMENT = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)([+-]\d{4})?")


def _moment(value: str, zone: str = "") -> datetime | None:
    """A DT (PS3.5 6.2) with at least its hours, in local time.

    `zone`: Timezone Offset From UTC. A DT with another offset is turned into it; where nothing says what local time is,
    the DT's offset is left aside, as times of one scan share it.
    """
    match = _MOMENT.fullmatch(value)
    at = None if match is None else _time(match[2])
    try:
        if match is None or at is None:
            return None
        turned = _offset(zone) - _offset(match[3]) if zone and match[3] else timedelta()
        return datetime.strptime(match[1], "%Y%m%d") + at + turned
    except (ValueError, OverflowError):
        return None


def _offset(value: str) -> timedelta:
    """An offset from UTC such as +0130. Raises ValueError."""
    if re.fullmatch(r"[+-]\d{4}", value) is None:
        raise ValueError("no offset from UTC")
    return (-1 if value[0] == "-" else 1) * timedelta(hours=int(value[1:3]), minutes=int(value[3:]))


def _time(value: str) -> timedelta | None:
    """A TM (PS3.5 6.2) as what has passed since midnight."""
    match = re.fullmatch(r"(\d{2})(\d{2})?(\d{2}(?:\.\d{1,6})?)?", value.replace(":", ""))
    if match is None:
        return None
    passed = timedelta(hours=int(match[1]), minutes=int(match[2] or 0), seconds=float(match[3] or 0))
    return passed if passed < _DAY else None
