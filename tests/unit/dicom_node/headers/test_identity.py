"""The identity of a source: its bytes, in whatever transfer syntax, right or wrong as they are."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.headers.identity import PATIENT_AND_STUDY, SourceIdentity, source_identity
from tests.unit.dicom_node.headers.encoded import SYNTAXES, Encoding, Item, even, write

BROKEN: Item = {
    "SpecificCharacterSet": b"ISO_IR 999",
    "PatientName": even(b"M\xfcller^J\xf6rg^^^^^^more\xff=\xc3\xbc=\x1b$B;3ED=four"),
    "PatientID": even(b"PH\xdc1\\second"),
    "PatientBirthDate": b"1.1.70",
    "PatientSex": b"unsure",
    "AccessionNumber": b"A" * 200,
    "StudyInstanceUID": b" 1.2..3 ",
    "StudyDate": b"",
    "PatientWeight": b"seventy ",
    "PregnancyStatus": struct.pack("<H", 3),
    "OtherPatientIDsSequence": [
        {
            "PatientID": b"\xe9\xe8",
            "TypeOfPatientID": b"TEXT",
            "IssuerOfPatientIDQualifiersSequence": [{"UniversalEntityID": b"\xb1\xb2"}, {}],
        },
        {"SpecificCharacterSet": b"ISO_IR 126", "PatientID": b"\xe4\xe5"},
    ],
    "ProcedureCodeSequence": [],
}
"""Nothing of this is as the standard wants it, and all of it is somebody's identity."""


def of(path: Path) -> SourceIdentity:
    return source_identity(pydicom.dcmread(path))


def as_little_endian(identity: SourceIdentity) -> bytes:
    return b"".join(element.encoded() for element in identity.elements)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_transfer_syntax_gives_the_same_bytes(tmp_path: Path, syntax: str, undefined: bool) -> None:
    identity = of(write(tmp_path / "x.dcm", BROKEN, syntax, undefined=undefined))
    wanted = {keyword: value for keyword, value in BROKEN.items() if keyword != "SpecificCharacterSet"}
    assert identity.character_set == b"ISO_IR 999" and identity.declared == ("ISO_IR 999",)
    assert as_little_endian(identity) == Encoding(implicit=False).elements(wanted)


@given(
    texts=st.dictionaries(
        st.sampled_from(["PatientName", "PatientID", "StudyID", "PatientComments", "StudyDate", "PatientAge"]),
        st.binary(max_size=90).map(even),
    ),
    nested=st.lists(st.binary(max_size=20).map(even), max_size=3),
    syntax=st.sampled_from(SYNTAXES),
)
def test_any_bytes_are_kept(tmp_path_factory, texts: Item, nested: list[bytes], syntax: str) -> None:
    item: Item = {"StudyInstanceUID": b"1.2.30", **texts, "OtherPatientIDsSequence": [{"PatientID": b} for b in nested]}
    path = tmp_path_factory.mktemp("identity") / "x.dcm"
    assert as_little_endian(of(write(path, item, syntax))) == Encoding(implicit=False).elements(item)


def test_nothing_is_decoded_by_it(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "x.dcm", BROKEN))
    source_identity(dataset)
    filled = [keyword for keyword, value in BROKEN.items() if value and keyword != "SpecificCharacterSet"]
    assert all(dataset.get_item(keyword).is_raw for keyword in filled)


@pytest.mark.parametrize("declared", [b"ISO_IR 13\0", b" ISO_IR 13  \0"])
def test_a_declared_set_is_kept_but_for_the_padding_at_its_end(tmp_path: Path, declared: bytes) -> None:
    identity = of(write(tmp_path / "x.dcm", {**BROKEN, "SpecificCharacterSet": even(declared)}))
    assert identity.character_set == even(declared.rstrip(b" \0")) and identity.declared == (
        declared.decode().rstrip(" \0"),
    )


def test_odd_values_are_padded_as_their_representation_wants(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", {"PatientID": b"odd", "StudyInstanceUID": b"1.2"})
    identity = of(path)
    assert [element.value for element in identity.elements] == [b"odd ", b"1.2\0"]


def test_a_value_longer_than_its_representation_can_say_is_kept(tmp_path: Path) -> None:
    long = "Ü".encode() * 40_000
    identity = of(write(tmp_path / "x.dcm", {"PatientID": long}, SYNTAXES[0]))
    element = identity.element("PatientID")
    assert element is not None and element.value == long
    (tmp_path / "x.dcm").write_bytes(bytes(128) + b"DICM" + as_little_endian(identity))
    assert of(tmp_path / "x.dcm").element("PatientID") == element


def test_unknown_representations_are_the_dictionarys(tmp_path: Path) -> None:
    inner = Encoding(implicit=True).elements({"OtherPatientIDsSequence": [{"PatientID": b"\xe9\xe8"}]})[8:]
    body = struct.pack("<HH2sHL", 0x10, 0x20, b"UN", 0, 4) + b"ab\xe9 "
    body += struct.pack("<HH2sHL", 0x10, 0x1002, b"UN", 0, len(inner)) + inner
    (tmp_path / "x.dcm").write_bytes(bytes(128) + b"DICM" + body)
    wanted: Item = {"PatientID": b"ab\xe9 ", "OtherPatientIDsSequence": [{"PatientID": b"\xe9\xe8"}]}
    assert as_little_endian(of(tmp_path / "x.dcm")) == Encoding(implicit=False).elements(wanted)


def test_what_was_read_before_is_encoded_again(tmp_path: Path) -> None:
    item: Item = {
        "SpecificCharacterSet": b"ISO_IR 144",
        "PatientName": even("Люк^Иван".encode("iso8859_5")),
        "PatientID": even("Я1".encode("iso8859_5")),
        "OtherPatientIDsSequence": [{"PatientID": even("Ж2".encode("iso8859_5"))}],
        "PregnancyStatus": struct.pack("<H", 3),
    }
    dataset = pydicom.dcmread(write(tmp_path / "x.dcm", item, SYNTAXES[2]))
    str(dataset)  # reads every element
    assert source_identity(dataset) == of(tmp_path / "x.dcm")


def test_a_sequence_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", {"PatientID": b"ab", "OtherPatientIDsSequence": b"\x01\x02\x03\x04\x05\x06"})
    assert [element.tag for element in of(path).elements] == [Tag("PatientID")]


@pytest.mark.parametrize(
    ("value", "character_set", "plain"),
    [(b"ab", None, True), (b"\xc3\xbc", b"ISO_IR 192", False), (b"\x1b$B;3", None, False), (b"\xfc ", None, False)],
)
@pytest.mark.parametrize("keyword", ["PatientID", "OtherPatientIDsSequence"])
def test_plain_ascii_is_told_at_any_depth(tmp_path, keyword, value, character_set, plain) -> None:
    item: Item = {keyword: [{"PatientID": value}] if keyword.endswith("Sequence") else value}
    if character_set is not None:
        item["SpecificCharacterSet"] = character_set
    assert of(write(tmp_path / "x.dcm", {**item, "PregnancyStatus": b"\xff\xff"})).is_plain_ascii is plain


def test_texts_are_decoded_as_declared_and_items_may_declare_their_own(tmp_path: Path) -> None:
    identity = of(write(tmp_path / "x.dcm", {**BROKEN, "SpecificCharacterSet": b"ISO_IR 100"}))
    assert identity.texts("PatientID") == ("PHÜ1", "second")
    assert identity.texts("OtherPatientIDsSequence") == ("éè", "±²", "δε")
    assert identity.texts("StudyDescription") == ()


@given(declared=st.binary(max_size=24))
def test_no_declared_set_is_too_strange(declared: bytes) -> None:
    identity = SourceIdentity(declared, of_one_name())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(identity.texts("PatientName")) == 1


def of_one_name() -> tuple:
    dataset = Dataset()
    dataset.PatientName = "Box^Test"
    return source_identity(dataset).elements


def test_every_keyword_is_the_standards() -> None:
    assert all(pydicom.datadict.tag_for_keyword(keyword) for keyword in PATIENT_AND_STUDY)
