"""Simulator: reading protocols replayed over stored studies, with why and why not, before a rule goes live.

python -m workflows.protocols.simulator PROTOCOLS_DIR STUDIES_DIR [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dicom_node.errors import InstanceRefused
from dicom_node.headers.instance import read_identifiers
from dicom_node.headers.study import StudyHeader, read_study_header
from workflows.errors import ProtocolErrors
from workflows.protocols.loader import load_directory
from workflows.protocols.matching import match
from workflows.protocols.schema import ReadingProtocol

__all__ = ["Verdict", "main", "read_studies", "replay", "verdict_table"]


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a folder of protocols over a folder of DICOM files; 2 where the protocols have mistakes."""
    parser = argparse.ArgumentParser(description="Which stored series would be asked what, and why.")
    parser.add_argument("protocols", type=Path, help="folder of reading protocols")
    parser.add_argument("studies", type=Path, help="folder of DICOM files, such as a node's data_dir/instances")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    try:
        verdicts = replay(read_studies(given.studies), load_directory(given.protocols))
    except ProtocolErrors as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([verdict.as_json() for verdict in verdicts], indent=2))
    else:
        Console(soft_wrap=True).print(verdict_table(verdicts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
