"""StudyHeader and SeriesHeader: what selectors of reading protocols may ask, read without pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_node.headers.attribute_reading import age_between
from dicom_node.headers.attribute_values import (
    Attributes,
    coded_values,
    first_frame_groups,
    first_text,
    first_whole_number,
    numbers_of,
    sub_items,
    text_values,
)
from dicom_node.headers.attributes import KeptSeries, KeptStudy, read_attributes
from dicom_node.headers.body_regions import NO_REGIONS, BodyRegions, body_regions_of
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.contrast_phase import contrast_phase
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.planes import plane_of
from dicom_node.sop_classes import Picture, picture_of

__all__ = [
    "SeriesHeader",
    "StudyHeader",
    "patient_age_years",
    "read_series_header",
    "read_study_header",
    "study_header",
]


@dataclass(frozen=True)
class SeriesHeader:
    """What a selector may ask of one series. Empty strings and None mean "not in the header"."""

    series_uid: str
    modality: str
    sop_class_uids: tuple[str, ...]
    instances: int
    body_part_examined: str = ""
    series_description: str = ""
    protocol_name: str = ""
    image_type: tuple[str, ...] = ()
    laterality: str = ""
    contrast_agent: str = ""
    slice_thickness_mm: float | None = None
    rows: int | None = None
    columns: int | None = None
    anatomic_regions: tuple[CodedHeader, ...] = ()
    protocol_codes: tuple[CodedHeader, ...] = ()
    regions: BodyRegions = NO_REGIONS  # what codes and words say, Body Part Examined never alone
    plane: str = ""  # axial, coronal, sagittal or oblique, by Image Orientation (Patient)
    phase: str = ""  # native, arterial, portal, venous, delayed: by words of the descriptions and contrast codes
    frames: int | None = None  # of the image that was read where it has several; else as many as there are images
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class StudyHeader:
    """What a selector may ask of a study, with its series in order of Series Instance UID."""

    study_uid: str
    study_description: str = ""
    accession_number: str = ""
    procedure_codes: tuple[CodedHeader, ...] = ()
    requested_procedure_description: str = ""
    patient_sex: str = ""
    patient_age_years: float | None = None
    referring_sources: tuple[str, ...] = ()  # calling AE titles that sent its instances
    series: tuple[SeriesHeader, ...] = field(default_factory=tuple)
    requested_priority: str = ""  # Requested Procedure Priority, such as STAT, in capitals
    reason: str = ""  # Reason for the Requested Procedure, or Reason for Study: as a text, else the meaning of its code
    reason_codes: tuple[CodedHeader, ...] = ()
    received_at: datetime | None = None  # when its last image came, aware

    @property
    def instances(self) -> int:
        """Of all series."""
        return sum(series.instances for series in self.series)


def read_series_header(paths: Sequence[Path]) -> SeriesHeader:
    """Header of one series from all of its files: attributes from the first file, SOP classes from all.

    `paths`: at least one; the same set gives the same header in whatever order. Attributes of enhanced multi-frame
    instances are taken from their functional groups (PS3.3 C.7.6.16). Raises UnparseableInstance for a file
    that is not DICOM.
    """
    return _series_header(_kept_series(paths))


def read_study_header(series: Mapping[str, Sequence[Path]], sources: Iterable[str] = ()) -> StudyHeader:
    """Header of one study from the files of its series: `study_header` of what is kept of them.

    `series`: files by Series Instance UID, at least one. `sources`: calling AE titles that sent them. Raises
    UnparseableInstance for a file that is not DICOM.
    """
    if not series:
        raise ValueError("a study header needs at least one series")
    return study_header(KeptStudy(tuple(_kept_series(series[uid]) for uid in sorted(series)), tuple(sources)))


def study_header(kept: KeptStudy) -> StudyHeader:
    """The header of a study from what is kept of it, with its series in the order in which they are kept.

    A text is taken from the first series that has it, codes are united over all. A series without a Series Instance UID
    goes by its number, from 1. Pure: the same gives the same.
    """
    headers = [series.attributes for series in kept.series]
    reason_codes = _united(map(_reason_codes, headers))
    reason = _first(headers, _reason) or next((code.meaning for code in reason_codes if code.meaning), "")
    return StudyHeader(
        study_uid=_first(headers, _text("StudyInstanceUID")),
        study_description=_first(headers, _text("StudyDescription")),
        accession_number=_first(headers, _text("AccessionNumber")),
        procedure_codes=_united(map(_procedure_codes, headers)),
        requested_procedure_description=_first(headers, _of_request("RequestedProcedureDescription")),
        patient_sex=_first(headers, _text("PatientSex")),
        patient_age_years=next((age for one in headers if (age := _age_years(one)) is not None), None),
        referring_sources=tuple(sorted(set(filter(None, kept.sources)))),
        series=tuple(_series_header(series, number) for number, series in enumerate(kept.series, start=1)),
        requested_priority=_first(headers, _of_request("RequestedProcedurePriority")).upper(),
        reason=reason,
        reason_codes=reason_codes,
        received_at=kept.received_at,
    )


def _kept_series(paths: Sequence[Path]) -> KeptSeries:
    """What is kept of the series of these files."""
    if not paths:
        raise ValueError("a series header needs at least one file")
    first, *others = sorted(paths)
    attributes = read_attributes(first)
    classes = {first_text(attributes, "SOPClassUID"), *map(_sop_class, others)}
    return KeptSeries(attributes, tuple(sorted(classes - {""})), len(paths))


def _sop_class(path: Path) -> str:
    meta, header = read_file_header(path, ("SOPClassUID",))
    return text(header, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")


def _series_header(kept: KeptSeries, number: int | None = None) -> SeriesHeader:
    attributes = kept.attributes
    modality = first_text(attributes, "Modality")
    classes = kept.sop_class_uids
    from_inside = picture_of(classes[0] if classes else "", modality) is Picture.PHOTOGRAPH
    return SeriesHeader(
        series_uid=first_text(attributes, "SeriesInstanceUID") or ("" if number is None else str(number)),
        modality=modality,
        sop_class_uids=classes,
        instances=kept.instances,
        body_part_examined=first_text(attributes, "BodyPartExamined"),
        series_description=first_text(attributes, "SeriesDescription"),
        protocol_name=first_text(attributes, "ProtocolName"),
        image_type=text_values(attributes, "ImageType"),
        laterality=_laterality(attributes),
        contrast_agent=_contrast_agent(attributes),
        slice_thickness_mm=_slice_thickness_mm(attributes),
        rows=first_whole_number(attributes, "Rows"),
        columns=first_whole_number(attributes, "Columns"),
        anatomic_regions=_anatomic_regions(attributes),
        protocol_codes=_protocol_codes(attributes),
        regions=body_regions_of(attributes, from_inside=from_inside),
        plane=plane_of(_of_first_frame(attributes, "PlaneOrientationSequence", "ImageOrientationPatient")),
        phase=contrast_phase(attributes),
        frames=_frames(attributes, kept.instances),
        attributes=attributes,
    )


# --- Of attributes ----------------------------------------------------------------------------------------------------


def _text(keyword: str) -> Callable[[Attributes], str]:
    return lambda attributes: first_text(attributes, keyword)


def _of_request(keyword: str) -> Callable[[Attributes], str]:
    """A text of the request, at the top or in Request Attributes Sequence.

    Requested Procedure Priority (PS3.3 C.4.11) is of a work list, but some modalities copy it into their images.
    """

    def read(attributes: Attributes) -> str:
        places = chain((attributes,), sub_items(attributes, "RequestAttributesSequence"))
        return next(filter(None, (first_text(place, keyword) for place in places)), "")

    return read


def _first(headers: Iterable[Attributes], read: Callable[[Attributes], str]) -> str:
    """The first text that is not empty."""
    return next(filter(None, map(read, headers)), "")


def _united(concepts: Iterable[tuple[CodedHeader, ...]]) -> tuple[CodedHeader, ...]:
    """All of them, each once, in the order in which they first stand."""
    return tuple(dict.fromkeys(chain.from_iterable(concepts)))


def _laterality(attributes: Attributes) -> str:
    plain = first_text(attributes, "ImageLaterality", "Laterality")
    if plain:
        return plain
    return _first(first_frame_groups(attributes, "FrameAnatomySequence")[:1], _text("FrameLaterality"))


def _contrast_agent(attributes: Attributes) -> str:
    coded = coded_values(attributes, "ContrastBolusAgentSequence")
    return first_text(attributes, "ContrastBolusAgent") or next((code.meaning or code.value for code in coded), "")


def _slice_thickness_mm(attributes: Attributes) -> float | None:
    return next(iter(_of_first_frame(attributes, "PixelMeasuresSequence", "SliceThickness")), None)


def _of_first_frame(attributes: Attributes, macro: str, keyword: str) -> tuple[float, ...]:
    """Numbers of the instance, or of its first frame (PS3.3 C.7.6.16)."""
    if plain := numbers_of(attributes, keyword):
        return plain
    return next((numbers_of(group, keyword) for group in first_frame_groups(attributes, macro)), ())


def _anatomic_regions(attributes: Attributes) -> tuple[CodedHeader, ...]:
    groups = first_frame_groups(attributes, "FrameAnatomySequence")
    return _united(coded_values(place, "AnatomicRegionSequence") for place in (attributes, *groups))


def _protocol_codes(attributes: Attributes) -> tuple[CodedHeader, ...]:
    return _coded(
        attributes,
        ("PerformedProtocolCodeSequence",),
        ("RequestAttributesSequence", "ScheduledProtocolCodeSequence"),
    )


def _procedure_codes(attributes: Attributes) -> tuple[CodedHeader, ...]:
    return _coded(
        attributes,
        ("ProcedureCodeSequence",),
        ("RequestedProcedureCodeSequence",),
        ("RequestAttributesSequence", "RequestedProcedureCodeSequence"),
    )


def _reason_codes(attributes: Attributes) -> tuple[CodedHeader, ...]:
    return _coded(
        attributes,
        ("ReasonForRequestedProcedureCodeSequence",),
        ("RequestAttributesSequence", "ReasonForRequestedProcedureCodeSequence"),
    )


def _coded(attributes: Attributes, *places: tuple[str, ...]) -> tuple[CodedHeader, ...]:
    return _united(coded_values(attributes, *place) for place in places)


def _reason(attributes: Attributes) -> str:
    return _of_request("ReasonForTheRequestedProcedure")(attributes) or first_text(attributes, "ReasonForStudy")


def _frames(attributes: Attributes, instances: int) -> int | None:
    """Of the image that was read where it has several; else as many as there are images."""
    frames = first_whole_number(attributes, "NumberOfFrames")
    return frames if frames is not None and frames > 1 else instances


def _age_years(attributes: Attributes) -> float | None:
    """Patient's Age; a person may have written a birth date instead, which no header that is kept has."""
    stated = _years(first_text(attributes, "PatientAge"))
    born = first_text(attributes, "PatientBirthDate")
    return _years(age_between(born, first_text(attributes, "StudyDate"))) if stated is None and born else stated


def _years(age: str) -> float | None:
    """The years of a Patient's Age (VR AS, PS3.5 6.2); None: it is none."""
    number, unit = age[:-1], age[-1:].upper()
    known = number.isdecimal() and len(number) <= _MOST_DIGITS and unit in _YEARS_PER_UNIT
    return int(number) * _YEARS_PER_UNIT[unit] if known else None


_MOST_DIGITS = 6
"""VR AS has three; a number without end is none."""
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def patient_age_years(header: Dataset) -> float | None:
    """Patient's Age (VR AS, PS3.5 6.2), or the time from birth to the study; None where neither is stated."""
    stated = _years(text(header, "PatientAge"))
    if stated is not None:
        return stated
    try:
        born = datetime.strptime(text(header, "PatientBirthDate"), "%Y%m%d")
        studied = datetime.strptime(text(header, "StudyDate"), "%Y%m%d")
    except ValueError:
        return None
    years = (studied - born).days / 365.25
    return years if years >= 0 else None
