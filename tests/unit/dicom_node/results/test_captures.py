"""Captures show who, what was asked and answered, and each finding where it is largest; nothing breaks the page."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.captures import build_captures, content_pages
from dicom_node.results.codes import LABELS
from dicom_node.results.colours import colour_of
from dicom_node.results.comparison import Change
from dicom_node.results.finding import NotAssessed
from dicom_node.results.gate import check_companion
from dicom_node.results.lettering import width_of
from dicom_node.results.page import CAPTURE, PAPER, PictureMark, TextMark, lay_out
from dicom_node.results.profiles import ResultKind
from dicom_node.results.saving import save
from dicom_node.results.summary import FindingRow, Findings, Paragraph
from dicom_node.volumes.load import load_series
from tests.corpus.kinds import KINDS
from tests.unit.dicom_node.results.checkers import errors_of_dciodvfy, identity_of
from tests.unit.dicom_node.results.companions import COMPANION_KINDS, marked, phantom
from tests.unit.dicom_node.results.loading import only_part

KIND_OF_CR = next(one for one in KINDS if one.name == "CR")
NOTES = ["Not read: instance 4 (no pixels)."]


def texts(part, context, page_format=CAPTURE, notes=NOTES) -> list[list[TextMark]]:
    pages = content_pages([part], context, identity_of([part]), notes, page_format)
    return [[mark for mark in page if isinstance(mark, TextMark)] for page in pages]


def said(pages: list[list[TextMark]]) -> str:
    return " ".join(mark.text for page in pages for mark in page)


def saved(part, context, folder: Path, *, single_images: bool = False) -> list[Path]:
    paths = []
    made = build_captures([part], context, identity_of([part]), NOTES, single_images=single_images)
    kind = ResultKind.CAPTURE_IMAGES if single_images else ResultKind.CAPTURE
    for number, capture in enumerate(made):
        paths.append(folder / f"capture-{number}.dcm")
        save(capture, paths[-1], identity_of([part]))
        check_companion(paths[-1], kind, [part], identity_of([part]))
    return paths


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("single_images", [False, True])
@pytest.mark.parametrize("name", COMPANION_KINDS)
def test_every_kind_of_image_has_captures(name, single_images, context, read, tmp_path) -> None:
    part = marked(phantom(name, tmp_path), read)
    paths = saved(part, context(), tmp_path, single_images=single_images)
    for path in paths:
        assert errors_of_dciodvfy(path) == []
    captures = [pydicom.dcmread(path) for path in paths]
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    assert [capture.InstanceNumber for capture in captures] == list(range(1, len(paths) + 1))
    frames = np.concatenate([capture.pixel_array.reshape(-1, 1280, 1024, 3) for capture in captures])
    assert len(frames) >= 3  # the summary, then a page for each finding
    for frame, finding in zip(frames[-2:], part.findings, strict=True):
        assert (np.abs(frame.astype(int) - colour_of(finding.concept.label)).sum(axis=2) < 12).sum() > 300
    assert "FrameOfReferenceUID" not in captures[0]


def test_header_of_a_capture(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    (path,) = saved(part, context(), tmp_path)
    capture = pydicom.dcmread(path)
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7.4"
    assert (capture.Modality, capture.ConversionType, capture.BurnedInAnnotation) == ("OT", "WSD", "YES")
    assert list(capture.ImageType) == ["DERIVED", "SECONDARY"]
    assert (capture.SeriesNumber, capture.PlanarConfiguration, capture.PhotometricInterpretation) == (9303, 0, "RGB")
    assert list(capture.PageNumberVector) == list(range(1, capture.NumberOfFrames + 1))
    shown = {item.ReferencedSOPInstanceUID for item in capture.SourceImageSequence}
    largest = [part.volume.slices[int(one.mask.sum(axis=(1, 2)).argmax())].header for one in part.findings]
    assert shown == {header.SOPInstanceUID for header in largest}
    (purpose,) = capture.SourceImageSequence[0].PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121322", "DCM")
    assert capture.ContributingEquipmentSequence[1].ContributionDescription.startswith("weights sha256 abab")
    assert capture.SeriesDescription == "AI abdomen: liver +1; research use only"


def test_the_same_capture_twice_is_the_same_bytes(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    (tmp_path / "again").mkdir()
    (first,), (second,) = saved(part, context(), tmp_path), saved(part, context(), tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("page_format", [CAPTURE, PAPER], ids=["capture", "paper"])
def test_the_summary_says_all_that_the_answer_says(box_series, context, read, page_format) -> None:
    change = Change("volume", "ml", 1.0, 2.0, date(2025, 1, 2), None)
    aorta = NotAssessed("aorta", LABELS["aorta"], "label-not-learned", "this model has not learned it")
    compared = ("The spleen was not asked for then.",)
    part = marked(only_part(box_series().files), read, compared=compared, not_assessed=(aorta,))
    first, second = part.findings
    first = dataclasses.replace(first, changes=(change,))
    part = dataclasses.replace(part, answers=(dataclasses.replace(part.answers[0], findings=(first, second)),))
    told = said(texts(part, context(), page_format))
    size = next(item.text for item in first.measurements)
    for expected in (
        "RESEARCH USE ONLY - not for clinical use", "AI result, not verified by a person", "Box, Test", "P1",
        "1970-01-01", "2026-01-01", "A1", "Where is the liver?", "Liver", "Kidney left", "Left", size, "0.88", "0.30",
        "low confidence, not measured", "Looked for and not seen: Spleen.", "The spleen was not asked for then.",
        "Not assessed: aorta: this model has not learned it", "it may be there or not",
        "2025-01-02", *NOTES, "MedSeg-R tiny, version 0.1.0", "sha256 abababababab", "abdomen 1",
    ):  # fmt: skip
        assert expected in told, expected


def test_every_page_says_who_and_what_it_is_worth(box_series, context, read) -> None:
    for page in texts(marked(only_part(box_series().files), read), context()):
        told = said([page])
        assert "RESEARCH USE ONLY" in told and "not verified" in told and "Box, Test" in told and "ID P1" in told


def test_without_terms_the_banner_says_that_nobody_verified_it(box_series, context, read) -> None:
    pages = texts(marked(only_part(box_series().files), read), context(terms=None))
    assert pages[0][0].text == "AI result, not verified by a person"
    assert "RESEARCH" not in said(pages)
    assert all(said([page]).count("not verified") == 1 for page in pages)


def test_what_words_mean_is_said_once(box_series, context, read) -> None:
    part = marked(only_part(box_series().files), read)
    edge = dataclasses.replace(part.findings[0].measurements[0], at_least=True)
    finding = dataclasses.replace(part.findings[0], measurements=(edge,))
    answer = dataclasses.replace(part.answers[0], findings=(finding,))
    told = said(texts(dataclasses.replace(part, answers=(answer, answer, answer)), context()))
    assert (
        told.count("Confidence: expected overlap with a reader's outline, 0 to 1; not a probability of disease.") == 1
    )
    assert told.count('"At least":') == told.count('"Not seen" means') == 1


@pytest.mark.parametrize(("spacing", "cell", "beneath"), [
    ("ImagerPixelSpacing", "at the detector", "size at the detector, not corrected for magnification"),
    ("", "no pixel spacing", "size unknown, the image states no pixel spacing"),
])  # fmt: skip
def test_a_radiograph_says_where_its_sizes_hold_or_why_there_are_none(
    spacing, cell, beneath, context, read, tmp_path
) -> None:
    files = KIND_OF_CR.write(tmp_path).files
    for path in files:
        image = pydicom.dcmread(path)
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelSpacingCalibrationType"):
            if keyword in image:
                delattr(image, keyword)
        if spacing:
            setattr(image, spacing, [0.2, 0.2])
        image.save_as(path)
    pages = texts(marked(load_series(files).parts[0], read), context())
    first = [mark.text for mark in pages[0]]
    assert beneath in first and cell in " ".join(first)
    assert beneath.removeprefix("size ") in said(pages[1:])  # beneath the picture too


@pytest.mark.parametrize("page_format", [CAPTURE, PAPER], ids=["capture", "paper"])
def test_what_goes_with_a_finding_stays_with_it(page_format) -> None:
    rows = [_row(f"thing {number}", number % 5) for number in range(30)]
    pages = lay_out([Findings(tuple(rows))], [], page_format, "banner", "", "who")
    found: list[str] = []
    for page in pages:
        lines = [mark.text for mark in page if isinstance(mark, TextMark) and mark.text.startswith(("thing", "line"))]
        assert lines[0].startswith("thing") and "(continued)" not in " ".join(lines)
        assert any(isinstance(mark, TextMark) and mark.text == "Long axis" for mark in page)
        found += lines
    assert len(pages) > 1
    assert found == [text for row in rows for text in (row.name, *row.beneath)]


def test_a_sentence_is_not_broken_over_pages() -> None:
    sentence = "a sentence of two lines " * 5
    blocks = [Paragraph("line"), *[Paragraph(sentence) for _ in range(40)]]
    for page in lay_out(blocks, [], CAPTURE, "banner", "", "who"):
        lines = [mark.text for mark in page if isinstance(mark, TextMark) and "of two" in mark.text]
        assert len(lines) % 2 == 0 and " ".join(lines[:2]) == sentence.strip()


def test_what_is_longer_than_a_page_goes_on_under_its_name() -> None:
    rows = _row("before", 1), _row("long thing", 70), _row("after", 1)
    first, *more = lay_out([Findings(rows)], [], CAPTURE, "banner", "", "who")
    texts_of = [[mark.text for mark in page if isinstance(mark, TextMark)] for page in (first, *more)]
    assert "long thing" in texts_of[0] and len(texts_of) == 3
    for told in texts_of[1:]:
        assert told.index("long thing (continued)") < min(told.index(one) for one in told if one.startswith("line"))
    assert texts_of[2].index("Long axis") < texts_of[2].index("after")  # the next row has heads again
    assert [one for told in texts_of for one in told if one.startswith("line")] == [
        line for row in rows for line in row.beneath
    ]


def _row(name: str, lines: int) -> FindingRow:
    beneath = tuple(f"line {number} of {name}" for number in range(lines))
    return FindingRow((255, 0, 0), name, "-", "1.0 ml", "2.0 mm", 0.5, beneath)


HOSTILE = [
    pytest.param("word " * 13000, "more letters of this text are left out", id="64 kB"),
    pytest.param("x" * 65000, "more letters of this text are left out", id="one word of 64 kB"),
    pytest.param("a\x00\x1b[31m\x07b\r\n\n\n\tc", "a [31m b c", id="controls"),
    pytest.param("\u202eEVIL\u202c \u200b\ufeffgood\ud800", "EVIL good?", id="bidirectional and half a letter"),
    pytest.param("<b>&amp;<script>alert(1)</script> %PDF \\(", "<b>&amp;<script>", id="markup"),
    pytest.param("肝臓 печень 간 \U0001f480 e\u0301", "GanZang pechen", id="other scripts"),
    pytest.param("", "(no text)", id="nothing"),
]


@pytest.mark.parametrize(("text", "expected"), HOSTILE)
@pytest.mark.parametrize("page_format", [CAPTURE, PAPER], ids=["capture", "paper"])
def test_no_text_breaks_a_page(text, expected, page_format, box_series, context, read) -> None:
    part = marked(only_part(box_series().files), read, text=text, question=text)
    pages = texts(part, context(), page_format)
    assert expected in said(pages)
    for mark in (mark for page in pages for mark in page):
        assert mark.text.isprintable()
        assert mark.left + width_of(mark.text, mark.size, bold=mark.bold) <= page_format.width
        assert 0 < mark.baseline < page_format.height
        assert mark.size >= 22
    assert len(pages) <= 12 + len(part.findings)


@pytest.mark.slow
def test_beyond_twelve_pages_it_is_said_how_much_is_left_out(box_series, context, read) -> None:
    part = marked(only_part(box_series().files), read, text="word " * 1100)
    part = dataclasses.replace(part, answers=part.answers * 20)
    pages = texts(part, context())
    assert "more lines are left out" in said(pages[:12])
    assert len(pages) == 12 + 40  # and no more pictures than forty


@pytest.mark.slow
def test_no_more_than_forty_pictures_and_a_line_that_says_so(box_series, context, read) -> None:
    part = marked(only_part(box_series().files), read)
    part = dataclasses.replace(part, answers=part.answers * 21)
    pages = content_pages([part], context(), identity_of([part]), (), CAPTURE)
    assert sum(isinstance(mark, PictureMark) for page in pages for mark in page) == 40
    assert "Pictures of 2 more findings are left out" in said(texts(part, context()))


@pytest.mark.parametrize(
    ("character_set", "name", "expected"),
    [
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("ISO_IR 192", "=山田^太郎", "ShanTian, TaiLang (letters replaced one by one; the name may be read otherwise)"),
        ("ISO_IR 192", "=山田^太郎=やまだ^たろう", "yamada, tarou (in Latin letters)"),
        ("ISO_IR 192", "王^小東", "Wang, XiaoDong (letters replaced one by one; the name may be read otherwise)"),
        ("ISO_IR 144", "Люкceмбypг", "Lyukcembypg (in Latin letters)"),
        ("ISO_IR 100", "Äneas^Rüdiger", "Äneas, Rüdiger"),
        ("ISO_IR 192", "^^", "not stated"),
    ],
)
def test_a_name_is_shown_in_letters_that_the_font_has(character_set, name, expected, box_series, context, read) -> None:
    def named(_: int, header: Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = character_set, name

    part = marked(only_part(box_series(change=named).files), read)
    pages = texts(part, context())
    assert expected in said(pages[:1])
    assert all("ID P1 · born 1970-01-01" in said([page]) for page in pages)  # beside it


def test_nothing_seen_is_one_page_that_says_what_was_looked_for(box_series, context, read, tmp_path) -> None:
    part = read(only_part(box_series().files))
    (path,) = saved(part, context(), tmp_path)
    assert pydicom.dcmread(path).NumberOfFrames == 1
    assert "Looked for and not seen: Spleen." in said(texts(part, context()))


SPOILS = {
    "fewer frames than pages": lambda one: setattr(one, "NumberOfFrames", one.NumberOfFrames - 1),
    "another size": lambda one: setattr(one, "Rows", 1281),
    "no word of the name in the pixels": lambda one: setattr(one, "BurnedInAnnotation", "NO"),
    "another study's image": lambda one: setattr(one.SourceImageSequence[0], "ReferencedSOPInstanceUID", "1.2.9"),
    "no source": lambda one: one.SourceImageSequence.clear(),
    "another patient": lambda one: setattr(one, "PatientID", "P2"),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_the_gate_refuses_a_capture_with(spoil, box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    (path,) = saved(part, context(), tmp_path)
    capture = pydicom.dcmread(path)
    spoil(capture)
    capture.save_as(path)
    with pytest.raises(ResultRefused):
        check_companion(path, ResultKind.CAPTURE, [part], identity_of([part]))
