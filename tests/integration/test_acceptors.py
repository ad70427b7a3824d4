"""The SCP role with its acceptor processes: they share one port, one that dies is replaced, none outlives its node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from dicom_node.network.storage_scu import Peer, echo, send
from tests.services import await_true, free_port

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    log: Path
    peer: Peer

    def told(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    def acceptors(self) -> list[int]:
        dead = {line["pid"] for line in self.told("acceptor_died")}
        return [int(str(line["pid"])) for line in self.told("acceptor_started") if line["pid"] not in dead]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    configuration = tmp_path / "node.toml"
    configuration.write_text(f'[node]\nport = {port}\nacceptors = 2\nminimum_free_mb = 0\nlog_format = "json"\n')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_")}
    command = [sys.executable, "-m", "workflows.commands.cli", "scp", "--config", str(configuration)]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment)
    running = Running(process, log, Peer("MEDSEG", "127.0.0.1", port))
    try:
        await_true(lambda: running.told("storage_scp_listening"), "listening", 120)
        yield running
    finally:
        process.kill()
        process.wait(30)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def test_one_that_dies_is_replaced_and_the_port_stays_open(node: Running) -> None:
    assert all(outcome.ok for outcome in send([IMAGE], node.peer, "SCANNER"))
    first = node.acceptors()
    assert len(first) == 2
    for pid in first:
        os.kill(pid, signal.SIGKILL)
        await_true(lambda pid=pid: pid not in node.acceptors() and len(node.acceptors()) == 2, "replaced", 60)  # type: ignore[misc]
    await_true(lambda: _answers(node), "an answer", 120)
    assert all(outcome.ok for outcome in send([IMAGE], node.peer, "SCANNER"))


@pytest.mark.timeout(180)
def test_one_that_stands_still_is_replaced_and_the_others_take_what_comes(node: Running) -> None:
    await_true(lambda: _answers(node), "an answer", 120)
    still = node.acceptors()[0]
    os.kill(still, signal.SIGSTOP)
    await_true(lambda: still not in node.acceptors() and len(node.acceptors()) == 2, "replaced", 60)
    assert [line["pid"] for line in node.told("acceptor_silent")] == [still]
    for _ in range(4):
        assert all(outcome.ok for outcome in send([IMAGE], node.peer, "SCANNER"))


def _answers(node: Running) -> bool:
    try:
        echo(node.peer, "SCANNER")
    except Exception:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_the_node(node: Running, number: signal.Signals) -> None:
    acceptors = node.acceptors()
    assert all(map(alive, acceptors))
    node.process.send_signal(number)
    node.process.wait(60)
    await_true(lambda: not any(map(alive, acceptors)), "the end of both", 60)
    assert bool(node.told("storage_scp_stopped")) == (number == signal.SIGTERM)
