"""Names and questions in many scripts, under right, wrong and missing character sets, in every object of a job."""

from __future__ import annotations

import functools
import pickle
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from dicom_node.errors import ResultRefused
from dicom_node.headers.identity import PATIENT_AND_STUDY, SourceIdentity, source_identity
from dicom_node.results import codes
from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.gate import check_report, check_segmentation
from dicom_node.results.identity import ResultIdentity, result_identity
from dicom_node.results.measurement import measure
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.volumes.load import SeriesVolume
from tests.corpus.phantom import ct_header
from tests.unit.dicom_node.headers.encoded import SYNTAXES, Encoding, Item, even, write
from tests.unit.dicom_node.results.checkers import dsrdump, errors_of_dciodvfy
from tests.unit.dicom_node.results.loading import only_part

SCRIPTS = {
    "Korean": ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", "간은 어디에 있습니까?"),
    "Japanese, kanji": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87", "肝臓はどこですか"),
    "Japanese, katakana": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13", "ｶﾝｿﾞｳ"),
    "Japanese, both": ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ISO 2022 IR 13\\ISO 2022 IR 87", "肝臓はどこですか"),
    "Chinese, GB18030": ("Wang^XiaoDong=王^小东=", "GB18030", "肝脏在哪里？"),
    "Chinese, GBK": ("Wang^XiaoDong=王^小东=", "GBK", "肝脏在哪里？"),
    "Chinese, GB 2312": ("Zhang^XiaoDong=张^小东=", "\\ISO 2022 IR 58", "肝脏在哪里？"),
    "Cyrillic": ("Люксембург^Роза", "ISO_IR 144", "Где печень?"),
    "Greek": ("Διονυσιος^Νικος", "ISO_IR 126", "Πού είναι το ήπαρ;"),
    "Arabic": ("قباني^لنزار", "ISO_IR 127", "أين الكبد؟"),
    "Hebrew": ("שרון^דבורה", "ISO_IR 138", "איפה הכבד"),
    "Thai": ("นามสกุล^ชื่อ", "ISO_IR 166", "ตับอยู่ที่ไหน"),
    "Latin-1": ("Müster^Jörg", "ISO_IR 100", "Où est la lésion?"),
    "Latin-2": ("Dvořák^Zdeněk", "ISO_IR 101", "Kde jsou játra, řekněte?"),
    "Turkish": ("Çağlar^Işık", "ISO_IR 148", "Karaciğer nerede, şimdi?"),
    "UTF-8": ("Müster^Jörg=王^小東=홍^길동", "ISO_IR 192", "Où est la lésion “x”? 간 😀"),
}
"""Name, the character set that is right for it, and a question in the script."""

QUESTIONS = [SCRIPTS[script][2] for script in ("Korean", "Cyrillic", "Latin-1", "UTF-8")]

DECLARED = {
    "Latin-1": b"ISO_IR 100",
    "UTF-8": b"ISO_IR 192",
    "Japanese": b"ISO 2022 IR 13\\ISO 2022 IR 87 ",
    "unknown": b"ISO_IR 999",
    "Python's": b"utf8",
    "malformed": b"ISO_IR 192\\GB18030",
    "empty": b"",
    "missing": None,
}


def encoded(name: str, character_set: str) -> bytes:
    return even(PersonName(name).encode(convert_encodings(character_set.split("\\"))))


def source(name: bytes, declared: bytes | None) -> Item:
    """Elements about a patient; `name` in texts of several kinds, one of them inside a sequence."""
    item: Item = {
        "PatientName": name, "PatientID": even(name[:20]), "PatientBirthDate": b"19700101", "PatientSex": b"O ",
        "StudyInstanceUID": b"1.2.1\0", "StudyDate": b"20260101", "StudyTime": b"120000", "StudyDescription": name,
        "OtherPatientIDsSequence": [{"PatientID": even(name[:20]), "TypeOfPatientID": b"TEXT"}],
    }  # fmt: skip
    return item if declared is None else {**item, "SpecificCharacterSet": even(declared)}


def identity_in(folder: Path, item: Item) -> SourceIdentity:
    syntax = SYNTAXES[len(item["PatientName"]) % len(SYNTAXES)]
    return source_identity(pydicom.dcmread(write(folder / "source.dcm", item, syntax)))


@dataclass(frozen=True)
class Objects:
    """A part that was asked in every script; `made`: for each profile, the SEG and the SR, pickled."""

    part: ReadPart
    made: dict[Profile, bytes]

    def saved(self, identity: ResultIdentity, folder: Path) -> list[Path]:
        """SEG and SR of both profiles as files, each past the gate."""
        paths = []
        for profile, results in self.made.items():
            segmentation, report = pickle.loads(results)  # what is saved is fitted in place, and to copy it is slow
            seg, sr = folder / f"{profile.value}-seg.dcm", folder / f"{profile.value}-sr.dcm"
            save(segmentation, seg, identity)
            check_segmentation(seg, self.part, identity)
            save(report, sr, identity)
            check_report(sr, [self.part], identity)
            paths += [seg, sr]
        return paths


def asked(volume: SeriesVolume, *questions: str) -> ReadPart:
    """Something is marked for the first question."""
    mask = np.zeros(volume.values.shape[:3], dtype=bool)
    mask[0, 3:6, 4:9] = True
    finding = Finding("liver", LABELS["liver"], 0.9, mask, "liver 1.1", "1.2.9", measure(volume, mask))
    answers = [
        ReadAnswer(question, "Here.", () if place else (finding,), ()) for place, question in enumerate(questions)
    ]
    return ReadPart(0, volume, tuple(answers))


def made(part: ReadPart) -> Objects:
    results = {}
    for profile in Profile:
        context = ResultContext(
            "job", datetime(2026, 1, 2, 3, 4, 5), "model", "1", "ab" * 32, None, "abdomen 1", "MEDSEG", profile
        )
        segmentation = build_segmentation(part, context)
        assert segmentation is not None
        results[profile] = pickle.dumps((segmentation, build_report([part], [segmentation], context)))
    return Objects(part, results)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> SeriesVolume:
    folder = tmp_path_factory.mktemp("series")
    for index in range(2):
        header = ct_header(index, (0, 0, 3.0 * index), (1, 0, 0, 0, 1, 0))
        header.PixelData = bytes(2 * header.Rows * header.Columns)
        header["PixelData"].VR = "OW"
        header.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return only_part(sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def objects(volume: SeriesVolume) -> Objects:
    return made(asked(volume, *QUESTIONS))


def values(path: Path) -> dict[str, bytes]:
    """What a file has of patient and study, as bytes; by pydicom alone."""
    dataset = pydicom.dcmread(path)
    return {keyword: dataset.get_item(keyword).value or b"" for keyword in PATIENT_AND_STUDY if keyword in dataset}


def questions(path: Path) -> list[str]:
    items = pydicom.dcmread(path).ContentSequence
    return [item.TextValue for item in items if item.ConceptNameCodeSequence[0].CodeValue == codes.QUESTION.value]


def combinations() -> list[Any]:
    """Every name under every set; one of them in each run, the right set in a test of its own."""
    declarations = [(name, name == "missing") for name in ("right", *DECLARED)]
    return [
        pytest.param(script, declared, id=f"{script} as {declared}", marks=() if often else pytest.mark.slow)
        for script in SCRIPTS
        for declared, often in declarations
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "declared"), combinations())
def test_every_object_has_the_sources_bytes_and_nothing_is_refused(objects, tmp_path, script, declared) -> None:
    name, right, _ = SCRIPTS[script]
    item = source(encoded(name, right), right.encode() if declared == "right" else DECLARED[declared])
    identity = result_identity(identity_in(tmp_path, item), QUESTIONS)
    results = objects.saved(identity, tmp_path)
    wanted = values(write(tmp_path / "source.dcm", item))
    for path in results:
        stored = values(path)
        assert {keyword: stored.get(keyword) for keyword in wanted} == wanted
        # What the source lacks is absent or, where the standard wants the attribute, empty.
        assert {value for keyword, value in stored.items() if keyword not in wanted} == {b""}
    assert len({str(pydicom.dcmread(path).get("SpecificCharacterSet")) for path in results}) == 1
    if identity.character_set != b"ISO_IR 192":
        assert identity.character_set == identity.source.character_set
    assert questions(results[1]) == questions(results[3])


# pydicom writes GB 2312 without its escape sequence: such a question is transliterated.
@pytest.mark.slow
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != "Chinese, GB 2312"])
def test_a_question_stays_as_it_is_where_the_sources_set_is_right_for_it(volume, tmp_path, script) -> None:
    name, right, question = SCRIPTS[script]
    objects = made(asked(volume, question))
    identity = result_identity(identity_in(tmp_path, source(encoded(name, right), right.encode())), [question])
    assert identity.character_set == identity.source.character_set
    assert all(questions(path) == [question] for path in objects.saved(identity, tmp_path)[1::2])


def test_a_name_in_ascii_lets_any_question_be_written(objects, tmp_path) -> None:
    identity = result_identity(identity_in(tmp_path, source(b"Box^Test", b"ISO_IR 100")), QUESTIONS)
    assert identity.character_set == b"ISO_IR 192"
    assert questions(objects.saved(identity, tmp_path)[1]) == QUESTIONS


@pytest.mark.parametrize(
    ("name", "declared", "question", "written", "character_set"),
    [
        (b"Box", None, "Where?", "Where?", None),
        (b"Box", b"", "Where?", "Where?", b""),
        (b"Box", b"ISO_IR 100", "Où?", "Où?", b"ISO_IR 100"),
        (b"Box", b"ISO_IR 6", "Où?", "Où?", b"ISO_IR 192"),
        (b"Box", b"ISO_IR 13", "Où?", "Ou?", b"ISO_IR 13 "),
        (b"Box", b"\\ISO 2022 IR 13", "Où?", "Ou?", b"\\ISO 2022 IR 13 "),
        (b"Box", b"utf8", "Où?", "Ou?", b"utf8"),
        (b"Box\x1b$B;3", None, "Où?", "Ou?", None),
        (b"M\xc3\xbcller", None, "Où est “x”?", 'Ou est "x"?', None),
        (b"M\xfcller", b"ISO_IR 100", "Où est “x”?", 'Où est "x"?', b"ISO_IR 100"),
        (b"M\xfcller", b"ISO_IR 192", "Où est “x”?", "Où est “x”?", b"ISO_IR 192"),
        (b"M\xfcller", b"ISO_IR 100", "肝脏?", "GanZang?", b"ISO_IR 100"),
        (b"M\xfcller", b"ISO_IR 100", "u\u0308ber", "\xfcber", b"ISO_IR 100"),
        (b"\xbb\xee", b"\\ISO 2022 IR 100", "Où?", "Ou?", b"\\ISO 2022 IR 100"),
        (b"Box", None, "an \x1b$B escape \ud800", "an  $B escape ?", None),
    ],
)
def test_how_a_text_is_written(name, declared, question, written, character_set) -> None:
    dataset = Dataset()
    dataset["PatientName"] = raw("PatientName", "PN", name)
    if declared is not None:
        dataset["SpecificCharacterSet"] = raw("SpecificCharacterSet", "CS", even(declared))
    identity = result_identity(source_identity(dataset), [question])
    assert (identity.character_set, identity.fitted(question, "UT")) == (character_set, written)


def raw(keyword: str, vr: str, value: bytes) -> RawDataElement:
    return RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)


@given(text=st.text(max_size=80), declared=st.sampled_from([right for _, right, _ in SCRIPTS.values()] + ["", "utf8"]))
@pytest.mark.parametrize("vr", ["SH", "LO", "UT"])
def test_what_is_fitted_comes_back_from_a_file(text: str, declared: str, vr: str) -> None:
    keyword = {"SH": "SegmentDescription", "LO": "SegmentLabel", "UT": "TextValue"}[vr]
    identity = ResultIdentity(SourceIdentity(even(declared.encode()), ()), even(declared.encode()))
    fitted = identity.fitted(text, vr)
    assert identity.fitted(fitted, vr) == fitted
    assert text == "" or fitted != ""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    buffer.write(Encoding(implicit=False).elements({"SpecificCharacterSet": even(declared.encode())}))
    assume("\\" not in fitted or vr == "UT")  # several values: each is fitted on its own
    write_data_element(buffer, DataElement(Tag(keyword), vr, fitted), identity.encodings)
    stored = pydicom.dcmread(BytesIO(buffer.getvalue()), force=True)
    assert str(stored[keyword].value).rstrip("\0 ") == fitted.rstrip("\0 ")


@pytest.mark.parametrize("vr, most", [("SH", 16), ("LO", 64)])
def test_a_transliteration_is_cut_to_what_an_attribute_may_hold(vr: str, most: int) -> None:
    identity = ResultIdentity(SourceIdentity(None, ()), None)
    fitted = identity.fitted("肝" * most, vr)
    assert len(fitted) == most and fitted.startswith("GanGan")
    assert identity.fitted("＼＾＝", "LO").strip() == "" and identity.fitted("＼", "UT") == "\\"


def test_every_text_of_ours_is_fitted_at_any_depth(objects, tmp_path) -> None:
    report = pickle.loads(objects.made[Profile.AIR])[1]
    report.SeriesDescription = "Mäßig"
    report.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning = "Größe"
    identity = ResultIdentity(objects.part.volume.identity, None)
    save(report, tmp_path / "sr.dcm", identity)
    assert (tmp_path / "sr.dcm").read_bytes().isascii() is False  # lengths
    stored = pydicom.dcmread(tmp_path / "sr.dcm")
    assert stored.SeriesDescription == "Massig"
    assert stored.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Grosse"
    assert all(str(element.value).isascii() for element in stored.iterall() if element.VR in ("UT", "LO", "SH", "PN"))


# --- The gate ---------------------------------------------------------------------------------------------------------


def other_bytes(stored: Dataset) -> None:
    stored["PatientID"] = raw("PatientID", "LO", b"PH\xc3\x9c1 ")


def other_character_set(stored: Dataset) -> None:
    stored["SpecificCharacterSet"] = raw("SpecificCharacterSet", "CS", b"ISO_IR 101")


def one_attribute_more(stored: Dataset) -> None:
    stored["PatientComments"] = raw("PatientComments", "LT", b"more")


def one_attribute_less(stored: Dataset) -> None:
    del stored["OtherPatientIDsSequence"]


def another_inside(stored: Dataset) -> None:
    stored.OtherPatientIDsSequence[0]["PatientID"] = raw("PatientID", "LO", b"x ")


@pytest.mark.parametrize(
    ("spoil", "keyword"),
    [(other_bytes, "PatientID"), (other_character_set, "SpecificCharacterSet"),
     (one_attribute_more, "PatientComments"), (one_attribute_less, "OtherPatientIDsSequence"),
     (another_inside, "OtherPatientIDsSequence")],
)  # fmt: skip
def test_the_gate_names_the_attribute_and_never_its_value(objects, tmp_path, spoil, keyword) -> None:
    name = encoded("Müster^Jörg", "ISO_IR 100")
    identity = result_identity(identity_in(tmp_path, source(name, b"ISO_IR 100")), [])
    seg, sr, *_ = objects.saved(identity, tmp_path)
    for path, check in ((seg, functools.partial(check_segmentation, part=objects.part)),
                        (sr, functools.partial(check_report, parts=[objects.part]))):  # fmt: skip
        stored = pydicom.dcmread(path)
        spoil(stored)
        stored.save_as(path)
        with pytest.raises(ResultRefused, match=keyword) as refused:
            check(path, identity=identity)
        assert "ster" not in str(refused.value)


def test_the_gate_refuses_a_report_about_other_images_or_with_other_questions(objects, tmp_path) -> None:
    identity = result_identity(objects.part.volume.identity, [])
    sr = objects.saved(identity, tmp_path)[1]
    stored = pydicom.dcmread(sr)
    stored.CurrentRequestedProcedureEvidenceSequence = []
    stored.save_as(tmp_path / "no-evidence.dcm")
    with pytest.raises(ResultRefused, match="evidence"):
        check_report(tmp_path / "no-evidence.dcm", [objects.part], identity)
    others = asked(objects.part.volume, "Where is the spleen?")
    with pytest.raises(ResultRefused, match="questions"):
        check_report(sr, [others], identity)


# --- Others' programs, and real files ---------------------------------------------------------------------------------


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("script", SCRIPTS)
def test_others_checkers_find_no_error_under_the_right_set(volume, tmp_path, script) -> None:
    name, right, question = SCRIPTS[script]
    identity = result_identity(identity_in(tmp_path, source(encoded(name, right), right.encode())), [question])
    for path in made(asked(volume, question)).saved(identity, tmp_path):
        if script not in ("Chinese, GBK", "Japanese, katakana"):  # dciodvfy takes their letters for faults
            assert errors_of_dciodvfy(path) == []
        if path.stem.endswith("sr"):
            dsrdump(path)


FILES = ["chrArab", "chrFren", "chrFrenMulti", "chrGerm", "chrGreek", "chrH31", "chrH32", "chrHbrw", "chrI2",
         "chrJapMulti", "chrJapMultiExplicitIR6", "chrKoreanMulti", "chrRuss", "chrX1", "chrX2"]  # fmt: skip
WITHOUT_PIXELS = ["chrJapMulti", "chrJapMultiExplicitIR6", "chrKoreanMulti"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("question", ["Die Größe der Leber", "肝臓", "plain"])
def test_real_names_and_any_question(shared_data, volume, tmp_path, file, question) -> None:
    path = shared_data / "dicom/pydicom/src/pydicom/data/charset_files" / f"{file}.dcm"
    identity = result_identity(source_identity(pydicom.dcmread(path)), [question])
    if file not in WITHOUT_PIXELS:
        volume = only_part([path])
        assert volume.identity == identity.source
    objects = made(asked(volume, question))
    wanted = values(path)
    for result in objects.saved(identity, tmp_path):
        assert {keyword: values(result)[keyword] for keyword in wanted} == wanted
        assert pydicom.dcmread(result).PatientName == pydicom.dcmread(path).PatientName
