"""Three CT instances to send, and silence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(3):
        instance = pydicom.dcmread(get_testdata_file("CT_small.dcm"))  # type: ignore[arg-type]
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(tmp_path / f"{number}.dcm")
        instance.save_as(paths[-1])
    return paths


@pytest.fixture
def wait_for_end() -> Iterator[Callable[[], None]]:
    """For a scripted peer that falls silent: waits until the test is over."""
    over = threading.Event()

    def wait() -> None:
        over.wait(30)

    yield wait
    over.set()
