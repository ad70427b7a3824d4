"""Fields: what a condition may ask by name, with the attributes behind each. Pure.

A key of a condition is a name of FIELDS, or a path of DICOM keywords, each but the last a sequence:
`RequestAttributesSequence/ReasonForTheRequestedProcedure`. Of a study, a field of series is asked of each of them: one
that meets it is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.keywords import is_keyword, is_sequence, tag_told
from dicom_node.headers.study import SeriesHeader, StudyHeader
from dicom_node.headers.value_kinds import holds_identity, holds_numbers, uid_name
from workflows.protocols.paths import path_values

__all__ = ["FIELDS", "Anatomy", "Field", "Kind", "Value", "field_of"]

Value = str | float | CodedHeader | datetime


class Kind(Enum):
    """Which checks a field takes: texts Equals and Pattern, numbers NumberRange and Equals, codes Coded (and Pattern on
    their meanings), times TimeOfDay; all of them Present."""

    TEXT = "text"
    NUMBER = "number"
    CODE = "code"
    TIME = "time"


class Anatomy(Enum):
    """Whether a field tells which part of the body is shown: by words or codes, or by Body Part Examined, which never
    decides alone."""

    NO = "no"
    SHOWN = "shown"
    BODY_PART = "body part"


Reader = Callable[[StudyHeader, SeriesHeader], tuple[Value, ...]]


@dataclass(frozen=True)
class Field:
    """`attributes`: what an explanation names as missing, such as `Slice Thickness (0018,0050)`. `read`: its values;
    of a field of the study the series is not looked at. `of_series`: it differs between series. `help`: one line.

    `unit`: of a number. `quoted`: whether a reason may repeat what stands there.
    """

    name: str
    kind: Kind
    attributes: str
    read: Reader
    of_series: bool
    help: str
    anatomy: Anatomy = Anatomy.NO
    unit: str = ""
    quoted: bool = True

    @property
    def label(self) -> str:
        """As a sentence names it: `slice thickness`."""
        return self.name.replace("_", " ")

    @property
    def by_regions(self) -> bool:
        """Whether its outcome depends on what else the header says of the part of the body (judging.py)."""
        return self.anatomy is Anatomy.BODY_PART or self.name == "region"


@lru_cache(maxsize=4096)
def field_of(key: str) -> Field | None:
    """The field of a key: a name of FIELDS or a path of keywords. None: there is no such name and no such keyword, or
    one that is not the last is no sequence."""
    if (known := FIELDS.get(key)) is not None:
        return known
    path = tuple(key.split("/"))
    if not all(map(is_keyword, path)) or not all(map(is_sequence, path[:-1])):
        return None
    last = path[-1]
    kind = Kind.CODE if is_sequence(last) else Kind.NUMBER if holds_numbers(last) else Kind.TEXT
    return Field(
        key,
        kind,
        " in ".join(tag_told(keyword) for keyword in reversed(path)),
        lambda _, series: path_values(series.attributes, path, coded=kind is Kind.CODE, numbers=kind is Kind.NUMBER),
        True,
        f"{tag_told(last)}, as it stands in the header",
        _anatomy_of(path),
        quoted=not any(map(holds_identity, path)) and last not in _FREE_TEXTS,
    )


_SHOWING = frozenset({
    "StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription",
    "PerformedProcedureStepDescription", "ScheduledProcedureStepDescription", "AnatomicRegionSequence",
    "PrimaryAnatomicStructureSequence", "ProcedureCodeSequence", "RequestedProcedureCodeSequence",
    "PerformedProtocolCodeSequence", "ScheduledProtocolCodeSequence",
})  # fmt: skip
# What people write about a patient in whole sentences may name them.
_FREE_TEXTS = frozenset({
    "ReasonForTheRequestedProcedure", "ReasonForStudy", "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory", "RequestedProcedureComments", "ImageComments", "StudyComments",
    "ImagingServiceRequestComments", "CommentsOnThePerformedProcedureStep", "ReasonForTheImagingServiceRequest",
})  # fmt: skip


def _anatomy_of(path: tuple[str, ...]) -> Anatomy:
    if path[-1] == "BodyPartExamined":
        return Anatomy.BODY_PART
    return Anatomy.SHOWN if not _SHOWING.isdisjoint(path) else Anatomy.NO


# --- The table --------------------------------------------------------------------------------------------------------


def _texts(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text and not text.isspace())


def _numbers(number: float | None) -> tuple[float, ...]:
    return () if number is None else (float(number),)


def _told(*keywords: str) -> str:
    return " or ".join(map(tag_told, keywords))


def _of_study(name: str, kind: Kind, attributes: str, read: Callable[[StudyHeader], tuple[Value, ...]], help: str,
              anatomy: Anatomy = Anatomy.NO, unit: str = "", quoted: bool = True) -> Field:  # fmt: skip
    return Field(name, kind, attributes, lambda study, _: read(study), False, help, anatomy, unit, quoted)


def _of_series(name: str, kind: Kind, attributes: str, read: Callable[[SeriesHeader], tuple[Value, ...]], help: str,
               anatomy: Anatomy = Anatomy.NO, unit: str = "") -> Field:  # fmt: skip
    return Field(name, kind, attributes, lambda _, series: read(series), True, help, anatomy, unit)


def _of_keyword(name: str, keyword: str, help: str, unit: str = "") -> Field:
    """A field that is one attribute of the header, as it stands there."""
    kind = Kind.NUMBER if holds_numbers(keyword) else Kind.TEXT

    def read(_: StudyHeader, series: SeriesHeader) -> tuple[Value, ...]:
        return path_values(series.attributes, (keyword,), numbers=kind is Kind.NUMBER)

    return Field(name, kind, tag_told(keyword), read, True, help, unit=unit)


def _descriptions(study: StudyHeader, series: SeriesHeader) -> tuple[Value, ...]:
    said = (
        study.study_description, study.requested_procedure_description, series.series_description, series.protocol_name
    )  # fmt: skip
    return tuple(dict.fromkeys(_texts(*said)))


def _sop_classes(series: SeriesHeader) -> tuple[Value, ...]:
    return tuple(said for uid in series.sop_class_uids for said in _texts(uid, uid_name(uid)))


def _received(study: StudyHeader) -> tuple[Value, ...]:
    return () if study.received_at is None else (study.received_at,)


TEXT, NUMBER, CODE, TIME = Kind.TEXT, Kind.NUMBER, Kind.CODE, Kind.TIME
_SHOWN = Anatomy.SHOWN


def _fields() -> Iterable[Field]:
    """Of the study first, then of series."""
    of_study, of_series, of_keyword = _of_study, _of_series, _of_keyword
    yield of_study("study_description", TEXT, _told("StudyDescription"), lambda one: _texts(one.study_description),
                   "Study Description", _SHOWN)  # fmt: skip
    yield of_study("requested_procedure", TEXT, _told("RequestedProcedureDescription"),
                   lambda one: _texts(one.requested_procedure_description),
                   "what was ordered, in words", _SHOWN)  # fmt: skip
    yield of_study("procedure", CODE, _told("ProcedureCodeSequence", "RequestedProcedureCodeSequence"),
                   lambda one: one.procedure_codes, "codes of what was ordered and done", _SHOWN)  # fmt: skip
    yield of_study("reason", TEXT, _told("ReasonForTheRequestedProcedure", "ReasonForStudy"),
                   lambda one: _texts(one.reason), "why the study was ordered, in words", quoted=False)  # fmt: skip
    yield of_study("reason_code", CODE, _told("ReasonForRequestedProcedureCodeSequence"), lambda one: one.reason_codes,
                   "codes of why the study was ordered")  # fmt: skip
    yield of_study("age", NUMBER, _told("PatientAge", "PatientBirthDate"), lambda one: _numbers(one.patient_age_years),
                   "the patient's age at the study, in years", unit=" years")  # fmt: skip
    yield of_study("sex", TEXT, _told("PatientSex"), lambda one: _texts(one.patient_sex),
                   "M, F or O, as registered")  # fmt: skip
    yield of_study("accession_number", TEXT, _told("AccessionNumber"), lambda one: _texts(one.accession_number),
                   "number of the order")  # fmt: skip
    yield of_study("calling_ae", TEXT, "calling AE title", lambda one: _texts(*one.referring_sources),
                   "AE titles that sent its images")  # fmt: skip
    yield of_study("requested_priority", TEXT, _told("RequestedProcedurePriority"),
                   lambda one: _texts(one.requested_priority), "such as STAT, in capitals")  # fmt: skip
    yield of_study("received", TIME, "time of receipt", _received, "when its last image came, by this host's clock")
    yield of_study("series_count", NUMBER, "number of series", lambda one: (float(len(one.series)),),
                   "series of the study")  # fmt: skip
    yield of_study("instance_count", NUMBER, "number of instances", lambda one: (float(one.instances),),
                   "instances of the whole study")  # fmt: skip
    descriptions = ("StudyDescription", "RequestedProcedureDescription", "SeriesDescription", "ProtocolName")
    yield Field("description", TEXT, _told(*descriptions), _descriptions, True,
                "the study's, requested procedure's, series' and protocol's descriptions", _SHOWN)  # fmt: skip
    yield of_series("modality", TEXT, _told("Modality"), lambda one: _texts(one.modality), "such as CT")
    yield of_series("sop_class", TEXT, _told("SOPClassUID"), _sop_classes, "UID or name of its SOP classes")
    # What `region` makes of contradictions and of Body Part Examined: judging.py.
    yield of_series("region", TEXT, f"{_told('AnatomicRegionSequence')} or description that names the body part",
                    lambda one: tuple(sorted(one.regions.regions)),
                    "parts of the body that codes and words name: head, chest, abdomen, ...", _SHOWN)  # fmt: skip
    yield of_series("body_part_examined", TEXT, _told("BodyPartExamined"), lambda one: _texts(one.body_part_examined),
                    "often wrong: beside another test of the anatomy only", Anatomy.BODY_PART)  # fmt: skip
    yield of_series("series_description", TEXT, _told("SeriesDescription"), lambda one: _texts(one.series_description),
                    "Series Description", _SHOWN)  # fmt: skip
    yield of_series("protocol_name", TEXT, _told("ProtocolName"), lambda one: _texts(one.protocol_name),
                    "the scanner's protocol", _SHOWN)  # fmt: skip
    yield of_series("protocol_code", CODE, _told("PerformedProtocolCodeSequence"), lambda one: one.protocol_codes,
                    "codes of the scanner's protocol", _SHOWN)  # fmt: skip
    yield of_series("anatomic_region", CODE, _told("AnatomicRegionSequence"), lambda one: one.anatomic_regions,
                    "codes of the part of the body", _SHOWN)  # fmt: skip
    yield of_series("image_type", TEXT, _told("ImageType"), lambda one: _texts(*one.image_type),
                    "each of its values")  # fmt: skip
    yield of_series("laterality", TEXT, _told("ImageLaterality", "Laterality"), lambda one: _texts(one.laterality),
                    "L, R, U or B")  # fmt: skip
    yield of_series("contrast_agent", TEXT, _told("ContrastBolusAgent", "ContrastBolusAgentSequence"),
                    lambda one: _texts(one.contrast_agent), "contrast agent, where one was given")  # fmt: skip
    yield of_series("slice_thickness", NUMBER, _told("SliceThickness"), lambda one: _numbers(one.slice_thickness_mm),
                    "in millimetres", unit=" mm")  # fmt: skip
    yield of_series("plane", TEXT, _told("ImageOrientationPatient"), lambda one: _texts(one.plane),
                    "axial, coronal, sagittal or oblique")  # fmt: skip
    yield of_series("phase", TEXT, "description or code that names the contrast phase",
                    lambda one: _texts(one.phase), "native, arterial, portal, venous or delayed")  # fmt: skip
    yield of_series("frames", NUMBER, _told("NumberOfFrames"), lambda one: _numbers(one.frames), "frames of all images")
    yield of_series("instances", NUMBER, "number of instances", lambda one: _numbers(one.instances),
                    "instances of the series")  # fmt: skip
    yield of_series("rows", NUMBER, _told("Rows"), lambda one: _numbers(one.rows), "height in pixels")
    yield of_series("columns", NUMBER, _told("Columns"), lambda one: _numbers(one.columns), "width in pixels")
    yield of_keyword("view_position", "ViewPosition", "such as PA, AP, LL, CC, MLO")
    yield of_keyword("presentation_intent", "PresentationIntentType", "FOR PRESENTATION or FOR PROCESSING")
    yield of_keyword("manufacturer", "Manufacturer", "who made the equipment")
    yield of_keyword("model", "ManufacturerModelName", "model of the equipment")
    yield of_keyword("software", "SoftwareVersions", "software of the equipment")
    yield of_keyword("station_name", "StationName", "name of the equipment")
    yield of_keyword("institution", "InstitutionName", "where it was taken")
    yield of_keyword("department", "InstitutionalDepartmentName", "department where it was taken")
    yield of_keyword("series_number", "SeriesNumber", "number of the series in its study")
    yield of_keyword("kernel", "ConvolutionKernel", "reconstruction kernel of a CT")
    yield of_keyword("kvp", "KVP", "tube voltage", " kV")
    yield of_keyword("field_strength", "MagneticFieldStrength", "of an MR, in tesla", " T")
    yield of_keyword("sequence_name", "SequenceName", "pulse sequence of an MR")
    yield of_keyword("echo_time", "EchoTime", "in milliseconds", " ms")
    yield of_keyword("repetition_time", "RepetitionTime", "in milliseconds", " ms")
    yield of_keyword("slice_spacing", "SpacingBetweenSlices", "from slice to slice, in millimetres", " mm")
    yield of_keyword("patient_position", "PatientPosition", "such as HFS, FFP")


FIELDS: dict[str, Field] = {field.name: field for field in _fields()}
"""Names that a condition may ask, those of the study first."""
