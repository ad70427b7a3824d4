"""The Part 10 prefix that turns a data set as it came into a file (PS3.10 7.1)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_node.errors import UnparseableInstance
from dicom_node.storage.instance import ReceivedInstance

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "data_set_offset", "part10_prefix"]

IMPLEMENTATION_CLASS_UID = UID("2.25.80969907327582110843091460576099501921")
IMPLEMENTATION_VERSION_NAME = "MEDSEG_NODE"

_PREAMBLE = 132


def part10_prefix(received: ReceivedInstance) -> bytes:
    """Preamble, "DICM" and file meta, with who sent the instance to whom, so that a lost row can be made again."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(received.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(received.sop_instance_uid)
    meta.TransferSyntaxUID = UID(received.transfer_syntax_uid)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    if received.calling_ae_title:
        meta.SourceApplicationEntityTitle = received.calling_ae_title
        meta.SendingApplicationEntityTitle = received.calling_ae_title
    if received.called_ae_title:
        meta.ReceivingApplicationEntityTitle = received.called_ae_title
    if received.peer_address:
        meta.SourcePresentationAddress = f"dicom://{received.peer_address}"
    encoded = DicomBytesIO()
    write_file_meta_info(encoded, meta, enforce_standard=True)
    return b"\x00" * 128 + b"DICM" + bytes(encoded.getvalue())


def data_set_offset(file: BinaryIO) -> int:
    """Where the data set begins in a Part 10 file that has its File Meta Information Group Length (0002,0000).

    Raises UnparseableInstance for any other file.
    """
    file.seek(0)
    prefix = file.read(_PREAMBLE + 12)
    if len(prefix) < _PREAMBLE + 12 or prefix[128 : _PREAMBLE + 8] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise UnparseableInstance("the file does not begin with a preamble and its file meta's group length")
    (length,) = struct.unpack("<L", prefix[_PREAMBLE + 8 :])
    return _PREAMBLE + 12 + int(length)
