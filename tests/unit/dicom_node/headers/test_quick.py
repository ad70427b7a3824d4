"""The quick way to a header says what the slow way says, or leaves the header to it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import InstanceRefused
from dicom_node.headers.elements import read_data_set_header
from dicom_node.headers.instance import (
    INSTANCE_KEYWORDS,
    InstanceHeader,
    InstanceIdentifiers,
    checked_identifiers,
    instance_header,
)
from dicom_node.headers.quick import quick_header
from dicom_node.headers.raw import read_raw_header
from tests.unit.dicom_node.headers.encoded import Encoding, even

CT = b"1.2.840.10008.5.1.4.1.1.2\0"
Found = tuple[InstanceIdentifiers, InstanceHeader]


def slowly(contents: bytes, syntax: str) -> Found:
    header = read_data_set_header(BytesIO(contents), syntax, INSTANCE_KEYWORDS)
    return checked_identifiers(header), instance_header(header)


def agrees(contents: bytes, syntax: str) -> bool:
    """Whether the quick way took it; where it does, it says what the slow way says."""
    quick = quick_header(contents, syntax)
    for cut in {len(contents) // 3, len(contents) // 2, len(contents) - 5}:
        assert quick_header(contents[: max(cut, 0)], syntax, len(contents)) in (None, quick)
    if quick is not None:
        assert quick == slowly(contents, syntax)
    return quick is not None


UIDS = {
    "SOPClassUID": CT,
    "SOPInstanceUID": b"1.2.3.4\0",
    "StudyInstanceUID": b"1.2.1\0",
    "SeriesInstanceUID": b"1.2.2\0",
}
PLAIN = UIDS | {
    "Modality": b"CT",
    "PatientName": b"Doe^Jane^^ ",
    "PatientID": b" 17 ",
    "PatientBirthDate": b"19700101",
    "StudyDescription": b"Head and neck ",
    "AccessionNumber": b"",
    "Manufacturer": b"Maker ",
    "InstanceNumber": b" 12 ",
    "SeriesNumber": b"-3",
    "PixelData": b"\0\1\2\3",
}
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_first_bytes_say_all_or_nothing(syntax: str) -> None:
    contents = Encoding(syntax == ImplicitVRLittleEndian).elements(PLAIN | {"PixelData": bytes(64)})
    cut_off = [quick_header(contents[:cut], syntax, len(contents)) for cut in range(len(contents))]
    pixels = len(contents) - 64  # the value alone is missing
    assert all(found == quick_header(contents, syntax) for found in cut_off[pixels:])
    assert not any(cut_off[: pixels - 12])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_ordinary_header_is_taken(syntax: str) -> None:
    encoding = Encoding(syntax == ImplicitVRLittleEndian)
    assert agrees(encoding.elements(PLAIN), syntax)
    assert agrees(encoding.elements(PLAIN | {"SpecificCharacterSet": b"ISO_IR 192"}), syntax)
    name = {"SpecificCharacterSet": b"ISO_IR 192", "SeriesDescription": even("Schädel".encode())}
    assert agrees(encoding.elements(PLAIN | name), syntax)
    item = {"CodeValue": b"T-A0100 ", "CodingSchemeDesignator": b"SRT "}
    for undefined in (False, True):
        sequences = Encoding(syntax == ImplicitVRLittleEndian, undefined=undefined)
        assert agrees(sequences.elements(PLAIN | {"AnatomicRegionSequence": [item, item]}), syntax)


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(str.encode)
ODD = st.binary(max_size=8) | st.sampled_from(
    [b"\\", b"a\\b", b"\x1b$B", b"\0", b"\xc3\xa4", b"\xe4", b"=", b"A=B", b"1.5", b"1e3"]
)
TEXTS = [keyword for keyword in INSTANCE_KEYWORDS if dictionary_VR(tag_for_keyword(keyword) or 0) != "SQ"]
CHARACTER_SETS = [
    b"",
    b"ISO_IR 100",
    b"ISO_IR 192",
    b"ISO_IR 13 ",
    b"\\ISO 2022 IR 87",
    b"GB18030 ",
    b"ISO_IR 144",
    b"nonsense",
]


@given(
    values=st.dictionaries(st.sampled_from(TEXTS), ASCII | ODD | st.integers().map(lambda n: str(n).encode())),
    character_set=st.sampled_from(CHARACTER_SETS),
    syntax=st.sampled_from(SYNTAXES),
)
def test_whatever_the_values_are_both_ways_agree(values: dict[str, bytes], character_set: bytes, syntax: str) -> None:
    item = UIDS | {keyword: even(value) for keyword, value in values.items()}
    if character_set:
        item["SpecificCharacterSet"] = even(character_set)
    agrees(Encoding(syntax == ImplicitVRLittleEndian).elements(item), syntax)


@given(
    cut=st.integers(min_value=0),
    changed=st.integers(min_value=0),
    byte=st.integers(0, 255),
    syntax=st.sampled_from(SYNTAXES),
)
def test_a_header_with_a_wrong_byte_or_end(cut: int, changed: int, byte: int, syntax: str) -> None:
    whole = bytearray(Encoding(syntax == ImplicitVRLittleEndian).elements(PLAIN))
    whole[changed % len(whole)] = byte
    spoiled = bytes(whole[: len(whole) - cut % len(whole)])
    try:
        agrees(spoiled, syntax)
    except InstanceRefused:
        pytest.fail("taken by the quick way, refused by the slow one")


def test_the_files_of_the_shared_data(shared_data: Path) -> None:
    taken = looked_at = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm"))[:400]:
        whole = path.read_bytes()
        raw = read_raw_header(BytesIO(whole))
        if whole[128:132] != b"DICM" or not raw.elements or not raw.transfer_syntax_uid:
            continue
        looked_at += 1
        start = raw.meta[-1].end if raw.meta else 0
        taken += agrees(whole[start:], raw.transfer_syntax_uid)
    assert looked_at and taken > looked_at // 3


def test_a_header_comes_back_from_json() -> None:
    header = slowly(Encoding(False).elements(PLAIN), ExplicitVRLittleEndian)[1]
    assert InstanceHeader.from_json(json.loads(json.dumps(header.to_json()))) == header
    assert InstanceHeader.from_json({}) == InstanceHeader()
