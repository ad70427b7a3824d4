"""How fast a CT series is read: headers, pixels beside one pydicom loop, and the memory that it takes.

The series is a phantom of its own making, with headers as long as real ones: native, JPEG 2000 lossless and JPEG
Lossless. Each figure is the best of three rounds, in which the ways take turns. pydicom decodes with what it takes by
itself (gdcm). `--slices` and `--side` make it small.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1
from rich.console import Console
from rich.table import Table

from dicom_node.headers.raw import read_header
from dicom_node.volumes.load import load_series
from dicom_node.volumes.pixels import frames_of

ROUNDS = 3
ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "native": (ExplicitVRLittleEndian, lambda frame: frame.tobytes()),
    "JPEG 2000 lossless": (
        JPEG2000Lossless,
        lambda frame: encapsulate(
            [imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0, bitspersample=16)]
        ),
    ),
    "JPEG Lossless": (
        JPEGLosslessSV1,
        lambda frame: encapsulate([imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16)]),
    ),
}


def write_series(
    folder: Path, syntax: str, encode: Callable[[np.ndarray], bytes], slices: int, side: int
) -> list[Path]:
    """Smooth tissue with noise of a few values, as a CT has it; ten encoded slices take turns."""
    noise = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] * (2 / side) - 1
    body = np.where(rows**2 + columns**2 < 0.8, 1050 + 60 * np.sin(9 * rows) * np.cos(7 * columns), 20)
    encoded = [
        encode((body + noise.normal(0, 12, body.shape)).clip(0, 4095).astype(np.uint16)) for _ in range(min(10, slices))
    ]
    folder.mkdir()
    paths = []
    for index in range(slices):
        instance = _header(index, slices, side)
        instance.file_meta.TransferSyntaxUID = syntax
        instance.PixelData = encoded[index % len(encoded)]
        instance["PixelData"].VR = "OW"
        instance["PixelData"].is_undefined_length = syntax != ExplicitVRLittleEndian
        paths.append(folder / f"{index:04d}.dcm")
        instance.save_as(paths[-1], implicit_vr=False, little_endian=True, enforce_file_format=True)
    return paths


def _header(index: int, slices: int, side: int) -> Dataset:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = CTImageStorage
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index + 1}"
    instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.4"
    instance.PatientName, instance.PatientID, instance.Modality = "Phantom^Bench", "P1", "CT"
    instance.ImageType, instance.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
    instance.StudyDate, instance.StudyTime, instance.AccessionNumber = "20260101", "120000", "A1"
    instance.PixelSpacing, instance.SliceThickness = [0.7, 0.7], 1.0
    instance.ImagePositionPatient, instance.ImageOrientationPatient = [-180, -180, float(index)], [1, 0, 0, 0, 1, 0]
    instance.Rows = instance.Columns = side
    instance.SamplesPerPixel, instance.PhotometricInterpretation, instance.PixelRepresentation = 1, "MONOCHROME2", 0
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
    instance.RescaleSlope, instance.RescaleIntercept, instance.RescaleType = 1, -1024, "HU"
    # A real CT of three vendors has 90 to 190 elements.
    private = instance.private_block(0x0019, "MEDSEG BENCH", create=True)
    for number in range(90):
        private.add_new(number, "LO", f"value {number}")
    for number in range(3):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, f"1.2.3.{(index + number) % slices}"
        instance.ReferencedImageSequence = [*instance.get("ReferencedImageSequence", []), item]
    return instance


def best(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the fastest of three rounds; the ways take turns, so that a busy machine is busy for all of them."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def processor_seconds(way: Callable[[], object]) -> float:
    """Seconds of one core, the fewest of three rounds."""
    fewest = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        way()
        fewest = min(fewest, time.process_time() - start)
    return fewest


def read_in_a_loop(paths: list[Path]) -> None:
    for path in paths:
        _ = dcmread(path).pixel_array


def read_ahead(paths: list[Path]) -> None:
    for _ in frames_of([(path, None) for path in paths]):
        pass


def memory_of_loading(folder: Path) -> float:
    """Peak bytes of a process that loads the series, above what it takes once all is imported."""
    code = f"from tests.bench.volumes import tell_memory; tell_memory({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def tell_memory(folder: str) -> None:
    """Run in a process of its own: load the series in `folder` and print by how many bytes its peak grew."""
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _series = load_series(sorted(Path(folder).iterdir()))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--side", type=int, default=512, help="rows and columns")
    arguments = parser.parse_args()
    slices, side = arguments.slices, arguments.side
    stored = slices * side * side * 2
    cores = len(os.sched_getaffinity(0))
    table = Table(
        "what", "pydicom", "here", "ratio", title=f"{slices} slices of {side} x {side}, 16 bit, {cores} cores"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name, (syntax, encode) in ENCODERS.items():
            folder = Path(scratch, name.replace(" ", "-"))
            paths = write_series(folder, syntax, encode, slices, side)
            if name == "native":
                theirs = processor_seconds(
                    lambda paths=paths: [dcmread(path, stop_before_pixels=True) for path in paths]
                )
                ours = processor_seconds(lambda paths=paths: [read_header(path) for path in paths])
                table.add_row("headers, one core", f"{theirs:.2f} s", f"{ours:.2f} s", f"{theirs / ours:.1f}")
            took = best(
                {"loop": lambda paths=paths: read_in_a_loop(paths), "ahead": lambda paths=paths: read_ahead(paths)}
            )
            ratio = took["loop"] / took["ahead"]
            table.add_row(f"pixels, {name}", f"{took['loop']:.2f} s", f"{took['ahead']:.2f} s", f"{ratio:.1f}")
            memory = memory_of_loading(folder)
            table.add_row(f"memory, {name}", "", f"{memory / 1e6:.0f} MB", f"{memory / stored:.1f} x stored")
            for path in paths:
                path.unlink()
    Console().print(table)


if __name__ == "__main__":
    main()
