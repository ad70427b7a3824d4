"""Delivery to Debian's Orthanc by our C-STORE, by our STOW-RS and by DCMTK's dcmsend.

200 CT instances of about 525 kB, and one Segmentation of 160 MB. The ways take turns in each round; between them the
study is deleted, so that Orthanc stores everything each time. dcmsend runs as it is run on a command line
(TCP_NODELAY=1, PDUs of 128 kB), its start included; ours run in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from dicom_node.identifiers import derived_uid
from dicom_node.network.archive import ArchiveAddress
from dicom_node.network.orthanc import delete_study
from dicom_node.network.storage_scu import Peer, send
from dicom_node.network.stow import store
from tests.bench.cstore import make_instances
from tests.bench.receivers import DCMSEND, PDU_BYTES
from tests.services import running_orthanc

STUDY = derived_uid("bench", "study")
ROWS = COLUMNS = 512


@dataclass(frozen=True)
class Measurement:
    """Medians over the rounds. `ratio`: the time of dcmsend in times of this; `rate_mb_s` in units of 1,000,000."""

    what: str
    way: str
    seconds: float
    rate_mb_s: float
    ratio: float


def make_segmentation(folder: Path, size: int) -> Path:
    """A Segmentation whose pixels, one bit each, have `size` bytes; of what else belongs into one only what is sent."""
    template = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    template.SOPClassUID = template.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = derived_uid("bench", "seg")
    template.StudyInstanceUID, template.SeriesInstanceUID = STUDY, derived_uid("bench", "seg", "series")
    template.Modality, template.SegmentationType = "SEG", "BINARY"
    template.Rows, template.Columns = ROWS, COLUMNS
    template.BitsAllocated = template.BitsStored = 1
    template.HighBit = template.PixelRepresentation = 0
    template.NumberOfFrames = size * 8 // (ROWS * COLUMNS)
    frames = int(template.NumberOfFrames) * ROWS * COLUMNS // 8
    template.PixelData = np.random.default_rng(21).integers(0, 256, frames, dtype=np.uint8).tobytes()
    path = folder / "seg.dcm"
    template.save_as(path, enforce_file_format=True)
    return path


def by_c_store(paths: Sequence[Path], address: ArchiveAddress) -> None:
    assert all(outcome.ok for outcome in send(paths, address.peer, "MEDSEG"))


def by_stow(paths: Sequence[Path], address: ArchiveAddress) -> None:
    assert all(outcome.ok for outcome in store(paths, address))


def by_dcmsend(paths: Sequence[Path], address: ArchiveAddress) -> None:
    pdu = str(PDU_BYTES)
    command = [str(DCMSEND), "--quiet", "--max-pdu", pdu, "--max-send-pdu", pdu, "--scan-directories"]
    command += [address.peer.host, str(address.peer.port), str(paths[0].parent)]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})


WAYS: dict[str, Callable[[Sequence[Path], ArchiveAddress], None]] = {
    "dcmsend": by_dcmsend,
    "C-STORE": by_c_store,
    "STOW-RS": by_stow,
}


def measure(what: str, paths: Sequence[Path], address: ArchiveAddress, rounds: int) -> list[Measurement]:
    """Each way once in every round, after one round that does not count."""
    size = sum(path.stat().st_size for path in paths)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way, deliver in WAYS.items():
            assert delete_study(address, STUDY)
            started = time.monotonic()
            deliver(paths, address)
            if number:
                seconds[way].append(time.monotonic() - started)
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    return [
        Measurement(what, way, taken, size / taken / 1e6, medians["dcmsend"] / taken) for way, taken in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=160, help="of the Segmentation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    arguments = parser.parse_args()
    os.environ["TCP_NODELAY"] = "1"  # for Orthanc's side of DCMTK too
    extra = {"MaximumPduLength": PDU_BYTES}
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as temporary, running_orthanc(extra=extra) as orthanc:
        folder = Path(temporary)
        for name in ("ct", "seg"):
            (folder / name).mkdir()
        ct = make_instances(folder / "ct", arguments.instances)
        seg = make_segmentation(folder / "seg", arguments.megabytes * 1_000_000)
        peer = Peer(orthanc.ae_title, orthanc.host, orthanc.dicom_port)
        address = ArchiveAddress(peer, f"{orthanc.url}/dicom-web", orthanc.url)
        measurements = [
            *measure(f"{len(ct)} CT instances of 525 kB", ct, address, arguments.rounds),
            *measure(f"one SEG of {arguments.megabytes} MB", [seg], address, arguments.rounds),
        ]
    if arguments.json:
        print(json.dumps([asdict(one) for one in measurements], indent=2))
        return
    print(f"{'what':<32}{'way':<10}{'seconds':>9}{'MB/s':>8}{'dcmsend / it':>14}")
    for one in measurements:
        print(f"{one.what:<32}{one.way:<10}{one.seconds:>9.2f}{one.rate_mb_s:>8.1f}{one.ratio:>14.2f}")


if __name__ == "__main__":
    main()
