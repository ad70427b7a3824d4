"""Headers found by stepping over their elements: the same as pydicom's, and more where an element is broken."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.raw import RawHeader, find_elements, find_items, read_header, read_raw_header

FILES = [
    "CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "UN_sequence.dcm", "nested_priv_SQ.dcm",
    "image_dfl.dcm", "ExplVR_BigEndNoMeta.dcm", "meta_missing_tsyntax.dcm", "color3d_jpeg_baseline.dcm",
]  # fmt: skip


def known(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom has no {name}")
    return Path(str(found))


@pytest.mark.parametrize("name", FILES)
def test_it_reads_what_pydicom_reads(name: str) -> None:
    path = known(name)
    expected = dcmread(path, stop_before_pixels=True, force=True)
    header = read_header(path)
    assert header == expected and header.file_meta == expected.file_meta
    assert header.original_encoding == expected.original_encoding
    assert header.original_character_set == expected.original_character_set


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_in_sequences(tmp_path: Path, syntax: str, undefined: bool) -> None:
    plan = dcmread(known("rtplan.dcm"))
    for element in plan.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    plan.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "plan.dcm"
    plan.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert read_header(path) == dcmread(path, stop_before_pixels=True)


@pytest.mark.parametrize(
    ("spoil", "keyword", "value"),
    [
        (lambda whole: whole.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00??", 1), "PatientID", "1CT1"),
        (lambda whole: whole.replace(b"\x18\x00\x50\x00DS", b"\x18\x00\x50\x00QQ", 1), "SliceThickness", 5.0),
        (
            lambda whole: whole.replace(b"\x28\x00\x10\x00US\x02\x00\x80\x00", b"\x28\x00\x10\x00US\x01\x00\x80"),
            "Rows",
            b"\x80",
        ),
    ],
)
def test_a_broken_element_breaks_nothing_else(
    tmp_path: Path, spoil: Callable[[bytes], bytes], keyword: str, value: object
) -> None:
    whole = known("CT_small.dcm").read_bytes()
    path = tmp_path / "one.dcm"
    path.write_bytes(spoil(whole))
    assert path.read_bytes() != whole
    header, expected = read_header(path), dcmread(known("CT_small.dcm"), stop_before_pixels=True)
    assert header[keyword].value == value
    for kept in expected:
        assert kept.keyword == keyword or header[kept.tag] == kept
    header.save_as(tmp_path / "copy.dcm")  # a header that is copied into a result can be written


def test_an_unknown_vr_with_a_long_length(tmp_path: Path) -> None:
    """What a later edition adds has 32 bits for its length (PS3.5 7.1.2)."""
    new = struct.pack("<HH2s2xL", 0x0009, 0x1001, b"ZZ", 4) + b"abcd"
    after = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 2) + b"P1"
    raw = find_elements(new + after, ExplicitVRLittleEndian)
    assert [(element.tag, raw.value(element)) for element in raw.elements] == [
        (0x00091001, b"abcd"),
        (0x00100020, b"P1"),
    ]


@pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x08\x00\x05\x00CS\x04\x00ISO_" + tail)
)
def test_whatever_the_bytes_are_the_walk_ends(syntax: str, contents: bytes) -> None:
    raw = find_elements(contents, syntax)
    assert all(element.end <= len(contents) for element in raw.elements)


def test_sequences_that_nest_without_end_are_refused_by_name() -> None:
    head = struct.pack("<HH2s2xL", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(UnparseableInstance, match="nests sequences more than 64 deep"):
        find_elements(head * 1_000, ExplicitVRLittleEndian)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"")
    with pytest.raises(UnparseableInstance, match=r"letter\.txt"):
        read_header(path)


def test_a_header_longer_than_the_first_read(tmp_path: Path) -> None:
    instance = dcmread(known("CT_small.dcm"))
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    instance.ReferencedImageSequence = [item] * 2_000
    instance.save_as(tmp_path / "long.dcm")
    assert len(read_header(tmp_path / "long.dcm").ReferencedImageSequence) == 2_000


def tags_inside(header: RawHeader) -> list[tuple[int, list[object]]]:
    """The tags of a data set, those of its items with each sequence."""
    found = []
    for element in header.elements:
        value, inner = header.contents[element.start : element.end], []
        if element.vr == b"SQ":
            inner = [tags_inside(item) for item in find_items(value, header.transfer_syntax_uid)]
        found.append((element.tag, inner))
    return found


def tags_of_pydicom(dataset: Dataset) -> list[tuple[int, list[object]]]:
    return [(int(one.tag), [tags_of_pydicom(item) for item in one.value] if one.VR == "SQ" else []) for one in dataset]


@pytest.mark.parametrize("undefined", [False, True])
def test_items_are_those_that_pydicom_reads(tmp_path: Path, undefined: bool) -> None:
    plan = dcmread(known("rtplan.dcm"))
    for element in plan.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    plan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plan.save_as(tmp_path / "plan.dcm", implicit_vr=False, little_endian=True)
    with (tmp_path / "plan.dcm").open("rb") as stream:
        found = tags_inside(read_raw_header(stream))
    assert found == tags_of_pydicom(plan)


@pytest.mark.parametrize(
    "value",
    [
        b"\x08\x00\x50\x11UI\x02\x001\0",  # an element, not an item
        struct.pack("<HHL", 0xFFFE, 0xE000, 10) + b"\x08\x00\x50\x11UI\x02\x001",  # cut off in its value
        struct.pack("<HHL", 0xFFFE, 0xE000, 10) + b"\x08\x00\x50\x11UI\x04\x001\0",  # the element is longer than it
        struct.pack("<HHL", 0xFFFE, 0xE000, 0) + b"\xfe\xff",
    ],
)
def test_what_is_no_whole_item_is_an_error(value: bytes) -> None:
    with pytest.raises(UnparseableInstance, match="whole items"):
        list(find_items(value, ExplicitVRLittleEndian))
