from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.instance import read_identifiers
from dicom_node.headers.study import read_series_header, read_study_header

CORNERSTONE = "dicom/cornerstone3D/packages/dicomImageLoader/examplesOld/test-images"
TOTALSEG = "dicom/totalseg_ct_dicom"


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(value: str, meaning: str, scheme: str = "SCT", keyword: str = "CodeValue") -> Sequence:
    return Sequence([item(**{keyword: value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})])


def write(path: Path, **attributes: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\x00" * 128)
    defaults = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.2",
    }
    for keyword, value in (defaults | attributes).items():
        setattr(made, keyword, value)
    made.save_as(path, enforce_file_format=True)
    return path


def test_the_headers_of_a_real_abdominal_ct(shared_data: Path) -> None:
    paths = sorted((shared_data / TOTALSEG).rglob("CT.*"))
    series = read_series_header(paths)
    assert series.modality == "CT"
    assert series.body_part_examined == "PARTIALBODY"
    assert series.series_description == "CT Body 3.0"
    assert series.instances == len(paths)
    assert series.sop_class_uids == ("1.2.840.10008.5.1.4.1.1.2",)
    assert series.rows and series.columns and series.slice_thickness_mm == 3.0
    study = read_study_header({series.series_uid: paths}, sources=["PACS", "CT1", "PACS"])
    assert study.study_description == ""
    assert study.referring_sources == ("CT1", "PACS")
    assert study.series == (series,)
    assert read_identifiers(paths[0]).study_uid == study.study_uid


@pytest.mark.parametrize(
    ("path", "thickness_mm", "region"),
    [
        (f"{CORNERSTONE}/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm", 10.0, ("T-A0100", "SNM3")),
        ("dicom/dcm_qa_enh/In/Philips/IM_0027_fMAP.dcm", 4.0, ("T-A0100", "SRT")),
    ],
)
def test_enhanced_multi_frame_is_read_from_its_functional_groups(
    shared_data: Path, path: str, thickness_mm: float, region: tuple[str, str]
) -> None:
    series = read_series_header([shared_data / path])
    assert series.slice_thickness_mm == thickness_mm
    assert [(one.value, one.scheme) for one in series.anatomic_regions] == [region]


def test_codes_come_from_wherever_they_stand(tmp_path: Path) -> None:
    request = item(
        RequestedProcedureDescription="CT of the chest",
        RequestedProcedureCodeSequence=code("P2", "requested"),
        ScheduledProtocolCodeSequence=code("S1", "scheduled"),
    )
    path = write(
        tmp_path / "one.dcm",
        ProcedureCodeSequence=code("P1", "performed"),
        RequestAttributesSequence=Sequence([request]),
        PerformedProtocolCodeSequence=code("L" * 20, "long", keyword="LongCodeValue"),
        AnatomicRegionSequence=code("51185008", "Chest"),
        ContrastBolusAgentSequence=code("C1", "Iodine"),
        ImageType=["DERIVED", "SECONDARY", "MPR"],
        PatientAge="018M",
    )
    study = read_study_header({"1.2.2": [path]})
    assert [one.value for one in study.procedure_codes] == ["P1", "P2"]
    assert study.requested_procedure_description == "CT of the chest"
    assert study.patient_age_years == 1.5
    (series,) = study.series
    assert [one.value for one in series.protocol_codes] == ["L" * 20, "S1"]
    assert series.anatomic_regions == (CodedHeader("51185008", "SCT", "Chest"),)
    assert series.contrast_agent == "Iodine"
    assert series.image_type == ("DERIVED", "SECONDARY", "MPR")


@pytest.mark.parametrize(
    ("age", "born", "years"),
    [
        ("065Y", "", 65.0),
        ("", "19600229", pytest.approx(60.0, abs=0.01)),
        ("x", "", None),
        ("", "20300101", None),
        ("", "17", None),
    ],
)
def test_patient_age(tmp_path: Path, age: str, born: str, years: float | None) -> None:
    path = write(tmp_path / "one.dcm", PatientAge=age, PatientBirthDate=born, StudyDate="20200229")
    assert read_study_header({"1": [path]}).patient_age_years == years


def test_a_study_takes_texts_from_the_first_series_that_has_them(tmp_path: Path) -> None:
    a = write(tmp_path / "a.dcm", SeriesInstanceUID="1.1", ProcedureCodeSequence=code("A", "a"))
    b = write(
        tmp_path / "b.dcm",
        SeriesInstanceUID="1.2",
        StudyDescription="abdomen",
        ProcedureCodeSequence=Sequence([*code("B", "b"), *code("A", "a")]),
    )
    study = read_study_header({"1.2": [b], "1.1": [a]})
    assert study.study_description == "abdomen"
    assert [one.value for one in study.procedure_codes] == ["A", "B"]
    assert [one.series_uid for one in study.series] == ["1.1", "1.2"]


def test_mixed_sop_classes_are_all_named(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{uid}.dcm", SOPClassUID=uid) for uid in ("1.2.840.10008.5.1.4.1.1.7", "1.2.826.0.9")]
    assert read_series_header(paths).sop_class_uids == ("1.2.826.0.9", "1.2.840.10008.5.1.4.1.1.7")
    assert read_series_header(paths) == read_series_header(paths[::-1])


def test_broken_values_and_character_sets_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    path = write(tmp_path / "one.dcm", StudyDescription="Kopf", SeriesDescription="ab", SliceThickness="3", Rows=2)
    content = path.read_bytes()
    content = content.replace(b"DS\x02\x003 ", b"DS\x02\x00\xff?")  # SliceThickness that is no number
    content = content.replace(b"LO\x02\x00ab", b"LO\x02\x00\xff\xfe")  # bytes outside the default repertoire
    path.write_bytes(content)
    series = read_series_header([path])
    assert series.slice_thickness_mm is None
    assert series.rows == 2
    study = read_study_header({"1.2.2": [path]})
    assert study.study_description == "Kopf"


def test_every_shared_file_is_read_or_refused(shared_data: Path) -> None:
    read = 0
    for path in sorted((shared_data / "dicom").rglob("*")):
        if path.is_file():
            try:
                read_study_header({"1": [path]})
                read += 1
            except UnparseableInstance:
                continue
    assert read > 500


def test_every_character_set_file_is_read(shared_data: Path) -> None:
    files = sorted((shared_data / "dicom/pydicom/src/pydicom/data/charset_files").glob("*.dcm"))
    assert files
    for path in files:
        read_series_header([path])
        read_study_header({"1": [path]})


@pytest.mark.parametrize("of_request", [False, True])
def test_the_priority_of_the_request_is_read_where_a_modality_copied_it(tmp_path: Path, of_request: bool) -> None:
    request = Dataset()
    request.RequestedProcedurePriority = "stat"
    given: dict[str, object] = (
        {"RequestAttributesSequence": [request]} if of_request else {"RequestedProcedurePriority": "stat"}
    )
    plain, urgent = write(tmp_path / "a.dcm"), write(tmp_path / "b.dcm", **given)
    assert read_study_header({"1.2.2": [plain]}).requested_priority == ""
    assert read_study_header({"1.2.2": [plain], "1.2.4": [urgent]}).requested_priority == "STAT"
