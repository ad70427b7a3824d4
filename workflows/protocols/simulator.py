"""Simulator: reading protocols replayed over stored studies, with why and why not, before a rule goes live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from dicom_node.errors import InstanceRefused
from dicom_node.storage.headers import StudyHeader, read_identifiers, read_study_header
from workflows.protocols.matching import match
from workflows.protocols.schema import ReadingProtocol

__all__ = ["Verdict", "read_studies", "replay", "verdict_table"]


@dataclass(frozen=True)
class Verdict:
    """What one protocol says of one series; `series_uid` is None where it speaks of the whole study."""

    study_uid: str
    series_uid: str | None
    series_description: str
    protocol: str
    asked: bool
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The verdict with plain values, for --json."""
        return dict(vars(self))


def read_studies(folder: Path) -> Iterator[StudyHeader]:
    """The studies among the files of a folder, by Study Instance UID; files that are not DICOM are passed over."""
    studies: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            found = read_identifiers(path)
        except InstanceRefused:
            continue
        studies.setdefault(found.study_uid, {}).setdefault(found.series_uid, []).append(path)
    for uid in sorted(studies):
        yield read_study_header(studies[uid])


def replay(studies: Iterable[StudyHeader], protocols: Sequence[ReadingProtocol]) -> tuple[Verdict, ...]:
    """A verdict for each series and protocol, the asked ones of a study first."""
    verdicts: list[Verdict] = []
    for study in studies:
        plan = match(study, protocols)
        names = {series.series_uid: series.series_description for series in study.series}
        for found in plan.matches:
            described = names[found.series_uid]
            name = f"{found.protocol.name} {found.protocol.version}"
            verdicts.append(Verdict(study.study_uid, found.series_uid, described, name, True, found.reason))
        for refusal in plan.refusals:
            described = names.get(refusal.series_uid or "", "")
            verdict = Verdict(study.study_uid, refusal.series_uid, described, refusal.protocol, False, refusal.reason)
            verdicts.append(verdict)
    return tuple(verdicts)


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """The verdicts as a person reads them on a terminal."""
    table = Table("study", "series", "protocol", "asked", "because")
    for verdict in verdicts:
        asked = "[green]yes[/]" if verdict.asked else "no"
        series = verdict.series_description or verdict.series_uid or ""
        table.add_row(verdict.study_uid, series, verdict.protocol, asked, verdict.reason)
    return table
