"""A series description says first what the object is, and never half of the terms."""

from __future__ import annotations

import dataclasses

import pytest

from dicom_node.results.codes import LABELS
from dicom_node.results.finding import ReadPart
from dicom_node.results.making import series_description
from tests.unit.dicom_node.results.loading import only_part

MANY = tuple(LABELS)[:12]


@pytest.fixture
def part(box_series, read) -> ReadPart:
    volume = only_part(box_series().files)
    return read(volume, *[volume.values > 3000] * len(MANY), labels=MANY)


def of_first(part: ReadPart, count: int) -> list[ReadPart]:
    (answer,) = part.answers
    return [dataclasses.replace(part, answers=(dataclasses.replace(answer, findings=answer.findings[:count]),))]


@pytest.mark.parametrize(
    ("protocol", "count", "terms", "description"),
    [
        ("abdominal-ct 1", 2, "research use only", "AI abdominal-ct: liver, spleen; research use only; SEG"),
        ("abdominal-ct 1", 2, None, "AI abdominal-ct: liver, spleen; SEG"),
        ("abdominal-ct 1", 3, "research use only", "AI abdominal-ct: liver, spleen, gallbladder; research use only"),
        ("abdominal-ct 1", 12, "research use only", "AI abdominal-ct: liver, spleen +10; research use only"),
        ("a protocol with a long name 1", 12, "research use only",
         "AI a protocol with a long name: liver +11; research use only"),
        ("a protocol whose name is longer still 1", 12, "research use only",
         "AI a protocol whose name is longer still; research use only; SEG"),
        ("abdominal-ct", 0, "research use only", "AI abdominal-ct: nothing marked; research use only; SEG"),
        ("CT\\abdomen 1", 1, None, "AI CT/abdomen: liver; SEG"),
        ("ask 0.2.1", 1, "research use only", "AI ask: liver; research use only; SEG"),
        ("x" * 80, 2, "research use only", "AI " + "x" * 42 + "; research use only"),
        ("x 1", 2, "not for use in patients, of anybody, anywhere, at any time", "AI x"
         "; not for use in patients, of anybody, anywhere, at any time"),
    ],
)  # fmt: skip
def test_what_it_is_then_the_terms(context, part, protocol, count, terms, description) -> None:
    made = context(protocol=protocol, terms=terms)
    assert series_description("SEG", made, of_first(part, count)) == description
    assert len(description) <= 64


def test_letters_that_have_to_be_transliterated_do_not_push_the_terms_out(context, part) -> None:
    """A character set may hold none of them, and one letter may become several."""
    description = series_description("SR", context(protocol="腹部のコンピュータ断層撮影の読影プロトコル 1"), [part])
    assert len(description) < 64 and "; research use only" in description


def test_the_side_stands_before_the_name_and_low_confidence_beside_it(box_series, context, read) -> None:
    volume = only_part(box_series().files)
    part = read(volume, volume.values > 3000, labels=("kidney left",))
    low = dataclasses.replace(part.findings[0], measurements=(), low_confidence=True)
    part = dataclasses.replace(part, answers=(dataclasses.replace(part.answers[0], findings=(low,)),))
    assert series_description("SR", context(terms=None), [part]) == "AI abdomen: left kidney (low confidence); SR"
