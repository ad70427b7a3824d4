"""What writing results costs: a SEG beside highdicom alone, and everything that a plain PACS may get.

Ten segments on 500 slices of 512 x 512, each made, saved, synced and read back by the gate; highdicom makes the same
SEG from the same masks and saves it, no more. Medians of rounds in which the ways take turns. `--slices` and `--side`
make it small.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.gate import check_segmentation
from dicom_node.results.identity import ResultIdentity, own_texts, result_identity
from dicom_node.results.measurement import measure
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import ADDED_KINDS, Profile, Wishes
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.volumes.load import SeriesVolume, load_series
from tests.corpus.phantom import image_header, put_pixels, put_plane

ROUNDS = 5
SEGMENTS = 10
CONTEXT = ResultContext(
    object_key="bench",
    created=datetime(2026, 1, 2, 3, 4, 5),
    algorithm_name="bench",
    algorithm_version="1",
    weights_digest="ab" * 32,
    terms="research use only",
    protocol="bench 1",
    station_ae_title="MEDSEG",
    profile=Profile.PLAIN_PACS,
)


def volume_in(folder: Path, slices: int, side: int) -> SeriesVolume:
    """A CT of noise, as large as a real one."""
    noise = np.random.default_rng(0).integers(900, 1200, (side, side), dtype=np.uint16)
    paths = []
    for index in range(slices):
        header = image_header(CTImageStorage, "CT", index + 1)
        put_plane(header, (-200.0, -200.0, float(index)), (1, 0, 0, 0, 1, 0), (0.8, 0.8), 1.0)
        header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
        header.WindowCenter, header.WindowWidth = 40, 400
        put_pixels(header, np.roll(noise, index))
        paths.append(folder / f"{index:04d}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    return load_series(paths).parts[0]


def part_of(volume: SeriesVolume) -> ReadPart:
    """Ten organs: wavy ellipsoids, half of the slices each, as large as a kidney to a liver."""
    shape = volume.values.shape
    slices, rows, columns = np.ogrid[: shape[0], : shape[1], : shape[2]]
    findings = []
    for number, label in enumerate(list(LABELS)[:SEGMENTS]):
        middle = 0.3 + 0.04 * number
        height, radius = shape[0] / 4, shape[1] * (0.05 + 0.012 * number)
        wave = 1 + 0.08 * np.sin(rows / 7 + number) * np.cos(columns / 9)
        distance = (
            ((slices - middle * shape[0]) / height) ** 2
            + ((rows - middle * shape[1]) / radius) ** 2
            + ((columns - (1 - middle) * shape[2]) / radius) ** 2
        )
        mask = distance < wave
        findings.append(
            Finding(label, LABELS[label], 0.9, mask, f"{label} 1", f"2.25.{number + 1}", measure(volume, mask))
        )
    return ReadPart(0, volume, (ReadAnswer("What is there?", "Ten organs.", tuple(findings), ()),))


def highdicom_alone(part: ReadPart, path: Path) -> None:
    """The same SEG as somebody would write it who has masks and source images, and no checks."""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=finding.label,
            segmented_property_category=finding.concept.category,
            segmented_property_type=finding.concept.type,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                "bench", hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"), "1"
            ),
        )
        for number, finding in enumerate(part.findings, start=1)
    ]
    segmentation = hd.seg.Segmentation(
        source_images=list(part.volume.sources),
        pixel_array=np.stack([finding.mask for finding in part.findings], axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="bench",
        manufacturer_model_name="bench",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    segmentation.save_as(path)


def ours(part: ReadPart, identity: ResultIdentity, path: Path) -> None:
    segmentation = build_segmentation(part, CONTEXT)
    assert segmentation is not None
    save(segmentation, path, identity)
    check_segmentation(path, part, identity)


def everything(part: ReadPart, identity: ResultIdentity, folder: Path) -> None:
    """All that a plain PACS may get: capture, PDF, key objects, presentation state, and the picture beside them."""
    notes: list[str] = []
    made = make_objects([anew(part)], identity, [Wishes(also=tuple(ADDED_KINDS))], folder, CONTEXT, notes)
    assert len(made) == 4 and not notes, notes


def capture(part: ReadPart, identity: ResultIdentity, folder: Path) -> None:
    """What a plain PACS gets where its destination asks for nothing more, and the picture beside it."""
    assert len(make_objects([anew(part)], identity, [Wishes()], folder, CONTEXT, [])) == 1


def anew(part: ReadPart) -> ReadPart:
    """The same part, of whose masks nothing was counted yet."""
    answers = (
        replace(answer, findings=tuple(replace(finding) for finding in answer.findings)) for answer in part.answers
    )
    return replace(part, answers=tuple(answers))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in this process."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def medians(measured: list[tuple[float, float]]) -> tuple[float, float]:
    clock, processor = zip(*measured, strict=True)
    return statistics.median(clock), statistics.median(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as name:
        folder = Path(name)
        part = part_of(volume_in(folder, arguments.slices, arguments.side))
        identity = result_identity(part.volume.identity, own_texts(part.answers))
        ways: dict[str, Callable[[], None]] = {
            "SEG by highdicom alone, saved": lambda: highdicom_alone(part, folder / "highdicom.dcm"),
            "SEG made, saved, read back": lambda: ours(part, identity, folder / "ours.dcm"),
            "capture alone": lambda: capture(part, identity, folder),
            "capture, PDF, key objects, presentation state": lambda: everything(part, identity, folder),
        }
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, work in ways.items():
                seconds[way].append(timed(work))
    alone, _ = medians(seconds["SEG by highdicom alone, saved"])
    title = f"{SEGMENTS} segments, {arguments.slices} slices"
    table = Table("what", "s", "s of processor", "beside highdicom", title=title)
    for way, measured in seconds.items():
        clock, processor = medians(measured)
        table.add_row(way, f"{clock:.2f}", f"{processor:.2f}", f"{clock / alone:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
