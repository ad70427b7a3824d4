"""Matching: a study's headers against the reading protocols, with a reason for every no. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.storage.headers import CodedHeader, SeriesHeader, StudyHeader
from workflows.protocols.schema import ReadingProtocol, Selector

__all__ = ["Plan", "Refusal", "SeriesMatch", "match", "why_not"]


@dataclass(frozen=True)
class SeriesMatch:
    """A series that a protocol asks."""

    series_uid: str
    protocol: ReadingProtocol


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


def match(study: StudyHeader, protocols: Sequence[ReadingProtocol]) -> Plan:
    """Every protocol against every series of the study."""
    matches: list[SeriesMatch] = []
    refusals: list[Refusal] = []
    for protocol in protocols:
        if not study.series:
            refusals.append(Refusal(protocol.name, None, "the study has no series"))
        for series in study.series:
            reason = why_not(study, series, protocol.selector)
            if reason is None:
                matches.append(SeriesMatch(series.series_uid, protocol))
            else:
                refusals.append(Refusal(protocol.name, series.series_uid, reason))
    return Plan(tuple(matches), tuple(refusals))


def why_not(study: StudyHeader, series: SeriesHeader, selector: Selector) -> str | None:
    """None if the selector takes the series, else the first criterion that it does not meet."""
    if series.modality not in selector.modality:
        return f"modality {series.modality or '(none)'} is not {' or '.join(selector.modality)}"
    descriptions = [study.study_description, study.requested_procedure_description]
    descriptions += [series.series_description, series.protocol_name]
    for pattern in selector.exclude:
        if any(pattern.matches(text) for text in (*descriptions, *series.image_type)):
            return f"excluded by /{pattern.expression}/"
    if not selector.instances.contains(series.instances):
        return (
            f"{series.instances} instances are outside {_range(selector.instances.minimum, selector.instances.maximum)}"
        )
    thickness, wanted = series.slice_thickness_mm, selector.slice_thickness_mm
    if thickness is not None and not wanted.contains(thickness):
        return f"slice thickness {thickness:g} mm is outside {_range(wanted.minimum, wanted.maximum)} mm"
    return _why_not_shown(study, series, selector, [text for text in descriptions if text])


def _why_not_shown(study: StudyHeader, series: SeriesHeader, selector: Selector, descriptions: list[str]) -> str | None:
    """Codes and texts decide; the body part only where the headers have neither."""
    coded: tuple[CodedHeader, ...] = study.procedure_codes + series.protocol_codes + series.anatomic_regions
    found = {f"{code.scheme}:{code.value}" for code in coded}
    if not selector.texts and not selector.codes and not selector.body_part:
        return None
    if found & set(selector.codes):
        return None
    if any(pattern.matches(text) for pattern in selector.texts for text in descriptions):
        return None
    body_part = series.body_part_examined.upper()
    if not found and not descriptions and body_part in selector.body_part:
        return None
    wanted = [f"/{pattern.expression}/" for pattern in selector.texts] + list(selector.codes)
    seen = descriptions + sorted(found)
    return f"none of {', '.join(wanted)} in {', '.join(repr(text) for text in seen) or 'empty descriptions'}" + (
        f"; body part {body_part} alone does not decide" if body_part else ""
    )


def _range(minimum: float | None, maximum: float | None) -> str:
    return f"{'-' if minimum is None else f'{minimum:g}'} to {'-' if maximum is None else f'{maximum:g}'}"
