"""Matching: a study's headers against the reading protocols, with a reason for every yes and every no. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import SeriesHeader, StudyHeader
from dicom_node.sop_classes import holds_images
from workflows.protocols.schema import ReadingProtocol, Selector, TextPattern
from workflows.protocols.verdicts import Verdict

__all__ = ["Plan", "Refusal", "SeriesMatch", "is_image_series", "match", "why", "why_not"]

# Modalities (PS3.3 C.7.3.1.1.1) whose instances hold no image to ask about. The SOP class is asked too: a modality is
# a free text that some systems fill in wrongly.
_NO_IMAGES = frozenset(
    {"ANN", "AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "M3D", "PLAN", "PR", "REG", "RESP", "RTDOSE", "RTPLAN"}
    | {"RTRECORD", "RTSTRUCT", "RWV", "SEG", "SMR", "SR", "STAIN", "TEXTUREMAP"}
)


@dataclass(frozen=True)
class SeriesMatch:
    """A series that a protocol asks, and why."""

    series_uid: str
    protocol: ReadingProtocol
    reason: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why a protocol does not ask a series; `series_uid` is None where it speaks of the whole study."""

    protocol: str
    series_uid: str | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """Which series are asked what, and why the others are not."""

    matches: tuple[SeriesMatch, ...]
    refusals: tuple[Refusal, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Why each series is asked or not, those that are asked first."""
        asked = (
            Verdict(True, f"{found.protocol.name} {found.protocol.version}", found.series_uid, found.reason)
            for found in self.matches
        )
        return (*asked, *(Verdict(False, no.protocol, no.series_uid, no.reason) for no in self.refusals))


def match(study: StudyHeader, protocols: Sequence[ReadingProtocol]) -> Plan:
    """Every protocol against every series of the study: a match or a refusal for each pair."""
    matches: list[SeriesMatch] = []
    refusals: list[Refusal] = []
    for protocol in protocols:
        if not study.series:
            refusals.append(Refusal(protocol.name, None, "the study has no series"))
        for series in study.series:
            reason = why_not(study, series, protocol.selector)
            if reason is None:
                matches.append(SeriesMatch(series.series_uid, protocol, why(study, series, protocol.selector)))
            else:
                refusals.append(Refusal(protocol.name, series.series_uid, reason))
    return Plan(tuple(matches), tuple(refusals))


def is_image_series(series: SeriesHeader) -> bool:
    """Whether a series can hold images to ask about; segmentations, reports and the like never do."""
    return series.modality not in _NO_IMAGES and all(holds_images(uid) for uid in series.sop_class_uids)


def why_not(study: StudyHeader, series: SeriesHeader, selector: Selector) -> str | None:
    """None if the selector takes the series, else the first criterion that it does not meet."""
    return _why_unfit(study, series, selector) or _why_not_shown(study, series, selector)


def why(study: StudyHeader, series: SeriesHeader, selector: Selector) -> str:
    """What shows the anatomy that the selector wants, or "" if nothing does."""
    codes = {f"{code.scheme}:{code.value}": code.meaning for code in _codes(study, series)}
    for code in selector.codes:
        if code in codes:
            return f"code {code} {codes[code]}".rstrip()
    if found := _found(selector.texts, study, series):
        return found
    body_part = series.body_part_examined.upper()
    if body_part in selector.body_part and (found := _found(selector.vague_texts, study, series)):
        return f"{found} and body part {body_part}"
    if not (selector.codes or selector.texts or selector.vague_texts):
        return f"modality {series.modality}"
    return ""


def _why_unfit(study: StudyHeader, series: SeriesHeader, selector: Selector) -> str | None:
    """The first property that rules the series out, whatever it shows."""
    if not is_image_series(series):
        return f"modality {series.modality or '(none)'}, {', '.join(series.sop_class_uids)}: no images"
    if selector.modality and series.modality not in selector.modality:
        return f"modality {series.modality or '(none)'} is not {' or '.join(selector.modality)}"
    if selector.sop_classes and (other := set(series.sop_class_uids) - set(selector.sop_classes)):
        return f"SOP class {', '.join(sorted(other))} is not wanted"
    image_type = [value.upper() for value in series.image_type]
    if lacking := [value for value in selector.image_type if value not in image_type]:
        return f"image type {'/'.join(image_type) or '(none)'} lacks {', '.join(lacking)}"
    if excluded := _found(selector.exclude, study, series):
        return f"excluded by {excluded}"
    for pattern in selector.exclude:
        if any(pattern.matches(value) for value in image_type):
            return f"excluded by /{pattern.expression}/ in image type {'/'.join(image_type)}"
    if not selector.instances.contains(series.instances):
        return f"{series.instances} instances, wanted are {selector.instances}"
    thickness = series.slice_thickness_mm
    if thickness is not None and not selector.slice_thickness_mm.contains(thickness):
        return f"slice thickness {thickness:g} mm, wanted is {selector.slice_thickness_mm} mm"
    return None


def _why_not_shown(study: StudyHeader, series: SeriesHeader, selector: Selector) -> str | None:
    """None if a code or a text shows the anatomy, else what was looked for and what stood there."""
    if why(study, series, selector):
        return None
    wanted = [*selector.codes, *(f"/{pattern.expression}/" for pattern in selector.texts)]
    said = [f"{name} {text!r}" for name, text in _descriptions(study, series)]
    said += [f"code {code.scheme}:{code.value}" for code in _codes(study, series)]
    reason = f"none of {', '.join(wanted) or 'its texts'} in {', '.join(said) or 'empty descriptions'}"
    body_part = series.body_part_examined.upper()
    return f"{reason}; body part {body_part} alone does not decide" if body_part in selector.body_part else reason


def _codes(study: StudyHeader, series: SeriesHeader) -> list[CodedHeader]:
    return [*study.procedure_codes, *series.protocol_codes, *series.anatomic_regions]


def _descriptions(study: StudyHeader, series: SeriesHeader) -> list[tuple[str, str]]:
    named = (
        ("study description", study.study_description),
        ("requested procedure", study.requested_procedure_description),
        ("series description", series.series_description),
        ("protocol name", series.protocol_name),
    )
    return [(name, text) for name, text in named if text]


def _found(patterns: Sequence[TextPattern], study: StudyHeader, series: SeriesHeader) -> str | None:
    """Which pattern matches which description, in words."""
    for pattern in patterns:
        for name, text in _descriptions(study, series):
            if pattern.matches(text):
                return f"/{pattern.expression}/ in {name} {text!r}"
    return None
