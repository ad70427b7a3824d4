from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.errors import IdentifierMismatch, UnparseableInstance
from dicom_node.headers.instance import read_identifiers


def test_files_without_a_preamble_are_read(shared_data: Path) -> None:
    (path,) = (shared_data / "dicom/pydicom").rglob("rtstruct.dcm")
    assert read_identifiers(path).sop_class_uid == "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.mark.parametrize("content", [b"", b"a letter, not an image" * 20, b"\x00" * 128 + b"DICM", b"\x89PNG" * 99])
def test_what_is_not_dicom_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(UnparseableInstance, match=r"letter\.txt"):
        read_identifiers(path)


def test_a_missing_uid_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    instance = dcmread(str(get_testdata_file("CT_small.dcm")))
    instance.StudyInstanceUID = ""
    instance.save_as(path)
    with pytest.raises(IdentifierMismatch, match=r"one\.dcm: Study Instance UID is missing"):
        read_identifiers(path)
