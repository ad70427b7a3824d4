"""Published images whose identifiers were blanked become instances that a node can take."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.commissioning.blanked import with_identifiers


def blanked(number: int, **values: str) -> bytes:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.file_meta.MediaStorageSOPClassUID = CTImageStorage
    instance.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    instance.StudyInstanceUID = instance.SeriesInstanceUID = instance.SOPInstanceUID = instance.SOPClassUID = ""
    instance.PatientID, instance.InstanceNumber = "", number
    for keyword, value in values.items():
        setattr(instance, keyword, value)
    stored = BytesIO()
    instance.save_as(stored, enforce_file_format=True)
    return stored.getvalue()


def test_blanks_are_filled_the_same_way_each_time_and_what_is_there_stays(tmp_path: Path) -> None:
    contents = {"b": blanked(2), "a": blanked(1, PatientID="4711")}
    first, second = (with_identifiers(contents, "DEMO", tmp_path / name) for name in ("first", "second"))
    one, two = (pydicom.dcmread(path) for path in first)
    assert (one.PatientID, two.PatientID) == ("4711", "DEMO") and two.SOPClassUID == CTImageStorage
    assert one.StudyInstanceUID == two.StudyInstanceUID and one.SeriesInstanceUID == two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID == two.file_meta.MediaStorageSOPInstanceUID
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
