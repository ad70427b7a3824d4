"""What the starter library asks of every real study beside the checkout: the table of `tests/golden/plans.md`.

    python -m tests.plans      write the table anew; what stands above it is kept

A person reads the table line by line; a test compares it. It tells descriptions and modalities, and no other value of a
header: of a study not even its description, in which names of people stand.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.attribute_values import first_text
from dicom_node.headers.attributes import read_attributes
from dicom_node.headers.study import SeriesHeader, StudyHeader, read_study_header
from dicom_node.sop_classes import holds_images
from tests.corpus.inputs import case_inputs, shared_folder
from workflows.protocols.conditions import AllOf, Condition, Equals, Test
from workflows.protocols.loader import load_directory
from workflows.protocols.matching import Plan, match
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.verdicts import Verdict

__all__ = ["GOLDEN", "Row", "modalities_of", "rows_of", "table", "with_table"]

GOLDEN = Path(__file__).parent / "golden" / "plans.md"
PROTOCOLS = Path(__file__).parents[1] / "deploy" / "protocols"
HEADING = "## The plan of every series"
_COLUMNS = (
    "study", "modality", "series", "instances", "asked by", "off, and would ask", "why not, or what decided",
)  # fmt: skip
_OF_STUDY = re.compile(r"(study description|requested procedure) '[^']*'")
_LOCAL_CODES = re.compile(r"among (procedure|protocol) code [^;\[]*")
_PATTERNS = re.compile(r"none of /.*? in (?=study|series|protocol|requested)")
_LONGEST = 200
_CASES = (
    "enhanced-mr-per-frame-measures", "jpeg-lossless", "non-image-in-the-series",
    "radiograph-without-patient-orientation", "secondary-capture-with-modality-ct", "slice-thickness-empty",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A series of a study. `asked`: the protocols in service that ask it; `off`: those that would if they were on."""

    study: str
    modality: str
    series: str
    instances: int
    asked: tuple[str, ...]
    off: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        cells = (
            self.study, self.modality, self.series, f"{self.instances}", ", ".join(self.asked), ", ".join(self.off),
            self.reason,
        )  # fmt: skip
        return f"| {' | '.join(cell.replace('|', '/') or '-' for cell in cells)} |"


def rows_of(shared: Path) -> Iterator[Row]:
    """Every series of ../shared/data/dicom, and of those cases of ../shared/cases in which headers matter."""
    protocols = load_directory(PROTOCOLS)
    for name, files in _studies(shared):
        study = read_study_header(files)
        yield from _rows(name, study, protocols)


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    head = (f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}")
    return "\n".join((*head, *map(str, rows))) + "\n"


def with_table(page: str, rows: Iterable[Row]) -> str:
    """The page with its table made anew."""
    before = page.partition(HEADING)[0]
    return f"{before}{HEADING}\n\n{table(rows)}"


# --- Studies ----------------------------------------------------------------------------------------------------------


def _studies(shared: Path) -> Iterator[tuple[str, dict[str, list[Path]]]]:
    """Name of each study, and its files by Series Instance UID; an instance that lies there twice counts once."""
    data = shared / "data" / "dicom"
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        yield from _numbered(folder.name, sorted(path for path in folder.rglob("*") if path.is_file()))
    with tempfile.TemporaryDirectory() as work:
        by_case: dict[str, list[Path]] = {}
        for source in case_inputs(shared, Path(work), _CASES):
            by_case.setdefault(_case_of(source.name), []).extend(source.files)
        for case, files in by_case.items():
            yield from _numbered(case, files)


def _case_of(name: str) -> str:
    return "/".join(Path(name).parts[:2])


def _numbered(name: str, files: Sequence[Path]) -> Iterator[tuple[str, dict[str, list[Path]]]]:
    studies: dict[str, dict[str, dict[str, Path]]] = {}
    images = set()
    for path in files:
        try:
            attributes = read_attributes(path)
        except UnparseableInstance:
            continue
        study, series, instance = (
            first_text(attributes, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        if study and series and instance:  # the node takes nothing else
            studies.setdefault(study, {}).setdefault(series, {}).setdefault(instance, path)
            if holds_images(first_text(attributes, "SOPClassUID")):
                images.add(path)
    for number, series_of in enumerate(studies.values(), start=1):
        of_series = {uid: list(paths.values()) for uid, paths in series_of.items()}
        # A series that holds images beside other objects is known by its images, as in planning.
        yield (
            f"{name} {number}",
            {uid: [one for one in paths if one in images] or paths for uid, paths in of_series.items()},
        )


# --- Rows -------------------------------------------------------------------------------------------------------------


def _rows(name: str, study: StudyHeader, protocols: Sequence[ReadingProtocol]) -> Iterator[Row]:
    plan = match(study, protocols)
    if_all_on = match(study, [replace(one, off_because="") for one in protocols])
    off = {one.name for one in protocols if one.off_because}
    for series in sorted(study.series, key=lambda one: (one.modality, one.series_description, one.series_uid)):
        asked = tuple(verdict.protocol for verdict in _asked(plan, series))
        would = tuple(verdict.protocol for verdict in _asked(if_all_on, series) if verdict.protocol in off)
        reason = _reason(if_all_on, series, (*asked, *would), protocols)
        yield Row(name, series.modality, _described(series), series.instances, asked, would, reason)


def _asked(plan: Plan, series: SeriesHeader) -> list[Verdict]:
    return [verdict for verdict in plan.verdicts if verdict.asked and verdict.series_uid == series.series_uid]


def _described(series: SeriesHeader) -> str:
    """Series Description, else the protocol's name."""
    said = series.series_description or (f"({series.protocol_name})" if series.protocol_name else "")
    return " ".join(said.split())


def _reason(plan: Plan, series: SeriesHeader, asked: Sequence[str], protocols: Sequence[ReadingProtocol]) -> str:
    """What decided of a series that is asked, else why it is not: what kind of images it is, or what protocols of its
    modality say, those in service first."""
    verdicts = [one for one in plan.verdicts if one.series_uid in (series.series_uid, None)]
    if asked:
        return _short(next(one.reason for one in verdicts if one.asked and one.protocol in asked), verdicts)
    reasons = {one.protocol: one.reason for one in verdicts if not one.asked}
    if kinds := sorted({reason for reason in reasons.values() if reason.startswith(_KINDS)}):
        return _short(kinds[0], verdicts)
    of_modality = [one for one in protocols if series.modality in modalities_of(one.series.where)]
    nearest = [one.name for one in of_modality if not one.off_because] or [one.name for one in of_modality]
    told = "; ".join(_short(f"{name}: {reasons[name]}", ()) for name in nearest[:2] if name in reasons)
    return (told or f"no protocol for {series.modality or 'no modality'}") + _short("", verdicts)


_KINDS = ("no images", "a localizer", "a capture", "a dose report", "a reformat", "a result")


def modalities_of(condition: Condition) -> tuple[str, ...]:
    """Modalities that a condition of series names."""
    tests = condition.conditions if isinstance(condition, AllOf) else (condition,)
    checks = [check for test in tests if isinstance(test, Test) and test.field == "modality" for check in test.checks]
    return tuple(value for check in checks if isinstance(check, Equals) for value in check.values)


def _short(reason: str, verdicts: Sequence[Verdict]) -> str:
    flags = "".join(f" [{flag}]" for flag in dict.fromkeys(flag for one in verdicts for flag in one.flags))
    told = _PATTERNS.sub("none of its words in ", _OF_STUDY.sub(r"\1", " ".join(reason.split())))
    told = _LOCAL_CODES.sub(r"among its \1 codes", told)
    return (told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}...") + flags


if __name__ == "__main__":
    GOLDEN.write_text(with_table(GOLDEN.read_text(encoding="utf-8"), rows_of(shared_folder())), encoding="utf-8")
