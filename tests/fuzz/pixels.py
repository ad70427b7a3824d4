"""Fuzzes a series of one file: its geometry, its pixels in every family of transfer syntaxes, its tables."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from tests.fuzz.running import fuzz, instrumented

with instrumented:
    from dicom_node.errors import VolumeRefused
    from dicom_node.volumes.load import load_series
    from dicom_node.volumes.pixels import stored_frames

from tests.unit.dicom_node.hostile.mutations import seeds

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))


def read(contents: bytes) -> None:
    path = _FOLDER / "a.dcm"
    path.write_bytes(contents)
    with suppress(VolumeRefused):
        load_series([path])
    with suppress(VolumeRefused):
        next(stored_frames(path, [0]))


if __name__ == "__main__":
    fuzz(read, seeds(_FOLDER))
