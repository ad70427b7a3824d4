"""Write the matrix and the soak into docs/reliability.md: python -m tests.crash.page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.crash.lines import Line

__all__ = ["page", "promises"]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by python -m tests.crash.page -->", "<!-- end -->"

ACKNOWLEDGED = "what was acknowledged is there bit for bit; the rest the sender sends again"
ONCE = "each object is in the archive once, and recorded"
promises = {
    "mid-pdu": "an instance that is cut off is not acknowledged; its sender sends it again",
    "written": "written, not synced: not acknowledged, nothing half is taken for whole",
    "synced": "synced, no row yet: the journal gives it its row after the restart",
    "before-response": "safe, not answered: the sender sends it again, and that changes nothing",
    "indexed": "its row is there, its journal entry too: indexed twice is indexed once",
    "completed": "COMPLETE, nobody woken: the scheduler wakes it again",
    "planned": "its jobs are there, nobody woken: the scheduler wakes them",
    "claimed": "the lease ends, the job is taken up again",
    "predicting": "the lease ends, the job is answered anew",
    "seg-saved": "saved, not recorded: made again, with the same bytes",
    "sending": ONCE,
    "sent": "the archive has it, no row says so: sent again under its UID, " + ONCE,
    "commitment-asked": "the answer finds its transaction, or the archive is asked again",
    "RabbitMQ": "the database is the truth: work goes on once the broker is back, and slower without it",
    "PostgreSQL": "instances are taken meanwhile; work goes on once it is back",
    "archive": "results wait and are sent; planning and reading go on",
    "disk": "0xA700 until there is room; " + ACKNOWLEDGED,
    "clock": "nothing is read too early, nothing waits an hour",
}


def page(matrix: list[Line], soak: list[Line]) -> str:
    """The made part of the page."""
    return "\n".join(_rows(matrix, soak)) + "\n"


def _rows(matrix: list[Line], soak: list[Line]) -> Iterator[str]:
    yield "| stage or service | what happens | promise | proved by | SQLite, embedded queue | PostgreSQL, RabbitMQ |"
    yield "|---|---|---|---|---|---|"
    cells: dict[tuple[str, str], dict[str, Line]] = {}
    for line in matrix:
        cells.setdefault((line.stage, line.fault), {})[line.database] = line
    for (stage, fault), found in cells.items():
        kept = (_cell(found.get(database)) for database in ("SQLite", "PostgreSQL"))
        yield f"| {stage} | {fault} | {promises[stage]} | {_proof(stage, fault)} | {' | '.join(kept)} |"
    for line in soak:
        yield ""
        kept = "kept" if line.kept else "BROKEN"
        about = (
            f"{line.name.partition(' / ')[2]}, {line.fault}, {line.database} and {line.broker}, {line.seconds:,.0f} s"
        )
        yield textwrap.fill(f"Soak: {about}: **{kept}**. {line.told}.", 120)


def _proof(stage: str, fault: str) -> str:
    """What does it again: in every test run, or by hand."""
    if fault == "SIGKILL":
        return f"`test_crash.py[{stage}]`"
    return f'`--only "{stage} / {fault} /"`'


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    return f"kept ({line.seconds:.0f} s)" if line.kept else f"**broken**: {line.told}"


def _lines(name: str) -> list[Line]:
    file = HERE / name
    return [Line(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(
        f"{before}{BEGIN}\n{page(_lines('matrix.jsonl'), _lines('soak.jsonl'))}{END}{rest.partition(END)[2]}"
    )
