"""StudyHeader and SeriesHeader: what selectors of reading protocols may ask, read without pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.elements import codes, integer, items, number, read_file_header, text, texts
from dicom_node.headers.functional_groups import functional_group, functional_group_items
from dicom_node.headers.instance import IDENTIFIER_KEYWORDS

__all__ = ["SeriesHeader", "StudyHeader", "patient_age_years", "read_series_header", "read_study_header"]


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
    requested_priority: str = ""  # Requested Procedure Priority, such as STAT, in capitals


_SERIES_KEYWORDS = (
    *IDENTIFIER_KEYWORDS,
    "RequestAttributesSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "NumberOfFrames",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "ProtocolName",
    "ImageType",
    "Laterality",
    "ImageLaterality",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "SliceThickness",
    "Rows",
    "Columns",
    "AnatomicRegionSequence",
    "PerformedProtocolCodeSequence",
)
_STUDY_KEYWORDS = (
    *IDENTIFIER_KEYWORDS,
    "RequestAttributesSequence",
    "StudyDescription",
    "AccessionNumber",
    "ProcedureCodeSequence",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
)


def read_series_header(paths: Sequence[Path]) -> SeriesHeader:
    """Header of one series from all of its files: attributes from the first file, SOP classes from all.

    `paths`: at least one; the same set gives the same header in whatever order. Attributes of enhanced multi-frame
    instances are taken from their functional groups (PS3.3 C.7.6.16). Raises UnparseableInstance for a file
    that is not DICOM.
    """
    if not paths:
        raise ValueError("a series header needs at least one file")
    first, *others = sorted(paths)
    _, header = read_file_header(first, _SERIES_KEYWORDS)
    sop_classes = {text(header, "SOPClassUID"), *(_sop_class(path) for path in others)}
    return SeriesHeader(
        series_uid=text(header, "SeriesInstanceUID"),
        modality=text(header, "Modality"),
        sop_class_uids=tuple(sorted(sop_classes - {""})),
        instances=len(paths),
        body_part_examined=text(header, "BodyPartExamined"),
        series_description=text(header, "SeriesDescription"),
        protocol_name=text(header, "ProtocolName"),
        image_type=texts(header, "ImageType"),
        laterality=_laterality(header),
        contrast_agent=_contrast_agent(header),
        slice_thickness_mm=_slice_thickness_mm(header),
        rows=integer(header, "Rows"),
        columns=integer(header, "Columns"),
        anatomic_regions=_anatomic_regions(header),
        protocol_codes=_united(
            codes(header, "PerformedProtocolCodeSequence"),
            codes(header, "RequestAttributesSequence", "ScheduledProtocolCodeSequence"),
        ),
    )


def read_study_header(series: Mapping[str, Sequence[Path]], sources: Iterable[str] = ()) -> StudyHeader:
    """Header of one study from the files of its series.

    `series`: files by Series Instance UID, at least one. `sources`: calling AE titles that sent them. A text is taken
    from the first series that has it, codes are united over all. Raises UnparseableInstance for a file that is not
    DICOM.
    """
    if not series:
        raise ValueError("a study header needs at least one series")
    ordered = [series[uid] for uid in sorted(series)]
    headers = [read_file_header(min(paths), _STUDY_KEYWORDS)[1] for paths in ordered]
    return StudyHeader(
        study_uid=_first(headers, lambda header: text(header, "StudyInstanceUID")) or "",
        study_description=_first(headers, lambda header: text(header, "StudyDescription")) or "",
        accession_number=_first(headers, lambda header: text(header, "AccessionNumber")) or "",
        procedure_codes=_united(*(_procedure_codes(header) for header in headers)),
        requested_procedure_description=_first(headers, _requested_procedure_description) or "",
        patient_sex=_first(headers, lambda header: text(header, "PatientSex")) or "",
        patient_age_years=_first(headers, patient_age_years),
        referring_sources=tuple(sorted({source for source in sources if source})),
        series=tuple(read_series_header(paths) for paths in ordered),
        requested_priority=_first(headers, _requested_priority) or "",
    )


_Value = TypeVar("_Value", str, float)


def _first(headers: Sequence[Dataset], read: Callable[[Dataset], _Value | None]) -> _Value | None:
    """The first value that is neither None nor empty."""
    return next((value for header in headers if (value := read(header)) not in (None, "")), None)


def _united(*concepts: tuple[CodedHeader, ...]) -> tuple[CodedHeader, ...]:
    """All of them, each once, in the order in which they first stand."""
    return tuple(dict.fromkeys(chain.from_iterable(concepts)))


def _sop_class(path: Path) -> str:
    meta, header = read_file_header(path, ("SOPClassUID",))
    return text(header, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")


def _laterality(header: Dataset) -> str:
    plain = text(header, "ImageLaterality") or text(header, "Laterality")
    anatomy = functional_group(header, 0, "FrameAnatomySequence")
    return plain or ("" if anatomy is None else text(anatomy, "FrameLaterality"))


def _contrast_agent(header: Dataset) -> str:
    coded = next((code.meaning or code.value for code in codes(header, "ContrastBolusAgentSequence")), "")
    return text(header, "ContrastBolusAgent") or coded


def _slice_thickness_mm(header: Dataset) -> float | None:
    plain = number(header, "SliceThickness")
    if plain is not None:
        return plain
    measures = functional_group(header, 0, "PixelMeasuresSequence")
    return None if measures is None else number(measures, "SliceThickness")


def _anatomic_regions(header: Dataset) -> tuple[CodedHeader, ...]:
    return _united(
        codes(header, "AnatomicRegionSequence"),
        *(codes(item, "AnatomicRegionSequence") for item in functional_group_items(header, 0, "FrameAnatomySequence")),
    )


def _procedure_codes(header: Dataset) -> tuple[CodedHeader, ...]:
    return _united(
        codes(header, "ProcedureCodeSequence"),
        codes(header, "RequestedProcedureCodeSequence"),
        codes(header, "RequestAttributesSequence", "RequestedProcedureCodeSequence"),
    )


def _requested_procedure_description(header: Dataset) -> str:
    return _of_request(header, "RequestedProcedureDescription")


def _requested_priority(header: Dataset) -> str:
    """Requested Procedure Priority (PS3.3 C.4.11): of a work list, but some modalities copy it into their images."""
    return _of_request(header, "RequestedProcedurePriority").upper()


def _of_request(header: Dataset, keyword: str) -> str:
    """A text of the request, at the top or in Request Attributes Sequence."""
    requests = items(header, "RequestAttributesSequence")
    return next(filter(None, (text(item, keyword) for item in (header, *requests))), "")


_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def patient_age_years(header: Dataset) -> float | None:
    """Patient's Age (VR AS, PS3.5 6.2), or the time from birth to the study; None where neither is stated."""
    age = text(header, "PatientAge").upper()
    if age[:-1].isdigit() and age[-1] in _YEARS_PER_UNIT:
        return int(age[:-1]) * _YEARS_PER_UNIT[age[-1]]
    try:
        born = datetime.strptime(text(header, "PatientBirthDate"), "%Y%m%d")
        studied = datetime.strptime(text(header, "StudyDate"), "%Y%m%d")
    except ValueError:
        return None
    years = (studied - born).days / 365.25
    return years if years >= 0 else None
