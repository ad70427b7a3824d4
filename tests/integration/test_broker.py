"""A broker that closes a worker's channel, as RabbitMQ does with one that is busy for too long (consumer_timeout)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import RabbitMQ, await_true, running_rabbitmq
from workflows.bootstrap import Node
from workflows.roles.worker import CeleryWaker, make_app
from workflows.settings import load_settings

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def impatient() -> Iterator[RabbitMQ]:
    """A RabbitMQ that waits two seconds for the acknowledgement of a message."""
    with running_rabbitmq() as service:
        settings = {"consumer_timeout": 2000, "channel_tick_interval": 500}
        for name, milliseconds in settings.items():
            service.control("eval", f"application:set_env(rabbit, {name}, {milliseconds}).")
        yield service


def child_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_a_worker_whose_broker_closed_its_channel_ends_with_an_exit_code(impatient: RabbitMQ, tmp_path: Path) -> None:
    given = {"NODE__DATA_DIR": str(tmp_path / "data"), "BROKER__URL": impatient.fresh_url()}
    settings = {f"MEDSEG_NODE__{name}": value for name, value in given.items()}
    own = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    command = [sys.executable, "-m", "workflows.commands.cli", "worker", "--role", "io"]
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(command, stdout=file, stderr=file, env={**own, **settings})
    try:
        child = await_true(lambda: child_of(worker.pid), "the worker's child", PATIENCE_S)
        os.kill(child, signal.SIGSTOP)  # busy for longer than the broker waits
        node = Node(load_settings(None, settings))
        CeleryWaker(make_app(node)).plan("1.2.3")
        await_true(lambda: "delivery acknowledgement" in log.read_text(), "the broker to close the channel", PATIENCE_S)
        os.kill(child, signal.SIGCONT)
        assert worker.wait(PATIENCE_S) == 1, log.read_text()
    finally:
        worker.kill()
        worker.wait()
