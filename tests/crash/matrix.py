"""The whole matrix: every stage and every service, on both databases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from dicom_node.fault_points import WITHOUT_A_PERSON
from tests.crash.lines import Line
from tests.crash.scenes import Hospital, hospital, killed_at
from tests.crash.surroundings import (
    Sign,
    all_acknowledged,
    archive_refuses,
    clock,
    disk_full,
    frozen,
    has_logged,
    small_disk,
    stopped,
)
from tests.services import running_postgres, running_rabbitmq

__all__ = ["scenes"]

Scene = Callable[[], Line]


class _Ward:
    """A hospital in which one scene after the other is played; a new one after a promise was broken in it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._scene: Hospital | None = None

    def run(self, line: Line, attack: Callable[[Hospital], None]) -> Line:
        """Play a scene and count, all that was sent before it with it. Raises AssertionError for a broken promise."""
        try:
            if self._scene is None:
                self._scene = self._opened(line)
            attack(self._scene)
            return _counted(line, self._scene)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._scene = None
        self._stack.close()

    def _opened(self, line: Line) -> Hospital:
        broker = self._stack.enter_context(running_rabbitmq()) if line.broker == "RabbitMQ" else None
        postgres = line.database == "PostgreSQL"
        database = self._stack.enter_context(running_postgres(durable=True)) if postgres else None
        return self._stack.enter_context(hospital(broker=broker, database=database))


def scenes() -> Iterator[tuple[Line, Scene]]:
    """Each line of the matrix and what fills it; to be played in this order, each before the next is asked for."""
    for database, broker in (("SQLite", "embedded"), ("PostgreSQL", "RabbitMQ")):
        ward = _Ward()
        try:
            for line, attack in _in_ward(database, broker):
                yield line, partial(ward.run, line, attack)
        finally:
            ward.close()
        yield from _disk_and_clock(database, broker)


def _line(stage: str, fault: str, database: str, broker: str) -> Line:
    return Line(f"{stage} / {fault} / {database}", stage, fault, database, broker)


def _in_ward(database: str, broker: str) -> Iterator[tuple[Line, Callable[[Hospital], None]]]:
    for point in WITHOUT_A_PERSON:
        for whole in (False, True):
            fault = "SIGKILL of the whole node" if whole else "SIGKILL"
            yield _line(point.value, fault, database, broker), partial(killed_at, point=point, whole_node=whole)
    services = [("archive", "archive")]
    if broker != "embedded":
        services += [("RabbitMQ", "broker"), ("PostgreSQL", "database")]
    for stage, which in services:
        for fault, attack in (("stopped, started", stopped), ("frozen, thawed", frozen)):
            line = _line(stage, fault, database, broker)
            yield line, partial(_service, which=which, attack=attack)
    yield _line("archive", "refuses (0xA700)", database, broker), partial(archive_refuses, name="archive-refuses")


def _disk_and_clock(database: str, broker: str) -> Iterator[tuple[Line, Scene]]:
    line = _line("disk", "full", database, broker)
    yield line, partial(_run_on_small_disk, line)
    for offset in ("+3600", "-3600"):
        line = _line("clock", f"jumps by {offset} s", database, broker)
        yield line, partial(_run_with_clock, line, offset)


def _service(scene: Hospital, which: str, attack: Callable[..., None]) -> None:
    attack(scene, getattr(scene, which).service, f"{which}-{attack.__name__}", _sign(which, attack))


def _sign(which: str, attack: Callable[..., None]) -> Sign:
    """No database: instances are taken. No broker: jobs are answered, slower. No archive: results wait."""
    if which == "database":
        return all_acknowledged
    return has_logged("archive_unreachable" if which == "archive" and attack is stopped else "job_answered")


def _run_on_small_disk(line: Line) -> Line:
    with ExitStack() as stack:
        broker = stack.enter_context(running_rabbitmq()) if line.broker == "RabbitMQ" else None
        database = stack.enter_context(running_postgres(durable=True)) if line.database == "PostgreSQL" else None
        disk = stack.enter_context(small_disk(160)) / "data"
        scene = stack.enter_context(hospital(broker=broker, database=database, data_dir=disk))
        disk_full(scene, "full")
        return _counted(line, scene)


def _run_with_clock(line: Line, offset: str) -> Line:
    with ExitStack() as stack:
        broker = stack.enter_context(running_rabbitmq()) if line.broker == "RabbitMQ" else None
        database = stack.enter_context(running_postgres(durable=True)) if line.database == "PostgreSQL" else None
        environment, set_clock = clock(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        scene = stack.enter_context(
            hospital(broker=broker, database=database, environment=environment, quiet_period_s=3.0)
        )
        scene.deliver("jump", lambda _: set_clock(offset))
        scene.deliver("back", lambda _: set_clock("+0"))
        return _counted(line, scene)


def _counted(line: Line, scene: Hospital) -> Line:
    counts = scene.counts()
    return replace(line, kept=counts.equal, told=counts.told)
