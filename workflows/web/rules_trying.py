"""Trying: one study against all reading protocols, as a table of signs with the reason behind each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.matching import grounds, match
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.truth import Truth, all_of
from workflows.protocols.verdicts import Ground, Verdict

__all__ = ["TriedCell", "TriedProtocol", "TriedSeries", "TriedStudy", "try_study"]

_TOLD_AT_ONCE = 3


@dataclass(frozen=True)
class TriedSeries:
    """A series of the study. `number`: its column, from 1."""

    number: int
    header: SeriesHeader

    @property
    def named(self) -> str:
        """What a person knows it by."""
        described = self.header.series_description or self.header.protocol_name or "no description"
        return f"{self.header.modality or 'no modality'}, {described}"


@dataclass(frozen=True)
class TriedCell:
    """A protocol and a series. `ground`: None where the study decided already. `missing`, `flags`: as a Verdict's."""

    series: TriedSeries
    sign: Truth
    reason: str
    missing: tuple[str, ...]
    flags: tuple[str, ...]
    ground: Ground | None


@dataclass(frozen=True)
class TriedProtocol:
    """A row: a protocol and what it says of each series. `reason`: of the whole study, in a clause."""

    protocol: ReadingProtocol
    sign: Truth
    reason: str
    missing: tuple[str, ...]
    flags: tuple[str, ...]
    when: Ground
    cells: tuple[TriedCell, ...]

    @property
    def asked(self) -> int:
        """How many series it asks."""
        return sum(cell.sign is Truth.YES for cell in self.cells)


@dataclass(frozen=True)
class TriedStudy:
    """A study against all protocols: those that ask come first, then what is unknown, then the rest by rank; those that
    are off last."""

    study: StudyHeader
    series: tuple[TriedSeries, ...]
    rows: tuple[TriedProtocol, ...]

    @property
    def asking(self) -> int:
        """How many protocols ask something of it."""
        return sum(row.asked > 0 for row in self.rows)

    @property
    def off(self) -> int:
        """How many protocols are off."""
        return sum(bool(row.protocol.off_because) for row in self.rows)


def try_study(study: StudyHeader, protocols: Sequence[ReadingProtocol], at_most: int | None = None) -> TriedStudy:
    """Production's own matching, with every condition told. `at_most`: protocols a study, as `[protocols] at_most`."""
    series = tuple(TriedSeries(number, header) for number, header in enumerate(study.series, start=1))
    verdicts: dict[str, list[Verdict]] = {}
    for verdict in match(study, protocols, at_most).verdicts:
        verdicts.setdefault(verdict.protocol, []).append(verdict)
    rows = [_row(study, protocol, series, verdicts.get(protocol.name, [])) for protocol in protocols]
    return TriedStudy(study, series, tuple(sorted(rows, key=_place)))


def _place(row: TriedProtocol) -> tuple[bool, int, int, str]:
    sign = [Truth.YES, Truth.UNKNOWN, Truth.NO].index(row.sign)
    return bool(row.protocol.off_because), sign, -row.protocol.rank, row.protocol.name


def _row(
    study: StudyHeader, protocol: ReadingProtocol, series: Sequence[TriedSeries], verdicts: Sequence[Verdict]
) -> TriedProtocol:
    told = grounds(study, protocol)
    of_study = next((one for one in verdicts if one.series_uid is None), None)
    of_series = {one.series_uid: one for one in verdicts if one.series_uid is not None}
    cells = tuple(
        _cell(one, of_series.get(one.header.series_uid), of_study, told.when, told.series.get(one.header.series_uid))
        for one in series
    )
    signs = [cell.sign for cell in cells]
    sign = next((one for one in (Truth.YES, Truth.UNKNOWN) if one in signs), Truth.NO)
    asked = signs.count(Truth.YES)
    if asked:
        reason = f"asks {asked} of {len(series)} series" if len(series) > 1 else "asks its series"
    elif of_study is not None:
        reason = of_study.reason
    else:
        reason = _several(list(dict.fromkeys(cell.reason for cell in cells)))
    missing = of_study.missing if of_study is not None else ()
    return TriedProtocol(
        protocol, sign, reason, missing, of_study.flags if of_study is not None else (), told.when, cells
    )


def _several(reasons: Sequence[str]) -> str:
    """The first reasons in a row, and how many more there are."""
    more = len(reasons) - _TOLD_AT_ONCE
    listed = "; ".join(reasons[:_TOLD_AT_ONCE]) or "the study has no series"
    return f"{listed}; and {more} more" if more > 0 else listed


def _cell(
    series: TriedSeries, own: Verdict | None, of_study: Verdict | None, when: Ground, ground: Ground | None
) -> TriedCell:
    """Where a verdict speaks of the whole study, the series' own condition tells why it is no, if it is one."""
    shown = ground if when.truth is not Truth.NO else None
    verdict = own or of_study
    if verdict is None:
        return TriedCell(series, Truth.NO, "holds no images to ask about", (), (), shown)
    truth = all_of([when.truth, *([ground.truth] if ground is not None else [])])
    sign = Truth.YES if verdict.asked else Truth.UNKNOWN if truth is Truth.UNKNOWN else Truth.NO
    if own is None and shown is not None and shown.truth is Truth.NO:
        return TriedCell(series, sign, shown.told, shown.missing, (), shown)
    return TriedCell(series, sign, verdict.reason, verdict.missing, own.flags if own is not None else (), shown)
