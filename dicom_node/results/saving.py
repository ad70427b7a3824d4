"""Writes result objects so that what was written is on the disk, and the same data set gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

from pydicom.dataset import Dataset

__all__ = ["save"]


def save(dataset: Dataset, path: Path) -> None:
    """Write `dataset` as a DICOM file (Explicit VR Little Endian): temporary file, sync, rename, sync the folder."""
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        dataset.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
