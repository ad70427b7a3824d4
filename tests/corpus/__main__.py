"""Measure what becomes of the series and files of ../shared, and of a phantom of each kind, when `ask` reads them.

python -m tests.corpus --out after.jsonl          ask about everything, in both profiles; a line a series
python -m tests.corpus --compare BEFORE AFTER     print the tables of two measurements
python -m tests.corpus --table                    write the table of kinds of input in CONFORMANCE.md anew
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.corpus.conformance import write_table
from tests.corpus.inputs import PHANTOM, Input, case_inputs, data_inputs, phantom_inputs, shared_folder
from tests.corpus.lines import Line, compared, read_lines, summary
from tests.corpus.outcomes import ask_in_both_profiles
from tests.corpus.predictors import bright, middle

CHECKOUT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Do what the call asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the JSON lines go")
    parser.add_argument("--only", default="", help="measure only series whose path holds this")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a series in one profile")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        print(compared(*map(read_lines, arguments.compare)))
    elif arguments.table:
        write_table(CHECKOUT / "CONFORMANCE.md")
    elif arguments.out:
        _measure(arguments.out, arguments.only, arguments.limit)
    else:
        parser.error("name --out, --compare or --table")


def _measure(out: Path, only: str, limit_s: float) -> None:
    shared = shared_folder()
    if not (shared / "data/dicom").is_dir():
        sys.exit(f"no data at {shared / 'data/dicom'}: put it there or set MEDSEG_SHARED_DATA")
    lines = []
    with TemporaryDirectory() as work, out.open("w", encoding="utf-8") as file:
        for source in _inputs(shared, Path(work)):
            if only not in source.name:
                continue
            start = time.monotonic()
            line = _line(source, limit_s)
            lines.append(line)
            print(line.to_json(), file=file, flush=True)
            print(f"{time.monotonic() - start:6.1f} s  {line.outcome:40}  {line.path}", file=sys.stderr)
    print(summary(lines))


def _inputs(shared: Path, work: Path) -> Iterator[Input]:
    yield from phantom_inputs(work)
    yield from case_inputs(shared, work)
    yield from data_inputs(shared)


def _line(source: Input, limit_s: float) -> Line:
    mark, alone = (bright, ()) if source.kind == PHANTOM else (middle, source.files)
    return Line.of(
        source,
        ask_in_both_profiles(source.files, mark, limit_s),
        [ask_in_both_profiles([file], mark, limit_s) for file in alone if len(alone) > 1],
    )


if __name__ == "__main__":
    main()
