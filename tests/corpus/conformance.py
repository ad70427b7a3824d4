"""The table of kinds of input in CONFORMANCE.md: a row a kind, made by asking about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.corpus.inputs import shared_folder
from tests.corpus.kind import Kind, described
from tests.corpus.kinds import KINDS
from tests.corpus.lines import table, table_row
from tests.corpus.outcomes import ask_in_both_profiles
from tests.corpus.predictors import bright, middle

__all__ = ["row", "rows_in", "write_table"]

_BEGIN, _END = "<!-- kinds of input: begin -->", "<!-- kinds of input: end -->"
_HEADS = ("kind", "outcome", "reason", "seen on")
_LIMIT_S = 120.0


def write_table(document: Path) -> None:
    """Put the table between its two marks in `document`; needs ../shared for the kinds with a real example."""
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    data = shared_folder() / "data"
    rows = [row(kind, data) for kind in KINDS]
    document.write_text(f"{before}{_BEGIN}\n{table(_HEADS, rows)}\n{_END}{after}", encoding="utf-8")


def rows_in(document: Path) -> Iterator[tuple[str, ...]]:
    """The table's rows as they stand in `document`."""
    text = document.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]
    lines = text.strip().splitlines()[2:]
    return (tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in lines)


def row(kind: Kind, data: Path | None) -> tuple[str, ...]:
    """What comes of a kind: of its real example where there is one, else of its phantom. `data`: ../shared/data."""
    if kind.real is not None:
        assert data is not None
        outcome, seen_on = ask_in_both_profiles(kind.real_files(data), middle, _LIMIT_S), "real files"
    else:
        with TemporaryDirectory() as folder:
            outcome = ask_in_both_profiles(kind.write(Path(folder)).files, bright, _LIMIT_S)
        seen_on = "synthetic"
    return table_row((kind.name, *described(outcome), seen_on))
