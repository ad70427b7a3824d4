"""What fuzzers found, kept as the smallest file that showed it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import EnhancedCTImageStorage

from dicom_node.errors import VolumeRefusal, VolumeRefused
from dicom_node.headers.series_kind import read_series_kind
from dicom_node.headers.study import read_study_header
from dicom_node.volumes.load import load_series
from tests.unit.dicom_node.hostile.encoding import element, image, native, save


def test_functional_groups_that_are_cut_off_are_none(tmp_path: Path) -> None:
    """Planning ended with an OSError, which looks like a file that cannot be read now."""
    broken = {0x52009230: element(0x52009230, "SQ", b"\xfe\xff\x00\xe0\x08\x00")}
    path = save(tmp_path / "a.dcm", image(SOPClassUID=str(EnhancedCTImageStorage)) | broken, tail=native())
    assert read_study_header({"1.2.1": [path]}).series[0].slice_thickness_mm == 1.0
    assert read_series_kind(path).modality == "CT"
    with pytest.raises(VolumeRefused) as refused:
        load_series([path])
    assert refused.value.reason is VolumeRefusal.MISSING_GEOMETRY
