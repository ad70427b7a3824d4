"""The series and files that are measured: ../shared/data/dicom, what ../shared/cases makes, a phantom of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from tests.corpus.kinds import KINDS
from tests.corpus.stored import read

__all__ = ["PHANTOM", "Input", "InputKind", "case_inputs", "data_inputs", "phantom_inputs", "shared_folder"]

_WITHOUT_FILES = frozenset({"other-services-accepted", "tls-or-http-on-the-port", "rabbitmq-ack-timeout"})
"""Cases about a running node."""
_RUN_CASE = """
import runpy, sys
from dicom_node.commissioning import marker
sys.modules["dicom_node.volumes.marker"] = marker
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a case's script. One imports the marker from where it lay when the case was written."""
_IDENTIFYING = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfFrames"]


@dataclass(frozen=True)
class InputKind:
    """What a header says an input is. `frames`: of its first instance."""

    sop_class: str = "no SOP class"
    modality: str = ""
    syntax: str = ""
    frames: int = 1

    @property
    def name(self) -> str:
        frames = "multi-frame" if self.frames > 1 else ""
        return ", ".join(filter(None, (self.sop_class, self.modality, frames)))


@dataclass(frozen=True)
class Input:
    """The files of one series in one folder. `name`: their place under ../shared."""

    name: str
    kind: InputKind
    files: tuple[Path, ...]


PHANTOM = InputKind("phantom")


def phantom_inputs(work: Path) -> Iterator[Input]:
    """A phantom of each kind that has one; their files come to `work`."""
    for number, kind in enumerate(kind for kind in KINDS if kind.make is not None):
        folder = work / f"phantom-{number}"
        folder.mkdir()
        yield Input(f"phantom: {kind.name}", PHANTOM, tuple(kind.write(folder).files))


def shared_folder() -> Path:
    """What lies beside the checkout, or where MEDSEG_SHARED_DATA says that its data are."""
    checkout = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("MEDSEG_SHARED_DATA", checkout.parent / "shared" / "data")).parent


def data_inputs(shared: Path) -> Iterator[Input]:
    """Every series of ../shared/data/dicom."""
    yield from _inputs(shared / "data/dicom", shared)


def case_inputs(shared: Path, work: Path, only: Collection[str] = ()) -> Iterator[Input]:
    """Every series of ../shared/cases; what scripts make of them comes to `work`. `only`: of these cases, if any."""
    checkout = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    for case in sorted(path for path in (shared / "cases").iterdir() if path.is_dir()):
        if case.name in _WITHOUT_FILES or (only and case.name not in only):
            continue
        if not (case / "make.py").exists():
            yield from _inputs(case, shared)
            continue
        folder = work / "cases" / case.name
        folder.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", _RUN_CASE, case / "make.py", folder],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{case.name}/make.py: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        yield from _inputs(folder, work)


def _inputs(folder: Path, root: Path) -> Iterator[Input]:
    series: dict[tuple[Path, str], list[tuple[Path, InputKind]]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        described = _described(path)
        if described is not None:
            uid, kind = described
            # What belongs to no series is asked about alone.
            series.setdefault((path.parent, uid or path.name), []).append((path, kind))
    in_folder = [parent for parent, _ in series]
    for (parent, uid), members in series.items():
        place = str(parent.relative_to(root))
        if len(members) == 1:
            place = str(members[0][0].relative_to(root))
        elif in_folder.count(parent) > 1:
            place = f"{place} ...{uid[-12:]}"
        yield Input(place, members[0][1], tuple(path for path, _ in members))


def _described(path: Path) -> tuple[str, InputKind] | None:
    """Series Instance UID and kind of a file; None for one that is no DICOM at all."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begins = file.read(132)[128:] == b"DICM"
        try:
            header = read(path, specific_tags=_IDENTIFYING)
            if not begins and not header.get("SOPClassUID"):
                return None
            syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
            kind = InputKind(
                UID(str(header.get("SOPClassUID") or "")).name or InputKind.sop_class,
                str(header.get("Modality") or ""),
                UID(str(syntax or "")).name,
                int(header.get("NumberOfFrames") or 1),
            )
            return str(header.get("SeriesInstanceUID") or ""), kind
        except Exception:  # a header that pydicom cannot read is one of the inputs
            return ("", InputKind("unreadable header")) if begins else None
