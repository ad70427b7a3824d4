"""What was found now beside an earlier result: parts, questions, sides, sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import pytest

from dicom_node.results.codes import LABELS, UNSIDED
from dicom_node.results.comparing import AskedQuestion, ReadNow, compared_parts
from dicom_node.results.comparison import Change
from dicom_node.results.earlier import (
    EarlierAnswer,
    EarlierFinding,
    EarlierMeasurement,
    EarlierPart,
    EarlierResult,
    NamedConcept,
)
from dicom_node.results.finding import NotAssessed
from tests.unit.dicom_node.results.loading import only_part

THEN, NOW = date(2026, 1, 2), ReadNow(date(2026, 5, 6), "slices of 3 mm", "model 2")
TEXT = "Where is the liver?"


def earlier(*findings: EarlierFinding, asked: tuple[str, ...] = ("liver",), text: str = TEXT) -> EarlierPart:
    concepts = tuple(NamedConcept.of(LABELS.get(label) or UNSIDED[label]) for label in asked)
    return EarlierPart((EarlierAnswer(text, concepts, findings, "organs"),))


def found(label: str, *sizes: tuple[str, float, str]) -> EarlierFinding:
    return EarlierFinding(NamedConcept.of(LABELS[label]), tuple(EarlierMeasurement(*size) for size in sizes))


def asking(*labels: str, id_: str = "organs", text: str = TEXT) -> list[AskedQuestion]:
    return [AskedQuestion(id_, text, tuple(LABELS.get(label) or UNSIDED[label] for label in labels))]


@pytest.fixture
def part(box_series, read):  # type: ignore[no-untyped-def]
    volume = only_part(box_series().files)
    return read(volume, volume.values > 3000)


def test_parts_of_one_name_are_compared_and_others_are_not(part) -> None:
    def named(name: str, ordinal: int):  # type: ignore[no-untyped-def]
        return replace(part, ordinal=ordinal, volume=replace(part.volume, name=name))

    then = earlier(found("liver", ("volume", 0.54, "ml")))
    result = EarlierResult(THEN, (replace(then, name="echo time 30"), replace(then, name="echo time 90")))
    first, second = compared_parts([named("echo time 90", 0), named("echo time 60", 1)], asking("liver"), result, NOW)
    (change,) = first.findings[0].changes
    assert (change.before, change.after, change.per_cent) == (0.54, 0.27, -50)
    assert second.findings[0].changes == ()
    assert second.answers[0].compared == (
        "not compared with 2026-01-02: which of the parts that were read then this one is, is not clear",
    )
    unnamed = [replace(part, ordinal=number) for number in range(2)]
    for one in compared_parts(unnamed, asking("liver"), replace(result, parts=(then, then)), NOW):
        assert "is not clear" in one.answers[0].compared[0]


@pytest.mark.parametrize(("id_", "text", "same"), [
    ("other", " where is  THE liver?", True), ("organs", "Which organs are there?", True), ("other", "Where?", False),
])  # fmt: skip
def test_a_question_is_known_by_its_text_or_its_id(part, id_: str, text: str, same: bool) -> None:
    result = EarlierResult(THEN, (earlier(found("liver", ("volume", 0.54, "ml"))),))
    (compared,) = compared_parts([part], asking("liver", id_=id_, text=text), result, NOW)
    assert bool(compared.findings[0].changes) == same
    assert ("this question was not asked on 2026-01-02" in compared.answers[0].compared) == (not same)


def test_what_was_not_assessed_is_neither_seen_nor_not_seen(part) -> None:
    liver = NamedConcept.of(LABELS["liver"])
    (then,) = earlier(asked=("liver",)).answers
    then = replace(then, not_assessed=(liver,))
    (compared,) = compared_parts([part], asking("liver"), EarlierResult(THEN, (EarlierPart((then,)),)), NOW)
    assert compared.answers[0].compared == ("liver: was not assessed on 2026-01-02",)
    missing = NotAssessed("liver", LABELS["liver"], "label-not-learned", "not learned")
    now = replace(part, answers=(replace(part.answers[0], findings=(), not_assessed=(missing,)),))
    result = EarlierResult(THEN, (earlier(found("liver", ("volume", 0.54, "ml"))),))
    (compared,) = compared_parts([now], asking("liver"), result, NOW)
    assert compared.answers[0].compared == ("liver: seen on 2026-01-02 (0.54 ml), not assessed now",)


def test_who_read_it_and_on_which_grid_is_said_where_a_change_is(part) -> None:
    result = EarlierResult(THEN, (earlier(found("liver", ("volume", 0.54, "ml"))),), "slices of 5 mm", "model 1")
    (compared,) = compared_parts([part], asking("liver"), result, NOW)
    assert compared.answers[0].compared == (
        "another grid: slices of 5 mm on 2026-01-02, slices of 3 mm now; sizes may differ by that alone",
        "another model: model 1 on 2026-01-02, model 2 now; sizes may differ by that alone",
    )
    (unmeasured,) = compared_parts([part], asking("liver"), replace(result, parts=(earlier(found("liver")),)), NOW)
    assert unmeasured.answers[0].compared == ("liver: seen on 2026-01-02, no size that both have",)


def test_another_unit_is_not_compared(part) -> None:
    result = EarlierResult(THEN, (earlier(found("liver", ("volume", 540.0, "mm3"), ("long-axis", 8.0, "mm"))),))
    (compared,) = compared_parts([part], asking("liver"), result, NOW)
    assert [change.name for change in compared.findings[0].changes] == ["long axis"]
    assert "liver: volume not comparable, in another unit on 2026-01-02" in compared.answers[0].compared


def test_a_side_matters_and_one_that_nobody_says_is_not_guessed(box_series, read) -> None:
    volume = only_part(box_series().files)
    right = read(volume, volume.values > 3000, labels=("kidney right",))
    then = EarlierResult(THEN, (earlier(found("kidney left"), asked=("kidney",)),))
    (compared,) = compared_parts([right], asking("kidney"), then, NOW)
    assert compared.answers[0].compared == (
        "kidney right: not seen on 2026-01-02", "kidney left: seen on 2026-01-02, not seen now",
    )  # fmt: skip
    then = EarlierResult(THEN, (earlier(found("kidney left"), asked=("kidney left",)),))
    (compared,) = compared_parts([right], asking("kidney right"), then, NOW)
    assert compared.answers[0].compared == (
        "kidney right: was not asked on 2026-01-02", "kidney left: seen on 2026-01-02, not asked now",
    )  # fmt: skip
    unsided = EarlierFinding(NamedConcept.of(UNSIDED["kidney"]))
    (compared,) = compared_parts([right], asking("kidney"), EarlierResult(THEN, (earlier(unsided),)), NOW)
    assert compared.answers[0].compared == ("kidney right: seen on 2026-01-02 as kidney, so not compared",)


@pytest.mark.parametrize(("before", "after", "text"), [
    (1480.1, 1520.3, "volume +40.2 ml (+2.7 %): 1480.1 ml on 2026-01-02, 1520.3 ml on 2026-05-06"),
    (0.0012, 0.0024, "volume +0.0012 ml (+100.0 %): 0.0012 ml on 2026-01-02, 0.0024 ml on 2026-05-06"),
    (5e-324, 1.0, "volume +1.0000000000 ml: 0.0000000000 ml on 2026-01-02, 1.0000000000 ml on 2026-05-06"),
    (0.0, 12.0, "volume +12.0 ml: 0.0 ml on 2026-01-02, 12.0 ml on 2026-05-06"),
])  # fmt: skip
def test_a_change_in_a_line_even_of_one_voxel(before: float, after: float, text: str) -> None:
    change = Change("volume", "ml", before, after, THEN, NOW.date)
    assert change.text == text
    assert change.per_cent is None or math.isfinite(change.per_cent)


@pytest.mark.parametrize("value", [5e-324, 1e300, -3.0, 0.0, math.inf, math.nan, 10_000_001.0])
def test_what_can_be_no_size_is_not_compared(part, value: float) -> None:
    then = earlier(found("liver", ("volume", value, "ml")))
    (compared,) = compared_parts([part], asking("liver"), EarlierResult(THEN, (then,)), NOW)
    assert compared.findings[0].changes == ()
    assert compared.answers[0].compared == ("liver: seen on 2026-01-02, no size that both have",)


@pytest.mark.parametrize(("bounds", "told"), [
    ((True, False), "at least 705.9 ml on 2026-01-02, 608.8 ml on 2026-05-06"),
    ((False, True), "705.9 ml on 2026-01-02, at least 608.8 ml on 2026-05-06"),
    ((True, True), "at least 705.9 ml on 2026-01-02, at least 608.8 ml on 2026-05-06"),
])  # fmt: skip
def test_of_a_lower_bound_no_change_is_told(bounds: tuple[bool, bool], told: str) -> None:
    change = Change("volume", "ml", 705.9, 608.8, THEN, NOW.date, *bounds)
    assert change.text == f"volume: {told}; cut off by the edge of the images, so the change is not known"
    assert change.difference is None and change.per_cent is None
