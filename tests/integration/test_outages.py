"""A broker or a database that stops, or stands still and says nothing: it costs time, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu import Connection
from pydicom.data import get_testdata_file

from tests.services import Postgres, RabbitMQ, await_true, running_postgres, running_rabbitmq

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
MR = Path(str(get_testdata_file("MR_small.dcm", download=False)))

pytestmark = [pytest.mark.timeout(280), pytest.mark.soak]


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with running_rabbitmq() as service:
        yield service


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with running_postgres() as service:
        yield service


@contextlib.contextmanager
def standing_still(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def frozen(broker: RabbitMQ) -> Iterator[None]:
    pid = int("".join(filter(str.isdigit, broker.control("eval", "os:getpid()."))))
    with standing_still([pid]):
        yield


@contextlib.contextmanager
def stopped(broker: RabbitMQ) -> Iterator[None]:
    broker.control("stop_app")
    try:
        yield
    finally:
        broker.control("start_app")


@pytest.mark.parametrize("away", [frozen, stopped])
def test_a_broker_that_is_away_keeps_no_study_from_its_results(
    broker: RabbitMQ, make_node: Callable[..., Any], away: Callable[..., Any]
) -> None:
    node = make_node(broker=broker.fresh_url(), node="# lost wake-ups are found by looking")
    node.start()
    node.child()
    with away(broker):
        node.send([CT])
        node.await_states("DELIVERED")
    node.send([MR])
    node.await_states("DELIVERED", 2)
    node.require_delivered_once(2)
    assert not node.log("role_died") and not node.log("predicting_died"), "nobody had to be replaced"


def test_messages_of_anybody_are_taken_off_the_queues_of_rabbitmq(
    broker: RabbitMQ, make_node: Callable[..., Any]
) -> None:
    node = make_node(broker=broker.fresh_url())
    node.start()
    node.child()
    queues = ("planning", "delivery", "inference")
    with Connection(node_broker(node)) as connection:
        producer = connection.Producer()
        for queue in queues:
            for body, how in [
                ("", {}),
                (b"\xff\x00", {"content_type": "application/x-python-serialize", "content_encoding": "binary"}),
                ({"task": 1}, {"headers": {"task": ["plan"]}}),
                ([[], {}, {}], {"headers": {"task": "plan", "id": {"a": 1}}}),
            ]:
                producer.publish(body, exchange=queue, routing_key=queue, **how)
        node.await_logged("message_not_understood", 9)
        channel = connection.default_channel

        def left() -> int:
            return sum(channel.queue_declare(queue, passive=True).message_count for queue in queues)

        await_true(lambda: left() == 0, "the queues to be empty", 60)
    node.send([CT])
    node.await_states("DELIVERED")


def node_broker(node: Any) -> str:
    (url,) = (line.split('"')[1] for line in (node.folder / "node.toml").read_text().splitlines() if "amqp://" in line)
    return str(url)


def servers(database: Postgres) -> list[int]:
    """Every process of a PostgreSQL."""
    with psycopg.connect(host=database.host, port=database.port, user="medseg", dbname="postgres") as connection:
        backend = connection.info.backend_pid
    postmaster = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    found = [postmaster]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == postmaster:
                found.append(int(stat.parent.name))
    return found


def test_a_database_that_stands_still_or_breaks_off_costs_a_bounded_time(
    database: Postgres, make_node: Callable[..., Any]
) -> None:
    node = make_node(database=database.fresh_url())
    node.start()
    node.child()
    node.send([CT])
    node.await_states("DELIVERED")
    with psycopg.connect(
        host=database.host, port=database.port, user="medseg", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with standing_still(servers(database)):
        node.await_logged("database_unavailable", 3)
    node.send([MR])
    node.await_states("DELIVERED", 2)
    node.require_delivered_once(2)
    assert not node.log("role_died") and not node.log("predicting_died"), "nobody had to be replaced"
