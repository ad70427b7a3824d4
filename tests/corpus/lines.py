"""The measurement's JSON lines, one a series, and the tables that are made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.corpus.inputs import Input
from tests.corpus.outcomes import Outcome

__all__ = ["Line", "compared", "read_lines", "summary", "table", "table_row"]


_INTRODUCTION = """# What becomes of other people's files

Every series under `../shared/data/dicom` and `../shared/cases` (`cases/`), each of its files alone, and a phantom of
each kind in [CONFORMANCE.md](../CONFORMANCE.md#kinds-of-input) (`phantom:`): asked about as `medseg-node ask` does,
in the profiles `air` and `ohif`, by a predictor that always marks something. The worse of the two outcomes is told.
"answered" means: SEG (contours of a projection image in `ohif`) and SR were written, the SEG holds every marked voxel,
and each of its frames lies where the image lies that it names, by a reader that shares no code with the node. "Before"
is commit 6ca54b5. `make corpus` measures it again."""


@dataclass(frozen=True)
class Line:
    """What became of a series, and of its files asked about one by one where there are several.

    `path`: under ../shared. `sop_class`, `modality`, `syntax`, `frames`: of its first file. `outcome`: a kind, or
    `kind: reason`. `marked`, `stored`: voxels of each part. `singles`: how often each outcome came of a single file;
    `single_details`: what was said of the first of each that was not answered.
    """

    path: str
    kind: str
    files: int
    outcome: str
    syntax: str = ""
    detail: str = ""
    parts: int = 0
    left_out: int = 0
    marked: tuple[int, ...] = ()
    stored: tuple[int, ...] = ()
    off_mm: float = 0.0
    seconds: float = 0.0
    singles: dict[str, int] = field(default_factory=dict)
    single_details: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(source: Input, outcome: Outcome, singles: Sequence[Outcome]) -> Line:
        details = {single.name: single.detail for single in reversed(singles) if single.detail}
        return Line(
            path=source.name,
            kind=source.kind.name,
            syntax=source.kind.syntax,
            files=len(source.files),
            outcome=outcome.name,
            detail=outcome.detail,
            parts=len(outcome.marked),
            left_out=len(outcome.left_out),
            marked=outcome.marked,
            stored=outcome.stored,
            off_mm=round(outcome.off_mm, 3),
            seconds=round(outcome.seconds, 2),
            singles=dict(Counter(single.name for single in singles)),
            single_details=details,
        )

    def to_json(self) -> str:
        """Without what is empty."""
        return json.dumps({key: value for key, value in asdict(self).items() if value not in ((), {}, "", 0, 0.0)})

    @staticmethod
    def from_json(text: str) -> Line:
        entry: dict[str, Any] = json.loads(text)
        lists = {key: tuple(entry[key]) for key in ("marked", "stored") if key in entry}
        return Line(**entry | lists)


def read_lines(path: Path) -> list[Line]:
    """The lines of a measurement."""
    return [Line.from_json(text) for text in path.read_text(encoding="utf-8").splitlines()]


def summary(lines: Sequence[Line]) -> str:
    """How many series, and how many single files, came to which outcome."""
    counts = _outcomes(lines)
    rows = [[name, str(series or ""), str(files or "")] for name, (series, files) in sorted(counts.items())]
    return table(["outcome", "series", "single files"], rows)


def compared(before: Sequence[Line], after: Sequence[Line]) -> str:
    """Markdown: outcomes before and after, by reason and by kind, and every series."""
    phantoms, real = (
        [[line for line in lines if line.path.startswith("phantom: ") is wanted] for lines in (before, after)]
        for wanted in (True, False)
    )
    return "\n\n".join(
        [
            _INTRODUCTION,
            f"## Outcomes\n{len(real[1])} series; their {_files(real[1])} files one by one.",
            _by_outcome(*real),
            "## By kind\nSeries; a count before each outcome.",
            _by_kind(*real),
            "## What is refused\nSeries; and files asked about alone that come to another end than their series.",
            _refusals(real[1]),
            "## Every series\nIn brackets: its files asked about alone.",
            _every(*real),
            "## Phantoms",
            _every(*phantoms),
        ]
    )


def _files(lines: Iterable[Line]) -> int:
    return sum(sum(line.singles.values()) or 1 for line in lines)


def _outcomes(lines: Iterable[Line]) -> dict[str, tuple[int, int]]:
    series: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for line in lines:
        series[line.outcome] += 1
        files.update(line.singles or {line.outcome: 1})
    return {name: (series[name], files[name]) for name in {*series, *files}}


def _by_outcome(before: Sequence[Line], after: Sequence[Line]) -> str:
    old, new = _outcomes(before), _outcomes(after)
    rows = [
        [name, *(str(count) for count in (*old.get(name, (0, 0)), *new.get(name, (0, 0))))]
        for name in sorted({*old, *new})
    ]
    return table(["outcome", "series before", "single files before", "series after", "single files after"], rows)


def _by_kind(before: Sequence[Line], after: Sequence[Line]) -> str:
    kinds = sorted({line.kind for line in (*before, *after)})
    rows = [[kind, _counted(before, kind), _counted(after, kind)] for kind in kinds]
    return table(["kind", "before", "after"], rows)


def _counted(lines: Iterable[Line], kind: str) -> str:
    counts = Counter(line.outcome for line in lines if line.kind == kind)
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _every(before: Sequence[Line], after: Sequence[Line]) -> str:
    old, new = ({(line.path, line.kind): line for line in lines} for lines in (before, after))
    rows = [[key[0], *(_told(lines.get(key)) for lines in (old, new))] for key in sorted({*old, *new})]
    return table(["series", "before", "after"], rows)


def _refusals(lines: Iterable[Line]) -> str:
    rows = []
    for line in sorted(lines, key=lambda line: (line.path, line.kind)):
        if line.detail:
            rows.append([line.path, _said(line.outcome, line.detail)])
        for name, detail in sorted(line.single_details.items()):
            if name != line.outcome:
                rows.append([f"{line.path}: {line.singles[name]} of {line.files} files", _said(name, detail)])
    return table(["what", "why"], rows)


def _said(name: str, detail: str) -> str:
    """The outcome and what was said, the reason once."""
    kind, _, reason = name.partition(": ")
    return f"{kind}: {detail}" if detail.startswith(f"{reason}:") else f"{name}: {detail}"


def _told(line: Line | None) -> str:
    if line is None:
        return "not there"
    said = [line.outcome]
    if line.parts > 1:
        said.append(f"{line.parts} parts")
    if line.left_out:
        said.append(f"{line.left_out} left out")
    if line.singles:
        said.append(f"[{', '.join(f'{number} {name}' for name, number in sorted(line.singles.items()))}]")
    return "; ".join(said)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as Markdown."""
    return "\n".join(f"| {' | '.join(table_row(cells))} |" for cells in (heads, ["---"] * len(heads), *rows))


def table_row(cells: Iterable[str]) -> tuple[str, ...]:
    """Cells as a table may hold them."""
    return tuple(cell.replace("|", "/") or "-" for cell in cells)
