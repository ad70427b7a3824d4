"""The process that reads hostile inputs: forks for each, so that each begins from the same memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import read_file_header
from dicom_node.headers.instance import INSTANCE_KEYWORDS, instance_header
from dicom_node.network.commitment import read_event_report, read_report
from dicom_node.results.stored_report import read_stored_report
from dicom_node.volumes.load import load_series
from tests.unit.dicom_node.hostile.outcome import Outcome, Way
from workflows.errors import WorkflowError
from workflows.protocols.loader import load_file

_ADDRESS_SPACE = 6 << 30
"""A process that asks for more ends with a MemoryError instead of taking the machine along."""


def _series(folder: Path) -> None:
    load_series(sorted(folder.iterdir()))


def _intake(folder: Path) -> None:
    _, header = read_file_header(folder / "a.dcm", INSTANCE_KEYWORDS)
    instance_header(header)


def _commitment(folder: Path) -> None:
    report = read_report((folder / "a.dcm").read_bytes(), ExplicitVRLittleEndian)
    status, answer = read_event_report(1, report, "PACS")
    if answer is None:
        raise DicomNodeError(f"status 0x{status:04X}")


_WAYS: dict[Way, Callable[[Path], object]] = {
    Way.SERIES: _series,
    Way.INTAKE: _intake,
    Way.REPORT: lambda folder: read_stored_report(folder / "a.dcm"),
    Way.COMMITMENT: _commitment,
    Way.PROTOCOL: lambda folder: load_file(folder / "a.yaml"),
}


def _measured(way: Way, folder: Path) -> Outcome:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    began, told, failure = time.perf_counter(), "", ""
    try:
        _WAYS[way](folder)
    except (DicomNodeError, WorkflowError) as refusal:
        told = str(refusal)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    return Outcome(told, failure, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def _serve() -> None:
    for line in sys.stdin:
        way, folder = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if not child:
            print(_measured(Way[way], Path(folder)).line(), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(Outcome("", f"the process ended with status {status}", 0.0, 0).line(), flush=True)


if __name__ == "__main__":
    _serve()
