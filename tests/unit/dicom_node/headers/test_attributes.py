"""Attributes: every header as plain values, whatever is wrong with it, and the same again out of JSON."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.attribute_reading import LONGEST_TEXT
from dicom_node.headers.attributes import Attributes, KeptSeries, KeptStudy, read_attributes
from dicom_node.headers.study import read_study_header, study_header

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about what these headers are here for


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def write(path: Path, data_set: Dataset, *, syntax: UID = ExplicitVRLittleEndian) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    made = FileDataset(str(path), data_set, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.save_as(path, enforce_file_format=True)
    return path


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return (
        head
        + (struct.pack("<HL", 0, len(value)) if vr in (b"SQ", b"UN", b"UT") else struct.pack("<H", len(value)))
        + value
    )


def write_bytes(path: Path, *elements: bytes) -> Path:
    """A file of these elements, behind what says which instance it is."""
    write(path, Dataset())
    path.write_bytes(path.read_bytes() + b"".join(elements))
    return path


# --- As far as it can be read -----------------------------------------------------------------------------------------


def test_values_are_texts_and_sequences_are_attributes_again(tmp_path: Path) -> None:
    made = item(
        Modality="CT",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SliceThickness="0.75",
        Rows=512,
        TableSpeed=46.3,
        PatientSex="",
        RequestAttributesSequence=Sequence([item(ReasonForTheRequestedProcedure="fever")]),
        ProcedureCodeSequence=Sequence([item(CodeValue="P1", CodingSchemeDesignator="99X"), Dataset()]),
    )
    made.add_new(0x00090010, "LO", "PRIVATE")
    made.PixelData = b"\0\0"
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        found = dict(read_attributes(write(tmp_path / "one.dcm", made, syntax=syntax)))
        assert found.pop("SOPClassUID") and found.pop("SOPInstanceUID")
        assert found == {
            "Modality": ("CT",),
            "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
            "SliceThickness": ("0.75",),
            "Rows": ("512",),
            "TableSpeed": ("46.3",),
            "RequestAttributesSequence": ({"ReasonForTheRequestedProcedure": ("fever",)},),
            "ProcedureCodeSequence": ({"CodeValue": ("P1",), "CodingSchemeDesignator": ("99X",)},),
        }


def test_only_the_first_item_of_per_frame_groups_is_kept(tmp_path: Path) -> None:
    frames = Sequence([item(PixelMeasuresSequence=Sequence([item(SliceThickness=str(n))])) for n in (3, 5)])
    found = read_attributes(write(tmp_path / "one.dcm", item(PerFrameFunctionalGroupsSequence=frames)))
    assert found["PerFrameFunctionalGroupsSequence"] == ({"PixelMeasuresSequence": ({"SliceThickness": ("3",)},)},)


def test_who_somebody_is_is_not_kept_and_the_age_is_worked_out_before(tmp_path: Path) -> None:
    secret = "Secret"
    person = item(InstitutionName="Hospital", PersonAddress=secret, PersonName=secret)
    made = item(
        PatientName=secret, PatientID=secret, OtherPatientIDs=secret, PatientBirthDate="19600301",
        PatientAddress=secret, OperatorsName=secret, ReferringPhysicianName=secret, InstitutionAddress=secret,
        AdmissionID=secret,
        PatientComments=secret, StudyDate="20200229", AccessionNumber="A1", PatientSex="F",
        RequestAttributesSequence=Sequence([
            item(RequestedProcedureDescription="CT", ReferencedPatientSequence=Sequence([item(PatientID=secret)]),
                 OrderPlacerIdentifierSequence=Sequence([item(PatientBirthDate="19600301")]))]),
        ReferringPhysicianIdentificationSequence=Sequence([person]),
        OriginalAttributesSequence=Sequence([item(ModifiedAttributesSequence=Sequence([item(PatientID=secret)]))]),
    )  # fmt: skip
    found = read_attributes(write(tmp_path / "one.dcm", made))
    told = json.dumps(KeptStudy((KeptSeries(found, (), 1),)).as_json())
    assert secret not in told and "19600301" not in told and "Hospital" not in told
    assert (found["PatientAge"], found["AccessionNumber"], found["PatientSex"]) == (("059Y",), ("A1",), ("F",))
    assert found["RequestAttributesSequence"] == ({"RequestedProcedureDescription": ("CT",)},)


@pytest.mark.parametrize(
    ("stated", "born", "age"),
    [("", "20200110", "050D"), ("", "20180301", "023M"), ("", "19600229", "060Y"), ("24", "20000509", "019Y"),
     ("012Y", "19600229", "012Y"), ("", "20210101", None), ("", "1960", None)],
)  # fmt: skip
def test_the_age_is_that_of_the_header_or_from_birth_to_study(
    tmp_path: Path, stated: str, born: str, age: str | None
) -> None:
    made = item(PatientAge=stated, PatientBirthDate=born, StudyDate="20200229")
    assert read_attributes(write(tmp_path / "one.dcm", made)).get("PatientAge") == (age and (age,))


# --- Bad input --------------------------------------------------------------------------------------------------------


def test_wrong_vrs_leave_out_themselves_and_nothing_else(tmp_path: Path) -> None:
    found = read_attributes(
        write_bytes(
            tmp_path / "one.dcm",
            element(0x00080060, b"UN", b"CT"),  # Modality, of which nobody said the VR
            element(0x0008103E, b"SQ", b""),  # Series Description
            element(0x00081032, b"LO", b"no items"),  # Procedure Code Sequence
            element(0x00180015, b"ZZ", b"HEAD"),  # no VR of any edition
            element(0x00180050, b"FD", struct.pack("<d", 2.5)),  # Slice Thickness
            element(0x00181030, b"PN", b"Abdomen"),  # Protocol Name
            element(0x00280010, b"US", b"\x07"),  # Rows, half of it
            element(0x00280011, b"US", struct.pack("<H", 9)),
        )
    )
    told = {key: value for key, value in found.items() if not key.startswith("SOP")}
    assert told == {"Modality": ("CT",), "BodyPartExamined": ("HEAD",), "SliceThickness": ("2.5",), "Columns": ("9",)}


def test_empty_sequences_and_items_say_nothing(tmp_path: Path) -> None:
    made = item(ProcedureCodeSequence=Sequence([]), RequestAttributesSequence=Sequence([Dataset()]), Modality="MR")
    path = write(tmp_path / "one.dcm", made)
    assert not {"ProcedureCodeSequence", "RequestAttributesSequence"} & read_attributes(path).keys()
    assert read_study_header({"1": [path]}).procedure_codes == ()


@pytest.mark.parametrize(
    ("declared", "written", "told"),
    [
        (b"", "Schädel".encode(), "Schädel"),  # UTF-8 that nobody declared
        (b"ISO_IR 100", "Schädel".encode(), "Schädel"),
        (b"ISO_IR 192", "Schädel".encode("latin-1"), "Schädel"),
        (b"ISO_IR 100", "Schädel".encode("latin-1"), "Schädel"),
        (b"ISO_IR 999", "Schädel".encode("latin-1"), "Schädel"),
        (b"\xff\xfe\\nonsense", b"Abdomen", "Abdomen"),
        (b"ISO_IR 144", "Живот".encode("iso8859_5"), "Живот"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 87", b"\x1b$B9|HW\x1b(B", "骨盤"),
        (b"GB18030", "腹部".encode("gb18030"), "腹部"),
    ],
)
def test_texts_in_declared_undeclared_and_unknown_character_sets(
    tmp_path: Path, declared: bytes, written: bytes, told: str
) -> None:
    elements = [element(0x00080005, b"CS", declared)] if declared else []
    path = tmp_path / "one.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"".join(elements) + element(0x0008103E, b"LO", written))
    assert read_attributes(path)["SeriesDescription"] == (told,)


def test_long_texts_and_lists_are_cut(tmp_path: Path) -> None:
    long = element(0x0008103E, b"LO", b"abdomen " + b"x" * 65_000)
    longer = element(0x001021B0, b"UT", "ä".encode() * 40_000)
    many = element(0x00180014, b"UN", b"1\\" * 30_000)
    path = tmp_path / "one.dcm"
    head = element(0x00080005, b"CS", b"ISO_IR 192")
    path.write_bytes(b"\0" * 128 + b"DICM" + head + long + longer + many + element(0x00180050, b"DS", b"5\\" * 30_000))
    found = read_attributes(path)
    assert len(str(found["SeriesDescription"][0])) == len(str(found["AdditionalPatientHistory"][0])) == LONGEST_TEXT
    assert len(found["SliceThickness"]) < 100
    header = read_study_header({"1": [path]}).series[0]
    assert header.regions.regions == {"abdomen"} and header.slice_thickness_mm == 5.0


def test_deep_and_wide_sequences_are_kept_as_far_as_they_help(tmp_path: Path) -> None:
    nested = item(CodeValue="deepest")
    for _ in range(40):
        nested = item(ConceptCodeSequence=Sequence([nested]))
    nested.ProcedureCodeSequence = Sequence([item(CodeValue=str(number)) for number in range(5000)])
    references = [item(ReferencedSOPInstanceUID=f"1.{number}") for number in range(50)]
    nested.ReferencedSeriesSequence = Sequence([item(ReferencedSOPSequence=Sequence(references)) for _ in range(50)])
    nested.SeriesNumber = 7
    nested.SharedFunctionalGroupsSequence = Sequence([item(FrameAnatomySequence=Sequence([item(FrameLaterality="L")]))])
    for undefined in (False, True):
        for sequence in (nested["ConceptCodeSequence"], nested["SharedFunctionalGroupsSequence"]):
            sequence.is_undefined_length = undefined
        path = write(tmp_path / "one.dcm", nested)
        found = read_attributes(path)
        assert found["SeriesNumber"] == ("7",) and len(str(found)) < 100_000
        assert "deepest" not in str(found) and 10 < len(found["ProcedureCodeSequence"]) < 100
        assert read_study_header({"1": [path]}).series[0].laterality == "L"


def test_what_is_no_data_set_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "noise.dcm"
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(UnparseableInstance, match=r"noise\.dcm"):
        read_attributes(path)


# --- Kept, and the same again -----------------------------------------------------------------------------------------


def test_headers_of_real_files_are_the_same_again_out_of_json(shared_data: Path) -> None:
    seen = 0
    for root in (shared_data / "dicom", shared_data.parent / "cases"):
        for path in filter(Path.is_file, sorted(root.rglob("*"))):
            try:
                attributes = read_attributes(path)
            except UnparseableInstance:
                continue
            kept = KeptStudy((KeptSeries(attributes, tuple(map(str, attributes.get("SOPClassUID", ()))), 1),))
            again = KeptStudy.from_json(json.loads(json.dumps(kept.as_json())))
            assert again == kept and study_header(again) == study_header(kept), path
            seen += 1
    assert seen > 500


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(str.strip)
LEAVES = st.dictionaries(
    st.sampled_from(["SeriesDescription", "ImageType", "SliceThickness", "PatientAge", "CodeValue", "NumberOfFrames"]),
    st.lists(TEXTS, min_size=1, max_size=3).filter(any).map(tuple),
)
SEQUENCES = ["RequestAttributesSequence", "ProcedureCodeSequence", "PerFrameFunctionalGroupsSequence"]


def with_items(inner: st.SearchStrategy[Attributes]) -> st.SearchStrategy[Attributes]:
    items = st.dictionaries(st.sampled_from(SEQUENCES), st.lists(inner, min_size=1, max_size=2).map(tuple), max_size=2)
    return st.builds(lambda leaves, sequences: {**leaves, **sequences}, LEAVES, items)


ATTRIBUTES: st.SearchStrategy[Attributes] = st.recursive(LEAVES, with_items, max_leaves=4)
UID_TEXTS = st.from_regex(r"1\.2(\.[1-9]){1,3}", fullmatch=True)
SERIES = st.builds(
    KeptSeries, ATTRIBUTES, st.lists(UID_TEXTS, max_size=2).map(tuple), st.integers(min_value=1, max_value=9999)
)
TITLES = st.lists(st.from_regex("[A-Z]{1,16}", fullmatch=True), max_size=2).map(tuple)
STUDIES = st.builds(
    KeptStudy,
    st.lists(SERIES, min_size=1, max_size=3).map(tuple),
    TITLES,
    st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
)


@settings(max_examples=40)
@given(STUDIES)
def test_what_is_kept_comes_back_and_gives_the_same_header(kept: KeptStudy) -> None:
    again = KeptStudy.from_json(json.loads(json.dumps(kept.as_json())))
    assert again == kept
    assert study_header(again) == study_header(kept)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["series", "attributes", "instances", "Modality", "ProcedureCodeSequence", "received", "x"]),
        inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(JSON_LIKE)
def test_whatever_a_person_writes_is_a_study_or_a_mistake(entry: Any) -> None:
    try:
        study_header(KeptStudy.from_json(entry))
    except ValueError as error:
        assert str(error)


def test_an_example_is_written_with_what_matters_alone() -> None:
    kept = KeptStudy.from_json({
        "series": [
            {"attributes": {"Modality": "MR", "SliceThickness": 1.5, "Rows": 512, "BurnedInAnnotation": False,
                            "ImageType": ["ORIGINAL", "PRIMARY", None], "PatientAge": "",
                            "ProcedureCodeSequence": "SCT:818981001", "PatientBirthDate": 19600301,
                            "StudyDate": datetime(2020, 2, 29).date()}, "instances": 30},
            {"attributes": {"Modality": "XY", "PatientAge": 9,
                            "ProcedureCodeSequence": ["99X:K1 CT of the head", {"CodeValue": "1"}]}},
        ],
        "calling_ae": "CT1",
        "received": "2026-11-02T08:00:00+01:00",
    })  # fmt: skip
    study = study_header(kept)
    series, other = study.series
    assert (series.modality, series.slice_thickness_mm, series.rows, series.instances) == ("MR", 1.5, 512, 30)
    assert (series.sop_class_uids, other.sop_class_uids) == (("1.2.840.10008.5.1.4.1.1.4",), ())
    assert (series.series_uid, other.series_uid) == ("1", "2")
    assert series.attributes["BurnedInAnnotation"] == ("NO",) and series.image_type == ("ORIGINAL", "PRIMARY", "")
    assert [code.meaning for code in study.procedure_codes][1:] == ["CT of the head", ""]
    assert study.procedure_codes[0].meaning.startswith("Abdomen")
    assert (study.referring_sources, study.patient_age_years) == (("CT1",), 59.0)
    assert other.attributes["PatientAge"] == ("009Y",)
    assert study.received_at is not None and study.received_at.utcoffset() is not None
    assert series.regions.regions == {"abdomen"}


@pytest.mark.parametrize(
    ("series", "told"),
    [
        (
            {"attributes": {"SliceThicknes": 1}},
            "series 1: 'SliceThicknes' is no DICOM keyword; did you mean SliceThick",
        ),
        ({"attributes": {"series_description": "x"}}, "did you mean SeriesDescription"),
        ({"attributes": {"Modality": {"x": 1}}}, "series 1: Modality: items stand here"),
        ({"attributes": {"ProcedureCodeSequence": "K1"}}, "ProcedureCodeSequence: 'K1' is no code: write SCHEME:VALUE"),
        ({"attributes": {"ProcedureCodeSequence": {"CodeValu": 1}}}, "ProcedureCodeSequence: 'CodeValu'.*CodeValue"),
        ({"attributes": {"Modality": "CT"}, "instances": 0}, "instances: 0 is no number of images"),
        ({"Modality": "CT"}, "'Modality' is no key here; there are attributes, instances, sop_class"),
    ],
)
def test_a_mistake_in_an_example_names_its_key_and_what_was_meant(series: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        KeptStudy.from_json({"series": [series]})
