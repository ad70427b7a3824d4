"""DICOM series with DICOM SEG become MedSeg-QA images."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.medseg_qa.builder import BuildOptions, build
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import Skip, SourceImage, open_source
from workflows.qa_sources import open_dicom


def test_a_real_seg_lands_on_its_series(shared_data: Path, tmp_path: Path) -> None:
    source = open_dicom(shared_data / "dicom" / "highdicom" / "data" / "test_files")
    assert source is not None
    found = list(source)
    images = [item for item in found if isinstance(item, SourceImage)]
    assert images and all(image.modality == "CT" and image.orientation == "radiological" for image in images)
    assert images[0].spacing_mm == pytest.approx((0.661468, 0.661468))
    assert images[0].load().masks["first segment"].sum() == 1832
    assert any(isinstance(item, Skip) for item in found)


def test_a_set_is_built_without_uids(shared_data: Path, tmp_path: Path) -> None:
    directory = shared_data / "dicom" / "highdicom" / "data" / "test_files"
    report = build(
        open_source(directory, (open_dicom,)), tmp_path / "set", BuildOptions(allow_unknown_labels=True)
    )  # fmt: skip
    assert report.pairs >= 1 and report.skipped
    text = (tmp_path / "set" / "records.jsonl").read_text()
    assert "1.3.6.1.4.1" not in text
    assert all(record.targets[0].area_mm2 for record in read_records(tmp_path / "set"))


def test_a_folder_without_seg_is_no_source(tmp_path: Path) -> None:
    assert open_dicom(tmp_path) is None
