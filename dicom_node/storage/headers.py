"""StudyHeader and SeriesHeader: what reading protocols may ask, read without pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CodedHeader", "SeriesHeader", "StudyHeader"]


@dataclass(frozen=True)
class CodedHeader:
    """A coded concept as it stands in a header (PS3.3 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str = ""


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
