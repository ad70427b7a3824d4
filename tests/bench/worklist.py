"""What the worklist costs with 10,000 studies, on SQLite and on PostgreSQL: milliseconds on the server.

- The page, each tab and filter, searches by name, Patient ID and UID, a page far behind: a request to the application
  in this process, rows, counts and HTML.
- Keeping the rows: all of them from nothing, a look with nothing changed, one with 20 studies changed.
- Fifty readers of `medseg-node web`, signed in, while 20 instances a second come in by C-STORE: each holds the stream
  of events and asks for its rows when it is told that some changed, as the page does, and opens a study now and then.
  Errors of readers and of the sender, and how long each answer took.

No peer has a worklist of answers to measure beside; what is promised stands as `target`.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from fastapi import Request
from fastapi.testclient import TestClient
from sqlalchemy import insert, select, update

from tests.bench.readers import READERS, read_along
from tests.bench.state import Filled, filled
from tests.services import running_postgres
from workflows.bootstrap import Node
from workflows.settings import load_settings
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import ReviewState
from workflows.state.states import StudyState
from workflows.state.tables import JobRow, SeriesRow, StudyRow
from workflows.steps.worklist import Look, refresh
from workflows.web.access import Person, Role
from workflows.web.app import create_app

TARGET_MS = 200.0
SECONDS, CHANGES_A_SECOND = 15, 20
PERSON = Person("reader", "Test^Reader", Role.REVIEWER, "token")


class OpenDoor:
    """Lets everybody in as one person: what is measured is the worklist."""

    async def admit(self, request: Request) -> Person:
        return PERSON


PAGES: dict[str, tuple[dict[str, list[str]], str]] = {
    "to review": ({}, ""),
    "mine": ({"tab": ["mine"]}, ""),
    "reviewed": ({"tab": ["reviewed"]}, ""),
    "needs attention": ({"tab": ["attention"]}, ""),
    "modality": ({"modality": ["MR"]}, ""),
    "protocol": ({"protocol": ["abdominal-ct"]}, ""),
    "priority": ({"priority": ["stat"]}, ""),
    "received today": ({"received": ["today"]}, ""),
    "with a change": ({"change": ["1"]}, ""),
    "three filters": ({"modality": ["CT"], "priority": ["routine"], "received": ["week"]}, ""),
    "search by name": ({}, "phantom004 beta"),
    "search, a common name": ({"tab": ["reviewed"]}, "epsilon"),
    "search by patient ID": ({}, "P000123"),
    "search by accession": ({"tab": ["reviewed"]}, "A00001234"),
    "search, nothing": ({}, "nobody is called so"),
}


def vary(node: Filled) -> None:
    """Modalities, priorities and reviews as a hospital has them: two of three studies are reviewed."""
    dealt = random.Random(17)
    now = datetime.now(UTC)
    with node.engine.begin() as connection:
        uids = list(connection.scalars(select(StudyRow.study_uid).order_by(StudyRow.study_uid)))
        for modality, share in (("MR", 0.3), ("DX", 0.1)):
            chosen = dealt.sample(uids, int(len(uids) * share))
            for start in range(0, len(chosen), 500):
                of = SeriesRow.study_uid.in_(chosen[start : start + 500])
                connection.execute(update(SeriesRow).where(of).values(modality=modality))
        stat = dealt.sample(uids, len(uids) // 50)
        connection.execute(update(JobRow).where(JobRow.study_uid.in_(stat)).values(priority="stat"))
        read = select(StudyRow.study_uid, StudyRow.generation).where(StudyRow.state == StudyState.DELIVERED)
        reviews: list[dict[str, Any]] = [
            {
                "study_uid": uid,
                "number": 1,
                "generation": generation,
                "state": ReviewState.WRITTEN if dealt.random() > 0.01 else ReviewState.DRAFT,
                "version": 1,
                "reviewer": "reader",
                "name": "Test^Reader",
                "verdicts": [],
                "missed": [],
                "reason": "",
                "attempts": 0,
                "started_at": now - timedelta(days=1),
                "changed_at": now - timedelta(days=1),
                "signed_at": now - timedelta(minutes=number),
            }
            for number, (uid, generation) in enumerate(connection.execute(read.order_by(StudyRow.study_uid)))
            if dealt.random() < 2 / 3
        ]
        connection.execute(insert(ReviewRow), reviews)


def milliseconds(times: list[float]) -> tuple[float, float]:
    """p50 and p95."""
    ordered = sorted(times)
    return 1000 * statistics.median(ordered), 1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def show(database: str, what: str, times: list[float], target: float | None = None, note: str = "") -> None:
    p50, p95 = milliseconds(times)
    missed = "  missed" if target is not None and p95 > target else ""
    goal = "" if target is None else f"{target:.0f} ms"
    print(
        f"{database:<12}{what:<34}{1000 * min(times):>9.1f}{p50:>9.1f}{p95:>9.1f}{goal:>9}{missed}  {note}", flush=True
    )


# --- Pages ------------------------------------------------------------------------------------------------------------


def pages(node: Filled, own: Node, repeats: int) -> None:
    client = TestClient(create_app(own, OpenDoor()), base_url="http://127.0.0.1")
    for name, (filters, query) in {**PAGES, "page 40 of reviewed": _far(client)}.items():
        times = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            answer = client.post("/worklist/rows", json={"filters": filters, "q": query})
            times.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.text
        total = answer.text.partition('data-total="')[2].partition('"')[0]
        show(node.name, name, times[1:], TARGET_MS, f"{total} studies")
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        assert client.get("/worklist").status_code == 200
        times.append(time.perf_counter() - started)
    show(node.name, "the whole page", times[1:], TARGET_MS)


def _far(client: TestClient) -> tuple[dict[str, list[str]], str]:
    """The fortieth page, come to by turning pages."""
    filters: dict[str, list[str]] = {"tab": ["reviewed"]}
    for _ in range(39):
        text = client.post("/worklist/rows", json={"filters": filters, "q": ""}).text
        after = text.partition('data-page="after:')[2].partition('"')[0]
        if not after:
            break
        filters = {"tab": ["reviewed"], "page": [f"after:{after}"]}
    return filters, ""


# --- Keeping the rows -------------------------------------------------------------------------------------------------


def keeping(node: Filled, own: Node) -> None:
    started = time.perf_counter()
    made = refresh(own.repository, own.folder)
    show(node.name, "every row from nothing", [time.perf_counter() - started], None, f"{len(made)} rows")
    look, quiet, busy = Look(), [], []
    refresh(own.repository, own.folder, look)
    for _ in range(20):
        started = time.perf_counter()
        refresh(own.repository, own.folder, look)
        quiet.append(time.perf_counter() - started)
    show(node.name, "a look, nothing changed", quiet)
    dealt = random.Random(5)
    for _ in range(10):
        _change(node, dealt)
        started = time.perf_counter()
        refresh(own.repository, own.folder, look)
        busy.append(time.perf_counter() - started)
    show(node.name, "a look, 20 studies changed", busy)


def _change(node: Filled, dealt: random.Random, count: int = CHANGES_A_SECOND) -> None:
    """Let studies change as deliveries and verdicts do it."""
    with node.engine.begin() as connection:
        uids = list(connection.scalars(select(StudyRow.study_uid).order_by(StudyRow.study_uid)))
        chosen = StudyRow.study_uid.in_(dealt.sample(uids, min(count, len(uids))))
        values = {"changed_at": datetime.now(UTC), "reason": f"changed {dealt.random()}"}
        connection.execute(update(StudyRow).where(chosen).values(**values))


# --- Fifty readers ----------------------------------------------------------------------------------------------------


def readers(node: Filled, seconds: float) -> None:
    met = read_along(node, seconds, list(PAGES.values()))
    for what, times in met.answers.items():
        if times:
            note = f"{len(times)} answers, {met.instances_a_second:.0f} instances/s, {len(met.errors)} errors"
            show(node.name, f"{READERS} readers: {what}", times, 1000, note)
    for error in met.errors[:3]:
        print(f"    {error}")


# --- The command ------------------------------------------------------------------------------------------------------


def measure(node: Filled, arguments: argparse.Namespace) -> None:
    vary(node)
    (node.folder.instances / "gone").mkdir(parents=True)  # rows of files that never were
    own = Node(load_settings(node.configuration))
    try:
        keeping(node, own)
        if node.engine.dialect.name == "postgresql":
            with node.engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        pages(node, own, arguments.repeats)
    finally:
        own.repository.close()
    readers(node, arguments.seconds)


def databases(arguments: argparse.Namespace, folder: Path) -> Iterator[None]:
    if arguments.database != "postgresql":
        with filled("SQLite", "", folder / "sqlite", arguments.studies) as node:
            measure(node, arguments)
            yield
    if arguments.database != "sqlite":
        with (
            running_postgres(durable=True) as postgres,
            filled("PostgreSQL", postgres.fresh_url(), folder / "postgresql", arguments.studies) as node,
        ):
            measure(node, arguments)
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000, help="at least 2,000")
    parser.add_argument("--repeats", type=int, default=15, help="of each request")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that the readers read")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only one of them")
    arguments = parser.parse_args()
    # The filled database has no files: that headers cannot be read is not what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"{'database':<12}{'what':<34}{'best ms':>9}{'p50 ms':>9}{'p95 ms':>9}{'target':>9}")
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as temporary:
        for _ in databases(arguments, Path(temporary)):
            pass


if __name__ == "__main__":
    main()
