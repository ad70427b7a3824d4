"""Examples: headers in a protocol's file that it must and must not match, tried with the whole folder. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dicom_node.headers.study import StudyHeader, study_header
from workflows.protocols.matching import Plan, match
from workflows.protocols.schema import Example, ReadingProtocol
from workflows.protocols.verdicts import Verdict

__all__ = ["TriedExample", "try_examples"]

_REASONS = 3
"""Verdicts that are told of an example that is not matched: as many as a line takes."""


@dataclass(frozen=True)
class TriedExample:
    """What became of an example. `asked`: indices of the series that the protocol asks, from 0. `failure`: what was
    expected, what happened, and why; "" where it is as expected."""

    protocol: ReadingProtocol
    example: Example
    study: StudyHeader
    asked: tuple[int, ...]
    failure: str = ""


def try_examples(protocols: Sequence[ReadingProtocol]) -> Iterator[TriedExample]:
    """Every example of every protocol. One that is off is tried alone, as if it were in service."""
    in_service = [protocol for protocol in protocols if not protocol.off_because]
    for protocol in protocols:
        beside = [replace(protocol, off_because="")] if protocol.off_because else in_service
        for example in protocol.examples:
            study = study_header(example.study)
            plan = match(study, beside)
            asked = _asked(plan, protocol, study)
            yield TriedExample(protocol, example, study, asked, _failure(protocol, example, study, plan, asked))


def _asked(plan: Plan, protocol: ReadingProtocol, study: StudyHeader) -> tuple[int, ...]:
    uids = {found.series_uid for found in plan.matches if found.protocol.name == protocol.name}
    return tuple(index for index, series in enumerate(study.series) if series.series_uid in uids)


def _failure(
    protocol: ReadingProtocol, example: Example, study: StudyHeader, plan: Plan, asked: tuple[int, ...]
) -> str:
    verdicts = [verdict for verdict in plan.verdicts if verdict.protocol == protocol.name]
    title = f"example {example.title!r}"
    if not example.matches:
        if not asked:
            return ""
        said = _told([verdict for verdict in verdicts if verdict.asked], study)
        return f"{title} must not match, and {_of_series(asked, study)} would be asked: {said}"
    if not asked:
        said = _told([verdict for verdict in verdicts if not verdict.asked], study)
        return f"{title} must match, and nothing of it would be asked: {said or 'it has no series'}"
    if example.asks is None:
        return ""
    wanted = {index for index in range(len(study.series)) if _is_wanted(index, study, example.asks)}
    if unasked := sorted(wanted - set(asked)):
        uids = {study.series[index].series_uid for index in unasked}
        said = _told([verdict for verdict in verdicts if not verdict.asked and verdict.series_uid in uids], study)
        return f"{title}: {_of_series(unasked, study)} must be asked, and would not be: {said}"
    if others := sorted(set(asked) - wanted):
        uids = {study.series[index].series_uid for index in others}
        said = _told([verdict for verdict in verdicts if verdict.asked and verdict.series_uid in uids], study)
        return f"{title}: {_of_series(others, study)} would be asked, too, and stands not in asks: {said}"
    return ""


def _is_wanted(index: int, study: StudyHeader, asks: Sequence[str]) -> bool:
    return str(index + 1) in asks or study.series[index].series_description in asks


def _of_series(indices: Sequence[int], study: StudyHeader) -> str:
    return ", ".join(_series(index, study) for index in indices)


def _series(index: int, study: StudyHeader) -> str:
    description = study.series[index].series_description
    return f"series {index + 1}" + (f" ({description})" if description else "")


def _told(verdicts: Sequence[Verdict], study: StudyHeader) -> str:
    index_of = {series.series_uid: index for index, series in enumerate(study.series)}
    several = len(study.series) > 1
    reasons = []
    for verdict in verdicts:
        where = ""
        if several and verdict.series_uid in index_of:
            where = f"{_series(index_of[verdict.series_uid], study)}: "
        reasons.append(f"{where}{verdict.reason}")
    told = list(dict.fromkeys(reasons))
    more = f"; and {len(told) - _REASONS} more" if len(told) > _REASONS else ""
    return "; ".join(told[:_REASONS]) + more
