"""The header of an instance as a file of its own: what stays of an image once its pixels are removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.elements import text
from dicom_node.headers.raw import RawElement, RawHeader, file_meta_of, read_raw_header
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.part10 import part10_prefix

__all__ = ["header_without_bulk"]

_BULK_BYTES = 64 * 1024
_BULK = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN", b""})


def header_without_bulk(path: Path) -> bytes:
    """A Part 10 file of all that stands before the pixels of an instance, but for values of more than 64 kB.

    Sequences stay whatever their size: functional groups are one (PS3.3 C.7.6.16). Every element is kept byte for byte;
    what was deflated is not any more. Raises UnparseableInstance for a file in which no element stands, and OSError.
    """
    with path.open("rb") as stream:
        raw = read_raw_header(stream)
    if not raw.elements:
        raise UnparseableInstance(f"{path}: no element of a DICOM data set stands in it")
    meta = file_meta_of(raw)
    prefix = part10_prefix(
        ReceivedInstance(
            data_set=b"",
            sop_class_uid=text(meta, "MediaStorageSOPClassUID"),
            sop_instance_uid=text(meta, "MediaStorageSOPInstanceUID"),
            transfer_syntax_uid=_native(raw),
            calling_ae_title=text(meta, "SendingApplicationEntityTitle"),
            called_ae_title=text(meta, "ReceivingApplicationEntityTitle"),
        )
    )
    return prefix + b"".join(_kept(raw))


def _native(raw: RawHeader) -> str:
    """The uncompressed transfer syntax in which the elements stand."""
    if raw.implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if raw.little_endian else ExplicitVRBigEndian


def _kept(raw: RawHeader) -> Iterator[bytes]:
    start = raw.meta[-1].end if raw.meta else (132 if raw.contents[128:132] == b"DICM" else 0)
    for element in raw.elements:
        if not _is_bulk(element, element.end - start):
            yield raw.contents[start : element.end]
        start = element.end


def _is_bulk(element: RawElement, size: int) -> bool:
    if size <= _BULK_BYTES or element.vr not in _BULK:
        return False
    return not (dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == "SQ")
