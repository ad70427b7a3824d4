"""The Part 10 prefix that turns a data set as it came into a file (PS3.10 7.1)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from dicom_node.errors import UnparseableInstance
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.sink import StoreRequest

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "data_set_offset", "part10_prefix"]

IMPLEMENTATION_CLASS_UID = "2.25.80969907327582110843091460576099501921"
IMPLEMENTATION_VERSION_NAME = "MEDSEG_NODE"

_PREAMBLE = 132


def part10_prefix(received: ReceivedInstance | StoreRequest) -> bytes:
    """Preamble, "DICM" and file meta, with who sent the instance to whom, so that a lost row can be made again."""
    address = f"dicom://{received.peer_address}" if received.peer_address else ""
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", received.sop_class_uid.encode("ascii")),
            _element(0x0003, b"UI", received.sop_instance_uid.encode("ascii")),
            _element(0x0010, b"UI", received.transfer_syntax_uid.encode("ascii")),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
            *(
                _element(number, vr, value.encode("ascii", "replace"))
                for number, vr, value in (
                    (0x0016, b"AE", received.calling_ae_title),
                    (0x0017, b"AE", received.calling_ae_title),
                    (0x0018, b"AE", received.called_ae_title),
                    (0x0026, b"UR", address),
                )
                if value
            ),
        )
    )
    return b"\x00" * 128 + b"DICM" + _element(0x0000, b"UL", struct.pack("<L", len(elements))) + elements


_LONG_LENGTH = frozenset({b"OB", b"UR"})


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """One element of group 0002 in Explicit VR Little Endian (PS3.5 7.1.2), padded to an even length.

    By hand, since it is written for every instance and pydicom takes a millisecond for it.
    """
    if len(value) % 2:
        value += b"\x00" if vr == b"UI" else b" "
    if vr in _LONG_LENGTH:
        return struct.pack("<HH2sHL", 0x0002, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


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
