"""The header that stays of an image: all but its pixels and what is large, in every encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import UnparseableInstance
from dicom_node.storage.kept_header import header_without_bulk


def image(folder: Path, syntax: str) -> Path:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID, header.StudyInstanceUID = CTImageStorage, "1.2.3", "1.2"
    header.PatientName, header.StudyDescription, header.Modality = "Box^Änna", "Abdömen", "CT"
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SharedFunctionalGroupsSequence = Sequence([Dataset() for _ in range(9000)])
    for item in header.SharedFunctionalGroupsSequence:
        item.SliceThickness = 3
    header.add_new(0x00091010, "OB", b"x" * 100_000)
    header.add_new(0x60003000, "OW", b"y" * 100_000)
    header.add_new(0x60003001, "OW", b"z" * 10)
    header.Rows, header.Columns, header.BitsAllocated = 4, 4, 16
    header.PixelData = b"p" * 32
    header["PixelData"].VR = "OW"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    path = folder / "image.dcm"
    header.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_all_but_pixels_and_bulk_is_kept(tmp_path: Path, syntax: str) -> None:
    path = image(tmp_path, syntax)
    kept = tmp_path / "kept.dcm"
    kept.write_bytes(header_without_bulk(path))
    before, after = dcmread(path), dcmread(kept)
    assert set(before.keys()) - set(after.keys()) == {0x00091010, 0x60003000, 0x7FE00010}
    assert after.PatientName == before.PatientName and after.StudyDescription == "Abdömen"
    assert len(after.SharedFunctionalGroupsSequence) == 9000 and after.Rows == 4
    assert after.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert header_without_bulk(kept) == kept.read_bytes(), "what was kept is kept as it is"


def test_what_is_no_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.dcm").write_bytes(b"")
    with pytest.raises(UnparseableInstance, match="no element"):
        header_without_bulk(tmp_path / "empty.dcm")
