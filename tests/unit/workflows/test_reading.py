"""The stack that a model gets: turned with its pixels, with what its headers say; and the conversation it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dicom_node.results.codes import LABELS
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import load_series
from inference.errors import QuestionRefused
from inference.interface import Answer, Exchange, ImageContext, ImageKind, Plane, Question, Region, SliceStack
from workflows.protocols.schema import ProtocolQuestion, Turn
from workflows.reading import _asked, slice_stack

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


def test_what_goes_on_is_asked_with_the_turns_before_it() -> None:
    predictor = Recording()
    liver = ProtocolQuestion("liver", "Where is the liver?", (LABELS["liver"],))
    before = (Turn("Before?", "Yes.", ("a",)),)
    spleen = ProtocolQuestion("spleen", "And the spleen?", (LABELS["spleen"],), earlier=before)
    questions = [liver, *liver.follow_ups(["How big is it?", "Which side?"]), spleen]
    stack = SliceStack(np.zeros((1, 2, 2), np.float32), "CT", None, ImageContext(regions=frozenset({Region.ABDOMEN})))
    answers = _asked(stack, questions, predictor, None, with_labels=True)  # type: ignore[arg-type]
    assert [answer.question.text for answer in answers] == [question.text for question in questions]
    first, second, third = predictor.asked
    assert [one.text for one in first] == ["Where is the liver?", "And the spleen?"], "one look at the images for all"
    assert first[1].earlier == (Exchange("Before?", "Yes.", ("a",)),)
    assert (first[0].labels, first[0].earlier) == (("liver",), ())
    asked = Exchange("Where is the liver?", "to Where is the liver?", ("liver",))
    assert second[0].earlier == (asked,)
    assert third[0].earlier == (asked, Exchange("How big is it?", "to How big is it?", ("liver",)))
    assert _asked(stack, [liver], predictor, None, with_labels=False)[0].question.labels == ()  # type: ignore[arg-type]


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
        return [answer.text for answer in _asked(stack, questions, Choosy(), None, with_labels=True)]  # type: ignore[arg-type]

    refused, answered = "Not answered: ask, for example: Where is the liver?", "to Where is the liver?"
    assert texts(liver, other) == [answered, refused]
    assert texts(liver, *liver.follow_ups(["How big is it?"])) == [answered, refused]
    with pytest.raises(QuestionRefused):
        texts(other)
