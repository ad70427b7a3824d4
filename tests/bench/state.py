"""What the database costs with 10,000 studies, 100,000 instances and 20,000 jobs, on SQLite and on PostgreSQL.

- The pages that people look at: `status` of the newest 50 studies and `explain` of one, as function calls down to the
  JSON, and `status` as a process. What is left of the process without `medseg-node --help`, which starts Python and
  imports the same, stands beside it.
- The scheduler's look at what is due: with nothing due, and with 20 (which it also puts off), and for quiet studies.
- C-STORE into the node on that database, without and with a process that reads the page of 50 every second, in turns;
  the ratio is the median of each round's, whose two runs are neighbours.

PostgreSQL syncs its commits here, unlike in the tests. Figures are medians; `target` is what must not be missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
from sqlalchemy import Engine, delete, func, select, update

from tests.bench.cstore import make_instances, start_sender
from tests.bench.filling import ARCHIVE, fill
from tests.bench.receivers import DCMSEND, NODE_PROGRAM, REPOSITORY, await_answer, free_port, running
from tests.services import running_postgres
from workflows.bootstrap import Node
from workflows.commands.reporting import explain_study, status_of_all
from workflows.data_folder import DataFolder
from workflows.settings import Settings, load_settings
from workflows.state.engine import open_engine
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, SeriesRow, StudyRow

PAGE = 50
PROTOCOLS = REPOSITORY / "deploy" / "protocols"

READER_PROGRAM = f"""
import sys, time
from pathlib import Path
from workflows.bootstrap import repository_to_read
from workflows.commands.reporting import status_of_all
from workflows.data_folder import DataFolder
from workflows.settings import load_settings
settings = load_settings(Path(sys.argv[1]))
repository, folder = repository_to_read(settings), DataFolder(settings.node.data_dir)
due = time.monotonic()
while True:
    status_of_all(repository, folder, limit={PAGE})
    print(flush=True)
    due += 1
    time.sleep(max(0, due - time.monotonic()))
"""


@dataclass(frozen=True)
class Figure:
    """One row of the table. `target`: the limit that issue and documents promise; None: none."""

    database: str
    what: str
    value: float
    unit: str
    target: float | None = None

    @property
    def missed(self) -> bool:
        """Whether a time is longer, or a ratio smaller, than promised."""
        if self.target is None:
            return False
        return self.value < self.target if self.unit == "ratio" else self.value > self.target


@dataclass(frozen=True)
class Filled:
    """A node's configuration and folder with a filled database."""

    name: str
    configuration: Path
    settings: Settings
    engine: Engine

    @property
    def folder(self) -> DataFolder:
        return DataFolder(self.settings.node.data_dir)


@contextmanager
def filled(name: str, url: str, folder: Path, studies: int) -> Iterator[Filled]:
    """A node that has kept as much as `fill` makes; `url` empty: SQLite in its data folder."""
    folder.mkdir()
    configuration = folder / "node.toml"
    text = f'[node]\nport = {free_port()}\ndata_dir = "{folder / "data"}"\n[database]\nurl = "{url}"\n'
    configuration.write_text(text)
    settings = load_settings(configuration)
    Node(settings).repository.close()  # the tables, and an identity for folder and database
    engine = open_engine(settings.database_url)
    started = time.monotonic()
    counts = fill(engine, studies, PROTOCOLS)
    if engine.dialect.name == "postgresql":  # its autovacuum does that within a minute
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    rows = ", ".join(f"{count:,} {table}" for table, count in counts.items())
    print(f"{name}: {rows}, written in {time.monotonic() - started:.0f} s", file=sys.stderr)
    try:
        yield Filled(name, configuration, settings, engine)
    finally:
        engine.dispose()


def seconds(run: Callable[[], object], repeats: int, before: Callable[[], object] = lambda: None) -> float:
    """The median time of a call that was made once before; `before` is not counted."""
    times = []
    for _ in range(repeats + 1):
        before()
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


# --- Pages ------------------------------------------------------------------------------------------------------------


def pages(node: Filled, repeats: int) -> Iterator[Figure]:
    """Status and explain, as calls and as a process."""
    repository, folder = Repository(node.engine), node.folder
    newest = repository.study_views(limit=PAGE)
    explained = next(view.study.study_uid for view in newest if view.study.state is StudyState.DELIVERED)

    def page() -> str:
        return json.dumps(status_of_all(repository, folder, limit=PAGE))

    def one() -> str:
        return json.dumps(explain_study(repository, folder, explained))

    yield Figure(node.name, f"status of the newest {PAGE}", seconds(page, repeats), "s", 0.5)
    yield Figure(node.name, "explain of one", seconds(one, repeats), "s", 0.5)
    words = ("status", "--limit", PAGE, "--json", "--config", node.configuration)
    runs = [(_command("--help"), _command(*words)) for _ in range(5)]
    yield Figure(node.name, "medseg-node status, the process", statistics.median(status for _, status in runs), "s")
    less = statistics.median(status - start for start, status in runs)
    yield Figure(node.name, "the same, less its start-up", less, "s", 0.5)


def _command(*words: object) -> float:
    """Run `medseg-node`; return the seconds that it took."""
    command = [sys.executable, "-m", "workflows.commands.cli", *map(str, words)]
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


# --- What is due ------------------------------------------------------------------------------------------------------


def looks(node: Filled, repeats: int) -> Iterator[Figure]:
    """What the scheduler does each second."""
    repository = Repository(node.engine)
    assert not repository.take_due(), "nothing should be due yet"
    yield Figure(node.name, "what is due: nothing", seconds(repository.take_due, repeats), "s", 0.02)
    with_20 = []
    for _ in range(repeats):
        _make_due(node.engine)
        started = time.perf_counter()
        due = repository.take_due()
        with_20.append(time.perf_counter() - started)
        assert (len(due.plans), len(due.jobs), len(due.deliveries)) == (2, 8, 10)
    yield Figure(node.name, "what is due: 20, found and put off", statistics.median(with_20), "s", 0.02)
    quiet = seconds(repository.complete_quiet_studies, repeats)
    yield Figure(node.name, "which studies are quiet: none", quiet, "s", 0.02)


def _make_due(engine: Engine) -> None:
    """Let two plans, eight jobs and the deliveries of ten jobs be due."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    with engine.begin() as connection:
        for row, key, criterion, count in (
            (StudyRow, StudyRow.study_uid, StudyRow.state == StudyState.COMPLETE, 2),
            (JobRow, JobRow.job_key, JobRow.state == JobState.PLANNED, 8),
        ):
            keys = connection.scalars(select(key).where(criterion).order_by(key).limit(count)).all()
            connection.execute(update(row).where(key.in_(keys)).values(wake_at=past))
        pending = select(DeliveryRow.job_key).where(DeliveryRow.state == DeliveryState.PENDING).distinct()
        keys = connection.scalars(pending.order_by(DeliveryRow.job_key).limit(10)).all()
        chosen = (DeliveryRow.job_key.in_(keys), DeliveryRow.archive == ARCHIVE)
        connection.execute(update(DeliveryRow).where(*chosen).values(wake_at=past))


# --- C-STORE beside a reader ------------------------------------------------------------------------------------------


def intake(node: Filled, instances: list[Path], rounds: int) -> Iterator[Figure]:
    """Instances a second without and with a reader of pages, in turns on one receiver."""
    alone: list[float] = []
    beside: list[float] = []
    port = node.settings.node.port
    with running(port, sys.executable, "-c", NODE_PROGRAM, node.configuration):
        await_answer(port)
        _send(node, port, instances)
        for number in range(rounds):
            # Whoever comes second finds what the first left in the caches.
            for with_reader in (True, False) if number % 2 else (False, True):
                if with_reader:
                    with _reading(node.configuration):
                        beside.append(_send(node, port, instances))
                else:
                    alone.append(_send(node, port, instances))
    print(f"{node.name}: C-STORE alone {_listed(alone)}, with a reader {_listed(beside)} instances/s", file=sys.stderr)
    yield Figure(node.name, "C-STORE", statistics.median(alone), "instances/s")
    yield Figure(node.name, "C-STORE with a reader", statistics.median(beside), "instances/s")
    ratio = statistics.median(with_reader / without for with_reader, without in zip(beside, alone, strict=True))
    yield Figure(node.name, "with a reader / without, a round", ratio, "ratio", 0.9)


def _await_rows(node: Filled, study_uid: str, count: int) -> None:
    counted = select(func.count()).where(InstanceRow.study_uid == study_uid)
    until = time.monotonic() + 60
    while True:
        with node.engine.connect() as connection:
            rows = connection.scalar(counted)
        if rows == count:
            return
        if time.monotonic() > until:
            raise SystemExit(f"{node.name}: {rows} of {count} instances were indexed")
        time.sleep(0.05)


def _send(node: Filled, port: int, instances: list[Path]) -> float:
    """Send everything over one association; return instances a second. Afterwards the node knows nothing of it."""
    study_uid = str(pydicom.dcmread(instances[0], stop_before_pixels=True).StudyInstanceUID)
    started = time.monotonic()
    sender = start_sender(port, instances)
    if sender.wait(timeout=600) != 0:
        raise SystemExit(f"dcmsend failed: {sender.args}")
    rate = len(instances) / (time.monotonic() - started)
    _await_rows(node, study_uid, len(instances))
    with node.engine.begin() as connection:
        for row in (InstanceRow, SeriesRow, StudyRow):
            connection.execute(delete(row).where(row.study_uid == study_uid))
    shutil.rmtree(node.folder.instances / study_uid)
    shutil.rmtree(next(instances[0].parent.glob("links-*")))
    return rate


@contextmanager
def _reading(configuration: Path) -> Iterator[None]:
    """Another process that has read its first page and reads on, one a second."""
    command = [sys.executable, "-c", READER_PROGRAM, str(configuration)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit("the reader ended before its first page")
            yield
            if process.poll() is not None:
                raise SystemExit(f"the reader ended with {process.returncode}")
        finally:
            process.terminate()


def _listed(rates: list[float]) -> str:
    return " ".join(f"{rate:.0f}" for rate in rates)


# --- The command ------------------------------------------------------------------------------------------------------


def measure(node: Filled, instances: list[Path], arguments: argparse.Namespace) -> Iterator[Figure]:
    yield from pages(node, arguments.repeats)
    yield from looks(node, arguments.repeats)
    yield from intake(node, instances, arguments.rounds)


def print_table(figures: list[Figure]) -> None:
    print(f"{'database':<12}{'what':<38}{'figure':>18}{'target':>10}")
    for figure in figures:
        value, target = _shown(figure.value, figure.unit), ""
        if figure.target is not None:
            target = _shown(figure.target, figure.unit)
        print(f"{figure.database:<12}{figure.what:<38}{value:>18}{target:>10}{'  missed' if figure.missed else ''}")


def _shown(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
    return f"{value:.2f}" if unit == "ratio" else f"{value:.1f} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000, help="at least 2,000")
    parser.add_argument("--instances", type=int, default=200, help="sent in each round of C-STORE")
    parser.add_argument("--rounds", type=int, default=9, help="of C-STORE without and with a reader")
    parser.add_argument("--repeats", type=int, default=15, help="of each call")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only one of them")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    if not DCMSEND.exists():
        raise SystemExit(f"missing: {DCMSEND}; apt-get install dcmtk")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as temporary:
        folder = Path(temporary)
        (folder / "instances").mkdir()
        instances = make_instances(folder / "instances", arguments.instances)
        if arguments.database != "postgresql":
            with filled("SQLite", "", folder / "sqlite", arguments.studies) as node:
                figures += measure(node, instances, arguments)
        if arguments.database != "sqlite":
            with (
                running_postgres(durable=True) as postgres,
                filled("PostgreSQL", postgres.fresh_url(), folder / "postgresql", arguments.studies) as node,
            ):
                figures += measure(node, instances, arguments)
    if arguments.json:
        print(json.dumps([{**asdict(figure), "missed": figure.missed} for figure in figures], indent=2))
        return
    print_table(figures)


if __name__ == "__main__":
    main()
