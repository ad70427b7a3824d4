"""C-STORE throughput of the node beside Orthanc and DCMTK's storescp, and what its connections and its work take.

The same instances are sent by DCMTK's dcmsend (TCP_NODELAY=1, PDUs of 128 kB) over one and over four associations to
receivers on loopback that write to the same file system: 500 CT instances of 512 kB, and 3,000 of 128 x 128. Receivers
take turns, five rounds; figures are medians, since peers move by half from hour to hour. The node syncs each instance
before it answers; Orthanc syncs nothing and indexes; storescp neither syncs nor indexes.

"acknowledged" counts until the last sender has its last answer, "indexed" until the last row is committed. "floor" is
a probe in the same rounds that replays the node's durable steps and nothing else: as many bytes into a zeroed file and
one fdatasync for each instance, from as many processes and threads as there are acceptors and associations.

Memory is the sum of resident sizes over the role's processes: idle, with 1,000 connections that say nothing, and before
and after more instances (`--soak`: 100,000).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.identifiers import derived_uid
from tests.bench.receivers import (
    ACCEPTORS,
    DCMSEND,
    NODE,
    ORTHANC,
    PDU_BYTES,
    RECEIVERS,
    STORESCP,
    Receiver,
    memory_of,
)

__all__ = ["make_instances", "start_sender"]

FLOOR = "floor"
ROUNDS = 5
IDLE_CONNECTIONS = 1000
_JOURNAL_BYTES = 64 * 1024 * 1024
_INDEXED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Load:
    """What is sent: `count` square CT instances of `size` pixels a side, over so many associations at once."""

    name: str
    count: int
    size: int
    associations: int


@dataclass(frozen=True)
class Rates:
    """Instances a second, medians over the rounds. `indexed`: None where no row can be asked for."""

    load: str
    associations: int
    receiver: str
    acknowledged: float
    indexed: float | None


@dataclass(frozen=True)
class Memory:
    """Resident bytes of all processes of the scp role."""

    state: str
    bytes: int


def make_instances(folder: Path, count: int, size: int = 512, series: str = "series") -> list[Path]:
    """CT instances of `size` x `size` x 16 bit in one series, made from pydicom's small CT."""
    template = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    template.Rows = template.Columns = size
    noise = np.random.default_rng(20)
    template.StudyInstanceUID = derived_uid("bench", "study")
    template.SeriesInstanceUID = derived_uid("bench", series)
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    paths = []
    for number in range(count):
        template.SOPInstanceUID = derived_uid("bench", series, str(number))
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.InstanceNumber = number + 1
        template.ImagePositionPatient = [-158.1, -179.0, -75.7 + number]
        template.PixelData = noise.integers(0, 2000, (size, size), dtype=np.int16).tobytes()
        paths.append(folder / f"{number:05}.dcm")
        template.save_as(paths[-1], enforce_file_format=True)
    return paths


# --- Throughput -------------------------------------------------------------------------------------------------------


def measure(name: str, instances: list[Path], associations: int, folder: Path) -> tuple[float, float | None]:
    """Start a receiver afresh, send everything once, stop it; instances a second, acknowledged and indexed."""
    into = folder / "receiver"
    into.mkdir()
    try:
        if name == FLOOR:
            return replay(instances, associations, into), None
        with RECEIVERS[name](into) as receiver:
            return send(receiver, instances, associations)
    finally:
        shutil.rmtree(into)


def send(receiver: Receiver, instances: list[Path], associations: int) -> tuple[float, float | None]:
    """Send the instances once; instances a second until the last answer, and until the last row."""
    before = receiver.indexed() if receiver.indexed is not None else 0
    shares = [instances[share::associations] for share in range(associations)]
    with ExitStack() as folders:
        linked = [folders.enter_context(links_to(share)) for share in shares]
        started = time.monotonic()
        senders = [start_sender(receiver.port, folder) for folder in linked]
        failed = [sender.args for sender in senders if sender.wait(timeout=600) != 0]
        acknowledged_s = time.monotonic() - started
        if failed:
            raise SystemExit(f"dcmsend failed: {failed[0]}")
        if receiver.indexed is None:
            return len(instances) / acknowledged_s, None
        while (rows := receiver.indexed() - before) < len(instances):
            if time.monotonic() - started > acknowledged_s + _INDEXED_WITHIN_S:
                raise SystemExit(f"{rows} of {len(instances)} instances were indexed")
            time.sleep(0.002)
        indexed_s = time.monotonic() - started
    return len(instances) / acknowledged_s, len(instances) / indexed_s


@contextmanager
def links_to(share: list[Path]) -> Iterator[Path]:
    """A folder with only these files."""
    with tempfile.TemporaryDirectory(dir=share[0].parent.parent, prefix="links-") as name:
        for path in share:
            (Path(name) / path.name).hardlink_to(path)
        yield Path(name)


def start_sender(port: int, share: Path | list[Path]) -> subprocess.Popen[bytes]:
    """DCMTK's dcmsend, on its way with a folder of instances, or with links to some."""
    folder = share if isinstance(share, Path) else _linked(port, share)
    sizes = ["--max-pdu", str(PDU_BYTES), "--max-send-pdu", str(PDU_BYTES)]
    command = [DCMSEND, "--quiet", *sizes, "--scan-directories", "127.0.0.1", str(port), folder]
    return subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"})


def _linked(port: int, share: list[Path]) -> Path:
    folder = share[0].parent / f"links-{port}-{share[0].stem}"
    folder.mkdir()
    for path in share:
        (folder / path.name).hardlink_to(path)
    return folder


# --- The floor --------------------------------------------------------------------------------------------------------


def replay(instances: list[Path], associations: int, folder: Path) -> float:
    """Instances a second of the durable steps alone."""
    sizes = [path.stat().st_size for path in instances]
    processes = min(ACCEPTORS, associations)
    barrier = multiprocessing.Barrier(processes + 1)
    threads = associations // processes
    workers = [
        multiprocessing.Process(target=_replay, args=(folder, number, sizes[number::processes], threads, barrier))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.monotonic()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - started
    if any(worker.exitcode for worker in workers):
        raise SystemExit("the probe failed")
    return len(sizes) / seconds


def _replay(folder: Path, number: int, sizes: list[int], threads: int, barrier: threading.Barrier) -> None:
    writers = []
    for thread in range(threads):
        descriptor = os.open(folder / f"{number}-{thread}", os.O_RDWR | os.O_CREAT)
        for start in range(0, _JOURNAL_BYTES, 1024 * 1024):
            os.pwrite(descriptor, bytes(1024 * 1024), start)
        os.fsync(descriptor)
        writers.append(threading.Thread(target=_write_synced, args=(descriptor, sizes[thread::threads])))
    barrier.wait()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def _write_synced(descriptor: int, sizes: list[int]) -> None:
    block, at = os.urandom(max(sizes)), 0
    for size in sizes:
        if at + size > _JOURNAL_BYTES:
            at = 0
        os.pwrite(descriptor, memoryview(block)[:size], at)
        os.fdatasync(descriptor)
        at += (size + 4095) // 4096 * 4096


# --- Memory -----------------------------------------------------------------------------------------------------------


def memories(folder: Path, more: int, batch: int = 2000) -> Iterator[Memory]:
    """What the role takes: idle, with silent connections, and while it receives new instances."""
    into = folder / "receiver"
    into.mkdir()
    with RECEIVERS[NODE](into) as receiver:
        pid = receiver.process.pid
        time.sleep(1)
        yield Memory("idle", memory_of(pid))
        with ExitStack() as connections:
            for _ in range(IDLE_CONNECTIONS):
                connections.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
            time.sleep(1)
            yield Memory(f"with {IDLE_CONNECTIONS} idle connections", memory_of(pid))
        for sent in range(0, more, batch):
            instances = folder / "more"
            instances.mkdir()
            send(receiver, make_instances(instances, batch, 64, f"series {sent}"), 4)
            shutil.rmtree(instances)
            if sent == 0 or sent + batch >= more:
                yield Memory(f"after {sent + batch} instances", memory_of(pid))
    shutil.rmtree(into)


# --- All of it --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=500, help="large instances; six times as many small ones")
    parser.add_argument("--quick", action="store_true", help="one round instead of five")
    parser.add_argument("--soak", action="store_true", help="memory over 100,000 instances instead of 6,000")
    parser.add_argument("--no-memory", action="store_true", help="throughput only")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    arguments = parser.parse_args()
    missing = [str(program) for program in (DCMSEND, STORESCP, ORTHANC) if not program.exists()]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; apt-get install dcmtk orthanc")
    large, small = arguments.instances, 6 * arguments.instances
    loads = [Load("512 x 512", large, 512, 1), Load("512 x 512", large, 512, 4), Load("128 x 128", small, 128, 4)]
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as temporary:
        folder = Path(temporary)
        rates = throughput(loads, 1 if arguments.quick else ROUNDS, folder)
        _raise_limit()
        more = 100_000 if arguments.soak else 6_000
        memory = [] if arguments.no_memory else list(memories(folder, more))
    if arguments.json:
        print(
            json.dumps({"rates": [asdict(one) for one in rates], "memory": [asdict(one) for one in memory]}, indent=2)
        )
        return
    print_tables(rates, memory)


def throughput(loads: list[Load], rounds: int, folder: Path) -> list[Rates]:
    """Every receiver with every load, in turns."""
    made: dict[tuple[int, int], list[Path]] = {}
    for load in loads:
        if (load.count, load.size) not in made:
            into = folder / f"instances-{load.size}"
            into.mkdir()
            made[load.count, load.size] = make_instances(into, load.count, load.size)
    names = [NODE, *(name for name in RECEIVERS if name != NODE), FLOOR]
    runs: dict[tuple[Load, str], list[tuple[float, float | None]]] = {}
    for number in range(rounds):
        for load in loads:
            for name in names:
                rate = measure(name, made[load.count, load.size], load.associations, folder)
                runs.setdefault((load, name), []).append(rate)
                shown = "" if rate[1] is None else f", indexed {rate[1]:.0f}"
                what = f"{load.name} over {load.associations}: {name} {rate[0]:.0f}{shown} instances/s"
                print(f"round {number + 1} of {rounds}, {what}", file=sys.stderr)
    return [Rates(load.name, load.associations, name, *_medians(measured)) for (load, name), measured in runs.items()]


def _medians(measured: list[tuple[float, float | None]]) -> tuple[float, float | None]:
    indexed = [one for _acknowledged, one in measured if one is not None]
    return statistics.median(one for one, _indexed in measured), statistics.median(indexed) if indexed else None


def print_tables(rates: list[Rates], memory: list[Memory]) -> None:
    """Rates with how many times as fast the node is, then memory."""
    print(f"{'instances':<12}{'assoc.':>7}  {'receiver':<10}{'acknowledged/s':>15}{'indexed/s':>11}{'node / it':>11}")
    node = {(one.load, one.associations): one for one in rates if one.receiver == NODE}
    for one in rates:
        indexed = "" if one.indexed is None else f"{one.indexed:.0f}"
        ratio = node[one.load, one.associations].acknowledged / one.acknowledged
        row = f"{one.load:<12}{one.associations:>7}  {one.receiver:<10}{one.acknowledged:>15.0f}{indexed:>11}"
        print(f"{row}{ratio:>11.2f}")
    for state in memory:
        print(f"{state.state:<40}{state.bytes / 1e6:>10.1f} MB")


def _raise_limit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
