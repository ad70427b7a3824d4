from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from dicom_node.errors import UnparseableInstance
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.part10 import IMPLEMENTATION_CLASS_UID, data_set_offset, part10_prefix

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.12", "fe80::1"])
def test_the_prefix_says_what_and_from_whom(uid: str, address: str) -> None:
    received = ReceivedInstance(b"", CT, uid, EXPLICIT, "SCANNER", "MEDSEG", address)
    prefix = part10_prefix(received)
    assert data_set_offset(BytesIO(prefix)) == len(prefix)
    meta = dcmread(BytesIO(prefix)).file_meta
    meta.walk(lambda _, element: None)
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == uid
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "SCANNER"
    assert meta.ReceivingApplicationEntityTitle == "MEDSEG"
    assert meta.SourcePresentationAddress == f"dicom://{address}"


def test_without_an_association_nobody_is_named() -> None:
    meta = dcmread(BytesIO(part10_prefix(ReceivedInstance(b"", CT, "1.2.3", EXPLICIT)))).file_meta
    assert [one.keyword for one in meta][-1] == "ImplementationVersionName"


def test_a_file_without_group_length_has_no_offset() -> None:
    with pytest.raises(UnparseableInstance):
        data_set_offset(BytesIO(b"\x00" * 128 + b"DICM" + b"\x00" * 20))
