"""The clinical questions stay as they were put, and the scorer tells help from harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import QuestionRefused
from inference.evaluation.clinic import questions, scoring
from inference.evaluation.clinic.questions import ClinicImage, ClinicQuestion, LoadedImage, Place
from inference.evaluation.clinic.report import clinic_table, score_clinic
from inference.evaluation.clinic.scoring import Verdict, judge, labels_of
from inference.interface import (
    Answer,
    NotAssessed,
    NotAssessedReason,
    PredictorDescription,
    Question,
    SeenTarget,
    SliceStack,
)

LIVER, SPLEEN = np.zeros((2, 32, 32), dtype=np.bool_), np.zeros((2, 32, 32), dtype=np.bool_)
LIVER[:, 4:20, 2:14] = True
SPLEEN[:, 8:18, 20:28] = True
LOADED = LoadedImage(SliceStack(np.zeros((2, 32, 32), dtype=np.float32), "CT", None), {"5": LIVER})
IMAGE = ClinicImage(
    "abdomen",
    "nowhere",
    learned=True,
    present={"liver": Place("5", 0.7), "spleen": Place(boxes=((0, 1, 7, 18, 19, 28),))},
    absent=frozenset({"gallbladder"}),
    undecided=frozenset({"esophagus"}),
)
ASK_LIVER = ClinicQuestion("a", "abdomen", "by name", True, Question("Where is the liver?"), asks=("liver",))
UNSURE = (NotAssessed("brain tumour", NotAssessedReason.LABEL, "never learned"),)


def seen(phrase: str, mask: NDArray[np.bool_], confidence: float = 0.9) -> SeenTarget:
    return SeenTarget(phrase, confidence, mask)


def verdict(question: ClinicQuestion, *targets: SeenTarget, text: str = "", **more: object) -> Verdict:
    answer = Answer(question.question, text, targets, (0,))
    return judge(question, IMAGE, LOADED, replace(answer, **more)).verdict  # type: ignore[arg-type]


def test_the_questions_are_those_that_were_frozen() -> None:
    assert questions.digest() == questions.DIGEST, "a changed question is another test: score 0.6 on it too"
    asked = questions.read_questions()
    assert [sum(one.answerable is known for one in asked) for known in (True, False)] == [100, 50]
    assert len({one.id for one in asked}) == 150
    assert {one.image for one in asked} == set(questions.read_images())


def test_what_was_asked_and_marked_in_its_place_is_right() -> None:
    assert verdict(ASK_LIVER, seen("liver", LIVER)) is Verdict.RIGHT
    both = replace(ASK_LIVER, asks=("liver", "spleen", "gallbladder"))
    assert verdict(both, seen("liver", LIVER), seen("the spleen".removeprefix("the "), SPLEEN),
                   not_seen=("gallbladder",)) is Verdict.RIGHT  # fmt: skip


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (seen("liver", SPLEEN), Verdict.DANGEROUS),  # in the wrong place
        (seen("liver", LIVER | SPLEEN | (LIVER.transpose(0, 2, 1))), Verdict.WRONG),  # badly outlined
        (seen("liver", SPLEEN, 0.3), Verdict.WRONG),  # and says that it is unsure
        (seen("liver", SPLEEN, 0.01), Verdict.UNHELPFUL),  # is not shown
        (seen("brain tumour", LIVER), Verdict.DANGEROUS),  # never learned
        (seen("gallbladder", LIVER), Verdict.DANGEROUS),  # absent
        (seen("spleen", SPLEEN), Verdict.UNHELPFUL),  # true, and nobody asked
    ],
)
def test_a_mask_is_judged_by_its_place_and_its_confidence(target: SeenTarget, expected: Verdict) -> None:
    assert verdict(ASK_LIVER, target) is expected


def test_not_seen_is_a_claim_and_not_assessed_is_none() -> None:
    assert verdict(ASK_LIVER, not_seen=("liver",)) is Verdict.DANGEROUS
    assert verdict(ASK_LIVER, text="No liver is seen.") is Verdict.DANGEROUS
    assert verdict(ASK_LIVER, not_assessed=UNSURE) is Verdict.UNHELPFUL
    assert verdict(replace(ASK_LIVER, asks=("gallbladder",)), not_seen=("gallbladder",)) is Verdict.RIGHT
    tumour = replace(ASK_LIVER, answerable=False, asks=("brain tumour",))
    assert verdict(tumour, not_assessed=UNSURE) is Verdict.RIGHT
    assert verdict(tumour, not_seen=("brain tumour",)) is Verdict.DANGEROUS
    assert verdict(tumour) is Verdict.UNHELPFUL


def test_a_refusal_is_right_only_where_nothing_could_be_answered() -> None:
    assert judge(ASK_LIVER, IMAGE, LOADED, None).verdict is Verdict.UNHELPFUL
    hello = replace(ASK_LIVER, answerable=False, asks=(), question=Question("hello"))
    assert judge(hello, IMAGE, LOADED, None).verdict is Verdict.RIGHT
    assert verdict(hello, seen("liver", LIVER)) is Verdict.WRONG


def test_a_text_is_held_to_what_it_states() -> None:
    side = replace(ASK_LIVER, says=(r"\bright\b",), never=(r"liver[^.]* on the left",), ml=(90.0, 110.0))
    right = seen("liver", LIVER)
    assert verdict(side, right, text="The liver lies on the right; 100 ml.") is Verdict.RIGHT
    assert verdict(side, right, text="The image shows liver.") is Verdict.UNHELPFUL
    assert verdict(side, right, text="The liver lies on the left.") is Verdict.DANGEROUS
    assert verdict(side, right, text="The liver lies on the right; 300 ml.") is Verdict.DANGEROUS
    assert verdict(side, right, text="The MRI shows the liver on the right.") is Verdict.WRONG


def test_the_images_that_something_was_learned_on_are_no_word_about_this_one() -> None:
    polyp = replace(ASK_LIVER, answerable=False, asks=("polyp",))
    refused = NotAssessed("polyp", NotAssessedReason.MODALITY, "it has learned it on endoscopic images")
    told = f"Not assessed: polyp ({refused.reason})."
    assert verdict(polyp, text=told, not_assessed=(refused,)) is Verdict.RIGHT
    assert verdict(polyp, text=f"This colonoscopy: {told}", not_assessed=(refused,)) is Verdict.WRONG


def test_what_lies_obliquely_through_its_box_is_in_its_place() -> None:
    mask = np.zeros((12, 32, 32), dtype=np.bool_)
    for slice_ in range(12):
        mask[slice_, 2 * slice_ : 2 * slice_ + 5, 4:12] = True
    oblique = replace(IMAGE, present={"spleen": Place(boxes=((0, 11, 0, 28, 2, 14),))})
    loaded = replace(LOADED, stack=SliceStack(np.zeros(mask.shape, dtype=np.float32), "CT", None))
    assert scoring.fit(mask, ["spleen"], oblique, loaded) >= 1
    mask[:, :, 6:] = False
    assert scoring.fit(mask, ["spleen"], oblique, loaded) < 1, "too little of it"


def test_everything_but_one_means_most_and_nothing_false() -> None:
    rest = replace(ASK_LIVER, asks=(), everything=True, but=frozenset({"liver"}))
    assert verdict(rest, seen("spleen", SPLEEN)) is Verdict.RIGHT
    assert verdict(rest) is Verdict.UNHELPFUL
    assert verdict(rest, seen("spleen", SPLEEN), seen("liver", LIVER)) is Verdict.WRONG


def test_phrases_are_led_back_to_labels() -> None:
    assert labels_of("left kidney") == labels_of("kidney left") == ("kidney left",)
    assert labels_of("Kidneys") == ("kidney left", "kidney right")
    assert labels_of("brain tumour") == ("brain tumour",)


class NamesTheLiver:
    """Marks a corner as the liver whatever is asked, and refuses greetings."""

    description = PredictorDescription("fake", "1", "0" * 64, None)

    def answer(self, stack: SliceStack, asked: list[Question], **_: object) -> tuple[Answer, ...]:
        if any(one.text == "hello" for one in asked):
            raise QuestionRefused("ask for something")
        mask = np.zeros(stack.values.shape[:3], dtype=np.bool_)
        mask[:, :4, :4] = True
        return tuple(Answer(one, "The liver is seen.", (seen("liver", mask),), (0,)) for one in asked)


def test_all_questions_are_asked_and_each_dangerous_answer_is_drawn(tmp_path: object) -> None:
    from pathlib import Path

    out = Path(str(tmp_path)) / "out"

    def load(image: ClinicImage) -> LoadedImage:
        named = {place.reference for place in image.present.values() if place.reference}
        return LoadedImage(LOADED.stack, dict.fromkeys(named, LIVER))

    result = score_clinic(NamesTheLiver(), load, out=out)  # type: ignore[arg-type]
    assert len(result["answers"]) == result["questions"] == 150
    by_id = {one["id"]: one for one in result["answers"]}
    assert by_id["n001"]["verdict"] == "right" and by_id["a001"]["verdict"] == "dangerous"
    dangerous = [name for name, one in by_id.items() if one["verdict"] == "dangerous"]
    assert {path.stem for path in out.glob("*.png")} == set(dangerous)
    assert "Where is the liver?" in clinic_table(result)
    assert result["low_confidence"] == scoring.LOW_CONFIDENCE
