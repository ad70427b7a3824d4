"""C-STORE throughput of our SCP and instance store beside Orthanc and DCMTK's storescp.

The same 500 CT instances of about 512 kB are sent by DCMTK's dcmsend (TCP_NODELAY=1, PDUs of 128 kB) over one and over
four associations, one run each, to receivers on loopback that write to the same file system. Ours syncs every file and
directory before it answers, the others do not. "store only" is the SCP with the instance store; "node" is the whole
intake, with a row committed (SQLite) for each instance before it is acknowledged.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.identifiers import derived_uid

REPOSITORY = Path(__file__).resolve().parents[2]
DCMSEND, STORESCP, ORTHANC = Path("/usr/bin/dcmsend"), Path("/usr/bin/storescp"), Path("/usr/sbin/Orthanc")
PDU_BYTES = 128 * 1024

OUR_PROGRAM = """
import sys
from pathlib import Path
import structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.storage.instance_store import InstanceStore
store = InstanceStore(Path(sys.argv[2]), minimum_free_bytes=0)
with StorageSCP(StorageSCPSettings(port=int(sys.argv[1])), lambda received: store.write(store.inspect(received))):
    sys.stdin.read()
"""


NODE_PROGRAM = """
import sys
from pathlib import Path
from workflows.bootstrap import Node
from workflows.logs import configure_logging
from workflows.settings import load_settings
configure_logging("json")
with Node(load_settings(Path(sys.argv[1]))).storage_scp():
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Measurement:
    """One run. `rate_mb_s` counts the files' bytes in units of 1,000,000."""

    receiver: str
    associations: int
    instances: int
    seconds: float
    rate_mb_s: float
    instances_per_s: float


def make_instances(folder: Path, count: int) -> list[Path]:
    """CT instances of 512 x 512 x 16 bit (about 525 kB) in one series, made from pydicom's small CT."""
    template = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    template.Rows = template.Columns = 512
    noise = np.random.default_rng(20)
    template.StudyInstanceUID = derived_uid("bench", "study")
    template.SeriesInstanceUID = derived_uid("bench", "series")
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    paths = []
    for number in range(count):
        template.SOPInstanceUID = derived_uid("bench", str(number))
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.InstanceNumber = number + 1
        template.ImagePositionPatient = [-158.1, -179.0, -75.7 + number]
        template.PixelData = noise.integers(0, 2000, (512, 512), dtype=np.int16).tobytes()
        paths.append(folder / f"{number:04}.dcm")
        template.save_as(paths[-1], enforce_file_format=True)
    return paths


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


@contextmanager
def running(port: int, *command: object) -> Iterator[int]:
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
            yield port
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
            process.wait(timeout=60)


@contextmanager
def our_store(folder: Path) -> Iterator[int]:
    port = free_port()
    with running(port, sys.executable, "-c", OUR_PROGRAM, port, folder / "store"):
        yield port


@contextmanager
def whole_node(folder: Path) -> Iterator[int]:
    port = free_port()
    configuration = folder / "node.toml"
    configuration.write_text(f'[node]\nport = {port}\ndata_dir = "{folder / "data"}"\n')
    with running(port, sys.executable, "-c", NODE_PROGRAM, configuration):
        yield port


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    port = free_port()
    # --fork: more than one association at a time.
    with running(port, STORESCP, "--fork", "--max-pdu", PDU_BYTES, "-od", folder, port):
        yield port


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
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
    with running(port, ORTHANC, configuration):
        yield port


OURS = "node (synced, row committed)"
RECEIVERS: dict[str, Callable[[Path], AbstractContextManager[int]]] = {
    OURS: whole_node,
    "node's store only (synced)": our_store,
    "orthanc": orthanc,
    "storescp": storescp,
}


def measure(name: str, instances: list[Path], associations: int, folder: Path) -> Measurement:
    """Start a receiver afresh, send everything once, stop it."""
    shares = [instances[share::associations] for share in range(associations)]
    lists = []
    for number, share in enumerate(shares):
        lists.append(folder / f"share-{number}.txt")
        lists[-1].write_text("\n".join(map(str, share)))
    into = folder / "receiver"
    into.mkdir()
    with RECEIVERS[name](into) as port:
        started = time.monotonic()
        senders = [start_sender(port, share) for share in shares]
        failed = [sender.args for sender in senders if sender.wait(timeout=600) != 0]
        seconds = time.monotonic() - started
    if failed:
        raise SystemExit(f"dcmsend failed: {failed[0]}")
    arrived = sum(1 for file in into.rglob("*") if _is_instance(file))
    if arrived != len(instances):
        raise SystemExit(f"{name}: {arrived} of {len(instances)} instances arrived")
    shutil.rmtree(into)
    size = sum(path.stat().st_size for path in instances)
    return Measurement(name, associations, len(instances), seconds, size / seconds / 1e6, len(instances) / seconds)


def _is_instance(file: Path) -> bool:
    if not file.is_file() or file.stat().st_size < 2 * 512 * 512:
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def start_sender(port: int, share: list[Path]) -> subprocess.Popen[bytes]:
    """DCMTK's dcmsend, on its way with a share of the instances."""
    folder = share[0].parent / f"links-{port}-{share[0].stem}"
    folder.mkdir()
    for path in share:
        (folder / path.name).hardlink_to(path)
    return subprocess.Popen(
        [
            DCMSEND,
            "--quiet",
            "--max-pdu",
            str(PDU_BYTES),
            "--max-send-pdu",
            str(PDU_BYTES),
            "--scan-directories",
            "127.0.0.1",
            str(port),
            folder,
        ],
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    arguments = parser.parse_args()
    missing = [str(program) for program in (DCMSEND, STORESCP, ORTHANC) if not program.exists()]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; apt-get install dcmtk orthanc")
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as temporary:
        folder = Path(temporary)
        (folder / "instances").mkdir()
        instances = make_instances(folder / "instances", arguments.instances)
        measurements = []
        for associations in (1, 4):
            for name in RECEIVERS:
                measurements.append(measure(name, instances, associations, folder))
    if arguments.json:
        print(json.dumps([asdict(one) for one in measurements], indent=2))
        return
    print_table(measurements)


def print_table(measurements: list[Measurement]) -> None:
    """Rates, and how many times as fast the whole node is."""
    print(f"{'receiver':<30}{'assoc.':>7}{'seconds':>9}{'MB/s':>8}{'inst./s':>9}{'node / it':>11}")
    ours = {one.associations: one for one in measurements if one.receiver == OURS}
    for one in measurements:
        ratio = ours[one.associations].rate_mb_s / one.rate_mb_s
        print(
            f"{one.receiver:<30}{one.associations:>7}{one.seconds:>9.2f}{one.rate_mb_s:>8.1f}"
            f"{one.instances_per_s:>9.1f}{ratio:>11.2f}"
        )


if __name__ == "__main__":
    main()
