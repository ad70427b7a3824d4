"""The stack that a model gets: turned with its pixels, with what its headers say; and the conversation it answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.results import codes
from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding, NotAssessed, ReadAnswer
from dicom_node.results.measurement import Measurement, MeasurementKind
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import load_series
from inference.errors import QuestionRefused
from inference.interface import Answer, Exchange, ImageContext, ImageKind, Plane, Question, Region, SliceStack
from workflows.protocols.schema import OnlyIf, ProtocolQuestion, Turn
from workflows.reading import _answered, slice_stack

# What stands in the headers of real series: regions, plane, kind, letters (left, right, top, bottom), age, sex.
GOLDEN = {
    "totalseg_ct_dicom/example_ct_dicom": ("abdomen chest pelvis", "axial", "section", "RLAP", None, ""),
    "dcm_qa_ct/In/GE": ("head", "axial", "section", "RLAP", None, ""),
    "dcm_qa_decubitus/In/HFDR/2_t1_fl2d_sag": ("", "sagittal", "section", "APHF", 51, "M"),
    "dcmqi/data/paramaps/pm-example-dcm_unzipped/701-ADCb500": ("pelvis", "axial", "section", "RLAP", 64, "M"),
    "udacity_hippovol/data/TestVolumes/Study1/13_HCropVolume": ("head", "axial", "section", "RLAP", None, ""),
    "highdicom/data/test_files/dx_image.dcm": ("chest", None, "projection", "RLHF", 5, "F"),
    "dcmjs/test/sample-op.dcm": ("eye", None, "photograph", "RLHF", 10, "M"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_stack_says_what_its_headers_say(name: str, shared_data: Path) -> None:
    where = shared_data / "dicom" / name
    (part, *_) = load_series([where] if where.is_file() else sorted(where.iterdir())).parts
    view = display_view(part)
    stack = slice_stack(part, view)
    said = stack.context
    regions, plane, kind, letters, years, sex = GOLDEN[name]
    assert " ".join(sorted(said.regions)) == regions
    assert not said.contradicted
    assert (said.plane, said.kind) == (None if plane is None else Plane(plane), ImageKind(kind))
    assert "".join(said.letters) == letters
    assert (None if said.age_years is None else int(said.age_years), said.sex) == (years, sex)
    even = part.geometry is not None and name != "dcm_qa_ct/In/GE"  # a tilted gantry with gaps of two widths
    assert (said.calibrated, said.affine is not None) == (even, even)
    if part.geometry is not None and even:
        shape = np.array(part.values.shape[:3])
        voxels = np.stack([np.zeros(3, int), shape - 1, shape // 2])
        marks = np.zeros((3, *shape), bool)
        marks[range(3), *voxels.T] = True
        shown = np.array([np.argwhere(view.apply(mark))[0] for mark in marks])
        places = np.c_[shown, np.ones(3)] @ np.array(said.affine).T
        assert np.allclose(places[:, :3], part.geometry.centres(voxels), atol=0.5)


class Recording:
    """Answers that it has looked for nothing, and keeps what it was asked."""

    description = None

    def __init__(self) -> None:
        self.asked: list[Sequence[Question]] = []

    def answer(self, stack: SliceStack, questions: Sequence[Question], **_: object) -> tuple[Answer, ...]:
        self.asked.append(questions)
        return tuple(Answer(one, f"to {one.text}", (), (), not_seen=one.labels) for one in questions)


def in_words(answer: Answer, _place: int, before: Sequence[ReadAnswer]) -> ReadAnswer:
    return ReadAnswer(answer.question.text, answer.text, (), (), goes_on=bool(before))


def test_what_goes_on_is_asked_with_the_turns_before_it() -> None:
    predictor = Recording()
    liver = ProtocolQuestion("liver", "Where is the liver?", (LABELS["liver"],))
    before = (Turn("Before?", "Yes.", ("a",)),)
    spleen = ProtocolQuestion("spleen", "And the spleen?", (LABELS["spleen"],), earlier=before)
    questions = [liver, *liver.follow_ups(["How big is it?", "Which side?"]), spleen]
    stack = SliceStack(np.zeros((1, 2, 2), np.float32), "CT", None, ImageContext(regions=frozenset({Region.ABDOMEN})))
    answers = _answered(stack, questions, predictor, None, in_words, with_labels=True)  # type: ignore[arg-type]
    assert [answer.question for answer in answers] == [question.text for question in questions]
    first, second, third = predictor.asked
    assert [one.text for one in first] == ["Where is the liver?", "And the spleen?"], "one look at the images for all"
    assert first[1].earlier == (Exchange("Before?", "Yes.", ("a",)),)
    assert (first[0].labels, first[0].earlier) == (("liver",), ())
    asked = Exchange("Where is the liver?", "to Where is the liver?", ("liver",))
    assert second[0].earlier == (asked,)
    assert third[0].earlier == (asked, Exchange("How big is it?", "to How big is it?", ("liver",)))
    _answered(stack, [liver], predictor, None, in_words, with_labels=False)  # type: ignore[arg-type]
    assert predictor.asked[-1][0].labels == ()


class Choosy(Recording):
    """Takes only what names the liver."""

    def answer(self, stack: SliceStack, questions: Sequence[Question], **how: object) -> tuple[Answer, ...]:
        if any("liver" not in one.text for one in questions):
            raise QuestionRefused("ask, for example: Where is the liver?")
        return super().answer(stack, questions, **how)


def test_a_question_that_a_model_does_not_take_costs_the_others_nothing() -> None:
    liver, other = ProtocolQuestion("liver", "Where is the liver?", ()), ProtocolQuestion("other", "Anything?", ())
    stack = SliceStack(np.zeros((1, 2, 2), np.float32), "CT", None)

    def texts(*questions: ProtocolQuestion) -> list[str]:
        return [one.text for one in _answered(stack, questions, Choosy(), None, in_words, with_labels=True)]  # type: ignore[arg-type]

    refused, answered = "Not answered: ask, for example: Where is the liver?", "to Where is the liver?"
    assert texts(liver, other) == [answered, refused]
    assert texts(liver, *liver.follow_ups(["How big is it?"])) == [answered, refused]
    with pytest.raises(QuestionRefused):
        texts(other)


def marked(label: str, mm: float | None = None, ml: float | None = None, *, at_least: bool = False) -> Finding:
    """Something of a size; without any it is of low confidence, as that is not measured."""
    sizes = (MeasurementKind.LONG_AXIS, mm, codes.MILLIMETRE), (MeasurementKind.VOLUME, ml, codes.MILLILITRE)
    measured = tuple(Measurement(kind, size, unit, at_least=at_least) for kind, size, unit in sizes if size is not None)
    return Finding(
        label, LABELS[label], 0.4, np.ones((1, 1, 1), bool), "1", "1.2", measured, low_confidence=not measured
    )


LIVER_AND_KIDNEYS = (LABELS["liver"], LABELS["kidney left"])


@pytest.mark.parametrize(
    ("condition", "findings", "told"),
    [
        (OnlyIf("liver"), [marked("liver")], ""),
        (OnlyIf("liver"), [marked("kidney left")], "the liver was not seen"),
        (OnlyIf("kidney"), [marked("kidney left")], ""),
        (OnlyIf("spleen"), [], "the spleen was not assessed"),
        (OnlyIf(), [marked("kidney left")], ""),
        (
            OnlyIf("liver", larger_than_mm=10),
            [marked("liver", mm=10, ml=5)],
            "the liver was seen, no larger than 10 mm",
        ),
        (OnlyIf("liver", larger_than_mm=10), [marked("liver", mm=4), marked("liver", mm=11)], ""),
        (OnlyIf(larger_than_ml=2.5), [marked("liver", ml=2)], "nothing that was seen is larger than 2.5 ml"),
        (OnlyIf("liver", 10, 1), [marked("liver", mm=11, ml=0.5)], "the liver was seen, no larger than 10 mm and 1 ml"),
        # In doubt it is asked: not measured, measured otherwise, or cut off by the edge of what was imaged.
        (OnlyIf("liver", larger_than_mm=10), [marked("liver")], ""),
        (OnlyIf("liver", larger_than_ml=10), [marked("liver", mm=4)], ""),
        (OnlyIf("liver", larger_than_mm=10), [marked("liver", mm=4, at_least=True)], ""),
    ],
)
def test_a_follow_up_is_asked_only_if(condition: OnlyIf, findings: list[Finding], told: str) -> None:
    missing = (NotAssessed("spleen", LABELS["spleen"], "label-not-learned", "not learned"),)
    predictor = Recording()
    first = ProtocolQuestion("q", "Where are liver and kidneys?", LIVER_AND_KIDNEYS)
    how, then = first.follow_ups(["Is it enlarged?", "Since when?"])
    other = ProtocolQuestion("other", "And the spleen?", ())
    questions = [first, replace(how, only_if=condition), then, other]

    def code(answer: Answer, place: int, before: Sequence[ReadAnswer]) -> ReadAnswer:
        found = () if place else tuple(findings)
        return replace(in_words(answer, place, before), findings=found, not_assessed=missing if place == 0 else ())

    stack = SliceStack(np.zeros((1, 2, 2), np.float32), "CT", None)
    answers = _answered(stack, questions, predictor, None, code, with_labels=True)  # type: ignore[arg-type]
    assert [one.question for one in answers] == [one.text for one in questions], "each keeps its place"
    asked = [one.text for turn in predictor.asked for one in turn]
    assert asked == [
        "Where are liver and kidneys?",
        "And the spleen?",
        *([] if told else ["Is it enlarged?", "Since when?"]),
    ]
    assert [one.not_asked for one in answers] == [False, bool(told), bool(told), False]
    if told:
        assert answers[1].text == f"Not asked: {told}."
        assert answers[2].text == "Not asked: the question that it goes on from was not asked."
        assert not any(one.says_nothing or one.findings or one.not_seen for one in answers[1:3])


def test_a_condition_is_kept_with_its_question_and_changes_no_other() -> None:
    question = ProtocolQuestion("q", "Where?", LIVER_AND_KIDNEYS, "p")
    assert "only_if" not in question.as_json()
    conditional = replace(question, only_if=OnlyIf("liver", larger_than_ml=1500))
    assert ProtocolQuestion.from_json(json.loads(json.dumps(conditional.as_json()))) == conditional


def test_conditions_of_follow_ups_do_not_hang_on_each_other() -> None:
    first = ProtocolQuestion("q", "Where?", LIVER_AND_KIDNEYS, predictor="p")
    if_liver, if_kidney = OnlyIf("liver"), OnlyIf("kidney left")
    made = first.follow_ups(["a", ("b", if_liver), "c", ("d", if_kidney)])
    a, b = "q, follow-up 1", "q, follow-up 2"
    assert [(one.text, one.follows, one.only_if) for one in made] == [
        ("a", "q", None), ("b", a, if_liver), ("c", b, None), ("d", a, if_kidney),
    ]  # fmt: skip
    assert all((one.findings, one.predictor) == (LIVER_AND_KIDNEYS, "p") for one in made)
