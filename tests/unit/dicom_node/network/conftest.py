"""Three CT instances to send."""

from __future__ import annotations

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
