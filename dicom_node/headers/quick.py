"""A quick way to what a row keeps of an instance: for the plain headers that almost every image has.

Element by element with pydicom it takes four times as long, and the sender waits for it. What is not plain is left to
`read_data_set_header`: sequences that matter, values in other character sets, several values, broken elements, deflated
and big endian data sets. The results are the same.
"""

from __future__ import annotations

import re
from mmap import mmap
from struct import Struct
from struct import error as StructError
from typing import cast

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.errors import IdentifierMismatch
from dicom_node.headers.instance import (
    IDENTIFIER_KEYWORDS,
    INSTANCE_KEYWORDS,
    Device,
    InstanceHeader,
    InstanceIdentifiers,
)
from dicom_node.headers.patient import PATIENT_KEYWORDS, patient_from
from dicom_node.headers.walk import FIRST_PIXELS, KNOWN_VRS, SHORT_VRS, UNDEFINED_LENGTH, Walk
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID, checked_uid

__all__ = ["quick_header"]

_CHARACTER_SET = 0x00080005
_LONGEST, _MOST_ELEMENTS = 1024, 4096
# Not known, big endian, and those that deflate (PS3.5 A.5, A.7, A.9).
_NOT_PLAIN = frozenset(
    {
        "",
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.205",
    }
)
_VRS: dict[int, tuple[str, bytes]] = {
    tag: (keyword, dictionary_VR(tag).encode()) for keyword in INSTANCE_KEYWORDS if (tag := tag_for_keyword(keyword))
}
_IDENTIFIERS = frozenset(IDENTIFIER_KEYWORDS)
_HEAD, _LENGTH, _IMPLICIT_HEAD = Struct("<HH2sH").unpack_from, Struct("<L").unpack_from, Struct("<HHL").unpack_from
# PS3.3 C.12.1.1.2: character sets in which every byte below 128 is ASCII; the two in which the others are plain too.
_ASCII_BELOW = frozenset(
    b"ISO_IR 6|ISO_IR 100|ISO_IR 101|ISO_IR 109|ISO_IR 110|ISO_IR 144|ISO_IR 127|ISO_IR 126|ISO_IR 138|ISO_IR 148|"
    b"ISO_IR 192|GB18030|GBK".split(b"|")
) | {b""}
_CODECS = {b"ISO_IR 100": "latin-1", b"ISO_IR 192": "utf-8"}
_TEXTS = frozenset((b"LO", b"SH"))
_UNPLAIN = re.compile(rb"[\x00-\x1f\x7f\\]")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def quick_header(
    contents: bytes | mmap, transfer_syntax_uid: str, size: int | None = None
) -> tuple[InstanceIdentifiers, InstanceHeader] | None:
    """Which instance a data set without file meta is, and what a row keeps of it; None: the header is not plain.

    Elements that do not ascend (PS3.5 7.1) are not plain. `size`: of the whole data set, where `contents` are only its
    first bytes; then None also where the header goes on behind them.
    """
    if transfer_syntax_uid in _NOT_PLAIN:
        return None
    try:
        implicit = transfer_syntax_uid == ImplicitVRLittleEndian
        values = _values(contents, len(contents) if size is None else size, implicit=implicit)
        return None if values is None else _header(values)
    except (StructError, IdentifierMismatch, UnicodeDecodeError):
        return None


def _values(contents: bytes | mmap, size: int, *, implicit: bool) -> dict[str, str] | None:
    """The plain values of INSTANCE_KEYWORDS by keyword; None where one is not plain."""
    found: dict[str, str] = {}
    character_set, at, before, given = b"", 0, -1, len(contents)
    if implicit == (contents[4:6] in KNOWN_VRS):
        return None  # the first element shows another encoding than the transfer syntax
    walk = Walk(cast(bytes, contents), implicit=implicit, little=True, size=size)
    for _ in range(_MOST_ELEMENTS):
        if at >= size:
            return found
        if implicit:
            group, element, length = _IMPLICIT_HEAD(contents, at)
            tag, start = group << 16 | element, at + 8
            vr = _VRS[tag][1] if tag in _VRS else b""
        else:
            group, element, vr, length = _HEAD(contents, at)
            tag, start = group << 16 | element, at + 8
            if vr not in SHORT_VRS:
                if vr not in KNOWN_VRS:
                    return None
                (length,), start = _LENGTH(contents, at + 8), at + 12
        if tag <= before:
            return None
        if tag >= FIRST_PIXELS:
            return found
        before = tag
        end = start + length if length != UNDEFINED_LENGTH else walk.element(at).end
        if end > size:
            return None
        if tag in _VRS:
            keyword, expected = _VRS[tag]
            if vr != expected or vr == b"SQ" or end - start > _LONGEST or end > given:
                return None
            value = _plain(contents[start:end], vr, character_set)
            if value is None:
                return None
            found[keyword] = value
        elif tag == _CHARACTER_SET:
            if end > given:
                return None
            character_set = contents[start:end].strip(b" ")
            if character_set not in _ASCII_BELOW:
                return None
        at = end
    return None


def _plain(value: bytes, vr: bytes, character_set: bytes) -> str | None:
    """The value as `elements.text` has it; None: not plain."""
    if vr == b"UI":
        value = value.rstrip(b"\0 ")
    if _UNPLAIN.search(value) is not None:
        return None
    if value.isascii():
        return value.decode("ascii").strip()
    codec = _CODECS.get(character_set) if vr in _TEXTS else None
    return None if codec is None else value.decode(codec).strip()


def _header(values: dict[str, str]) -> tuple[InstanceIdentifiers, InstanceHeader] | None:
    if not values.keys() >= _IDENTIFIERS:
        return None
    numbers = [values.get(keyword, "") for keyword in ("SeriesNumber", "InstanceNumber")]
    name = values.get("PatientName", "")
    if "=" in name or any(number and _WHOLE_NUMBER.fullmatch(number) is None for number in numbers):
        return None
    identifiers = InstanceIdentifiers(
        study_uid=StudyUID(checked_uid(values["StudyInstanceUID"], "Study Instance UID")),
        series_uid=SeriesUID(checked_uid(values["SeriesInstanceUID"], "Series Instance UID")),
        sop_instance_uid=SOPInstanceUID(checked_uid(values["SOPInstanceUID"], "SOP Instance UID")),
        sop_class_uid=checked_uid(values["SOPClassUID"], "SOP Class UID"),
    )
    series_number, instance_number = (int(number) if number else None for number in numbers)
    return identifiers, InstanceHeader(
        modality=values.get("Modality", ""),
        accession_number=values.get("AccessionNumber", ""),
        study_description=values.get("StudyDescription", ""),
        series_description=values.get("SeriesDescription", ""),
        series_number=series_number,
        instance_number=instance_number,
        device=Device(
            values.get("Manufacturer", ""),
            values.get("ManufacturerModelName", ""),
            values.get("DeviceSerialNumber", ""),
            values.get("DeviceUID", ""),
        ),
        patient=patient_from(*(values.get(keyword, "") for keyword in PATIENT_KEYWORDS)),
    )
