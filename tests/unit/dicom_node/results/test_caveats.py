"""What is said beside the numbers of a part."""

from __future__ import annotations

import dataclasses

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.results.caveats import number_notes
from dicom_node.results.finding import ReadPart
from dicom_node.results.overlay import write_overlay
from dicom_node.results.stand_ins import stand_ins
from tests.unit.dicom_node.results.loading import only_part

JPEG_BASELINE, JPEG_2000, JPEG_2000_LOSSLESS = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 91, 90))


@pytest.fixture
def part(box_series, read) -> ReadPart:
    volume = only_part(box_series().files)
    return read(volume, volume.values > 3000)


def test_nothing_is_said_of_plain_images(part) -> None:
    assert list(number_notes(part)) == []


@pytest.mark.parametrize(
    ("stated", "ratio", "syntax", "said"),
    [
        ("01", "12", None, "with loss (ratio 12):"),
        ("01", ["12", "5"], None, "with loss (ratio 12, then 5):"),
        ("01", None, None, "with loss:"),
        ("00", None, None, None),
        (None, None, JPEG_BASELINE, "with loss:"),
        (None, None, JPEG_2000, "with loss:"),
        ("00", None, JPEG_2000, None),
        (None, None, JPEG_2000_LOSSLESS, None),
    ],
)
def test_loss_is_told_by_attribute_or_transfer_syntax(part, stated, ratio, syntax, said) -> None:
    source: Dataset = part.volume.source
    if stated is not None:
        source.LossyImageCompression = stated
    if ratio is not None:
        source.LossyImageCompressionRatio = ratio
    if syntax is not None:
        source.file_meta.TransferSyntaxUID = syntax
    notes = list(number_notes(part))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_a_ratio_that_is_no_number_is_not_told_and_stops_no_segmentation(part) -> None:
    source, tag = part.volume.source, Tag("LossyImageCompressionRatio")
    source.LossyImageCompression = "01"
    source[tag] = RawDataElement(tag, "DS", 10, b"about ten ", 0, False, True)
    assert [note for note in number_notes(part) if "with loss:" in note]
    assert all(tag not in image for image in stand_ins(part.volume))


def test_no_numbers_no_notes(part) -> None:
    part.volume.source.LossyImageCompression = "01"
    (answer,) = part.answers
    bare = tuple(dataclasses.replace(finding, measurements=()) for finding in answer.findings)
    assert list(number_notes(dataclasses.replace(part, answers=(dataclasses.replace(answer, findings=bare),)))) == []


def test_a_pet_without_suv_says_what_is_missing(shared_data, read) -> None:
    volume = only_part([shared_data / "dicom/suyash/testdata/1.dcm"])
    part = read(volume, volume.values > volume.values.mean())
    assert [note.partition(":")[0] for note in number_notes(part)] in ([], ["SUV cannot be computed"])
    del volume.source.PatientWeight
    part = read(volume, volume.values > volume.values.mean())
    assert list(number_notes(part)) == ["SUV cannot be computed: Patient's Weight is missing."]


def test_the_picture_says_it_too(part, tmp_path) -> None:
    write_overlay(part, tmp_path / "plain.png")
    part.volume.source.LossyImageCompression = "01"
    write_overlay(part, tmp_path / "lossy.png")
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "lossy.png").read_bytes()
