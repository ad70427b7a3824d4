"""Whom a header names, and when two headers name two patients."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.headers.elements import read_data_set_header
from dicom_node.headers.patient import (
    PATIENT_KEYWORDS,
    Patient,
    changes,
    contradiction,
    first_contradiction,
    patient_of,
)

EXPLICIT = "1.2.840.10008.1.2.1"


def raw(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    group, element = divmod(tag, 0x10000)
    head = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    return head + vr + len(value).to_bytes(2, "little") + value


def patient(name: bytes = b"", patient_id: bytes = b"", character_set: bytes = b"", born: bytes = b"") -> Patient:
    """The patient of a data set with these bytes."""
    data_set = raw(0x00080005, b"CS", character_set) if character_set else b""
    data_set += raw(0x00100010, b"PN", name) + raw(0x00100020, b"LO", patient_id) + raw(0x00100030, b"DA", born)
    return patient_of(read_data_set_header(BytesIO(data_set), EXPLICIT, PATIENT_KEYWORDS))


def test_attributes_are_decoded_and_without_padding() -> None:
    header = Dataset()
    header.PatientID, header.IssuerOfPatientID, header.PatientName = " 12 ", "HOSPITAL", "Doe^Jane^^^"
    header.PatientBirthDate = "19700101"
    assert patient_of(header) == Patient("12", "HOSPITAL", "Doe^Jane", "19700101")


def test_absent_attributes_are_empty() -> None:
    assert patient_of(Dataset()) == Patient()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((b"M\xfcller^J\xfcrgen", b"ISO_IR 100"), ("Müller^Jürgen".encode(), b"ISO_IR 192")),
        (("Иванов^Пётр".encode("iso8859-5"), b"ISO_IR 144"), ("Иванов^Пётр".encode(), b"ISO_IR 192")),
        (("Διονυσιος".encode("iso8859-7"), b"ISO_IR 126"), ("Διονυσιος".encode(), b"ISO_IR 192")),
        # PS3.5 H.3.2 and I.2: the same name by code extensions, and in Unicode.
        (
            (
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
                b"\\ISO 2022 IR 87",
            ),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう".encode(), b"ISO_IR 192"),
        ),
        (
            (
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
                b"\\ISO 2022 IR 149",
            ),
            ("Hong^Gildong=洪^吉洞=홍^길동".encode(), b"ISO_IR 192"),
        ),
        # A trail byte of GB18030 may be that of a delimiter.
        (("Wang^Yu=王^乗區".encode("gb18030"), b"GB18030"), ("Wang^Yu=王^乗區".encode(), b"ISO_IR 192")),
        # Half width and full width; composed and decomposed.
        (("ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), b"ISO_IR 13"), ("ヤマダ^タロウ".encode(), b"ISO_IR 192")),
        (("Zoe\u0301".encode(), b"ISO_IR 192"), ("Zo\u00e9".encode("latin-1"), b"ISO_IR 100")),
    ],
)
def test_names_that_decode_alike_agree(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> None:
    one, other = patient(name=first[0], character_set=first[1]), patient(name=second[0], character_set=second[1])
    assert one.name and other.name
    assert contradiction(one, other) is None


@pytest.mark.filterwarnings("ignore:Failed to decode")
def test_what_does_not_decode_is_compared_as_it_decodes() -> None:
    one = patient(name="Müller".encode("latin-1"), character_set=b"ISO_IR 192")
    assert one.name
    assert contradiction(one, patient(name="Müller".encode("latin-1"), character_set=b"ISO_IR 192")) is None
    assert contradiction(one, patient(name="Möwe".encode("latin-1"), character_set=b"ISO_IR 192")) == "Patient's Name"


@pytest.mark.parametrize("character_set", [b"ISO_IR 192", b"NONSENSE"])
def test_what_does_not_decode_is_not_quoted(character_set: bytes) -> None:
    with pytest.warns() as warned:
        patient(name=b"Secret^\xe9\xff", character_set=character_set)
    assert not any("Secret" in str(one.message) for one in warned)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"Doe^Jane^^^", b"Doe^Jane"),
        (b"Doe^Jane==", b"Doe^Jane"),
        (b"Doe^Jane", b"DOE^JANE"),
        (b"Doe ^ Jane", b"Doe^Jane"),
        (b"van  der Berg^A", b"Van der Berg^A"),
        (b"Doe^Jane\0", b"Doe^Jane"),
        (b"Doe^Jane^^Dr", b"Doe^Jane"),
        (b"Doe", b"Doe^Jane"),
        (b"Doe^Jane=X", b"Doe^Jane"),
        (b"=X^Y", b"Doe^Jane"),
        (b"", b"Doe^Jane"),
        (b"^^^^", b"Doe^Jane"),
    ],
)
def test_names_that_agree(first: bytes, second: bytes) -> None:
    assert contradiction(patient(name=first), patient(name=second)) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [(b"Doe^Jane", b"Doe^John"), (b"Doe^Jane=X", b"Doe^Jane=Y"), (b"^Jane", b"^John"), (b"Doe Jane", b"Doe^Jane")],
)
def test_names_that_contradict(first: bytes, second: bytes) -> None:
    assert contradiction(patient(name=first), patient(name=second)) == "Patient's Name"


def test_every_attribute_that_contradicts_is_named() -> None:
    one = Patient("1", "A", "Doe^Jane", "19700101")
    other = Patient("2", "B", "Roe^Jane", "19700102")
    wanted = "Patient ID and Issuer of Patient ID and Patient's Name and Patient's Birth Date"
    assert contradiction(one, other) == wanted


def test_ids_compare_exactly_and_issuers_only_where_both_are() -> None:
    assert contradiction(Patient("ab"), Patient("AB")) == "Patient ID"
    assert contradiction(Patient("01"), Patient("1")) == "Patient ID"
    assert contradiction(Patient("1", "A"), Patient("1")) is None
    assert contradiction(Patient("1", "A"), Patient("1", "B")) == "Issuer of Patient ID"


@pytest.mark.parametrize(
    ("second", "changed"),
    [
        (Patient("1", "", "DOE ^ Jane"), None),
        (Patient("1", "", "Doe^Jane^^Dr"), "Patient's Name"),
        (Patient("1", "X", "Doe^Jane"), "Issuer of Patient ID"),
        (Patient("", "", "Doe^Jane", "19700101"), "Patient ID and Patient's Birth Date"),
    ],
)
def test_what_was_added_or_emptied_has_changed_although_it_contradicts_nothing(
    second: Patient, changed: str | None
) -> None:
    first = Patient("1", "", "Doe^Jane")
    assert contradiction(first, second) is None
    assert (changes(first, second), changes(second, first)) == (changed, changed)


def test_a_long_value_is_told_in_short() -> None:
    assert Patient("9" * 1000).told() == f"ID {'9' * 64}"
    assert Patient().told() == "nobody"


def test_an_empty_one_between_two_hides_nothing() -> None:
    found = first_contradiction([Patient("1"), Patient(), Patient("", "", "Doe"), Patient("2")])
    assert found is not None
    assert (found.first, found.second, found.attributes) == (Patient("1"), Patient("2"), "Patient ID")


def test_patients_that_agree_have_no_contradiction() -> None:
    assert first_contradiction([]) is None
    assert (
        first_contradiction([Patient("1"), Patient(), Patient("1", "", "Doe^Jane"), Patient("1", "X", "Doe")]) is None
    )


texts = st.text(alphabet="ab AB^=é山\\", max_size=6)
patients = st.builds(Patient, texts, texts, texts, texts)


@given(patients, patients)
def test_contradicting_is_symmetric_and_nobody_contradicts_himself(first: Patient, second: Patient) -> None:
    assert contradiction(first, second) == contradiction(second, first)
    assert contradiction(first, first) is None
    assert contradiction(first, Patient()) is None
