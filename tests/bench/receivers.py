"""Receivers that the C-STORE benchmark compares, each as processes of its own in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import PeerError
from dicom_node.network.storage_scu import Peer, echo

__all__ = [
    "ACCEPTORS", "DCMSEND", "NODE", "NODE_PROGRAM", "ORTHANC", "PDU_BYTES", "RECEIVERS", "REPOSITORY", "STORESCP",
    "Receiver", "await_answer", "free_port", "memory_of", "running",
]  # fmt: skip

REPOSITORY = Path(__file__).resolve().parents[2]
DCMSEND, STORESCP, ORTHANC = Path("/usr/bin/dcmsend"), Path("/usr/bin/storescp"), Path("/usr/sbin/Orthanc")
PDU_BYTES = 128 * 1024
ACCEPTORS = 2  # as [node] acceptors has it by default

NODE_PROGRAM = """
import signal, sys, threading
from pathlib import Path
from workflows.bootstrap import Node
from workflows.logs import configure_logging
from workflows.roles.scp import run_scp
from workflows.settings import load_settings
configure_logging("json")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
run_scp(Node(load_settings(Path(sys.argv[1]))), stop)
"""


@dataclass(frozen=True)
class Receiver:
    """A receiver that runs. `indexed`: how many rows it has by now; None: it keeps none that can be asked for."""

    port: int
    process: subprocess.Popen[bytes]
    indexed: Callable[[], int] | None = None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def await_listening(port: int, process: subprocess.Popen[bytes], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {limit_s} s")


def await_answer(port: int, limit_s: float = 60) -> None:
    """Wait until C-ECHO is answered: the node listens before it has everything."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            echo(Peer("MEDSEG", "127.0.0.1", port), "BENCH")
        except PeerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def await_acceptors(intake: Path, number: int, limit_s: float = 60) -> None:
    """Wait until so many acceptor processes have opened their journals and zeroed what they hold ready.

    The port answers once the first of them serves; those that still start would be measured instead of intake.
    """
    deadline, quiet_since, before = time.monotonic() + limit_s, time.monotonic(), 0
    while time.monotonic() < deadline:
        names = [path.name for path in intake.iterdir()]
        zeroed = sum(name.endswith(".segment") for name in names)
        if zeroed != before or sum(name.endswith(".control") for name in names) < number:
            quiet_since, before = time.monotonic(), zeroed
        elif zeroed and time.monotonic() - quiet_since > 0.5:
            return
        time.sleep(0.05)
    raise SystemExit(f"{number} acceptor processes were not ready after {limit_s} s")


@contextmanager
def running(port: int, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A receiver as a process of its own, until the block ends."""
    with subprocess.Popen(
        [str(one) for one in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        env={**os.environ, "TCP_NODELAY": "1"},
    ) as process:
        try:
            await_listening(port, process)
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def memory_of(pid: int) -> int:
    """Resident bytes of a process and of all that it started; what they share counts for each."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except FileNotFoundError:
            continue
    return total


@contextmanager
def whole_node(folder: Path) -> Iterator[Receiver]:
    """The scp role as `medseg-node scp` runs it: its acceptors, its journal, its index (SQLite)."""
    port = free_port()
    configuration = folder / "node.toml"
    # The whole port: a sender here opens all its associations under one AE title.
    configuration.write_text(f'[node]\nport = {port}\ndata_dir = "{folder / "data"}"\n')
    with running(port, sys.executable, "-c", NODE_PROGRAM, configuration) as process:
        await_answer(port)
        await_acceptors(folder / "data" / "intake", ACCEPTORS)
        database = sqlite3.connect(f"file:{folder / 'data' / 'medseg-node.db'}?mode=ro", uri=True)
        try:
            yield Receiver(port, process, lambda: int(database.execute("SELECT count(*) FROM instances").fetchone()[0]))
        finally:
            database.close()


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    port = free_port()
    # --fork: more than one association at a time.
    with running(port, STORESCP, "--fork", "--max-pdu", PDU_BYTES, "-od", folder, port) as process:
        yield Receiver(port, process)


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    port = free_port()
    configuration = folder / "orthanc.json"
    settings = {
        "Name": "bench",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpServerEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "MaximumPduLength": PDU_BYTES,
        "Plugins": [],
    }
    configuration.write_text(json.dumps(settings))
    with running(port, ORTHANC, configuration) as process:
        yield Receiver(port, process)


NODE = "node"
RECEIVERS: dict[str, Callable[[Path], AbstractContextManager[Receiver]]] = {
    NODE: whole_node,
    "orthanc": orthanc,
    "storescp": storescp,
}
