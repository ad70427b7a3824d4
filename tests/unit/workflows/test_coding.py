"""Answers become findings on the source grid, marked and coded as the question asked, and what has no mask says why."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import LABELS, concept_for
from dicom_node.results.finding import ReadAnswer
from dicom_node.volumes.display import DisplayView, display_view
from dicom_node.volumes.load import SeriesVolume
from inference.interface import Answer, LabelCode, NotAssessed, NotAssessedReason, Question, SeenTarget
from inference.reasoning.sentences import COUNTED
from workflows.coding import LEAST_CONFIDENCE, NOT_ADDRESSED, answer_record, code_answer, labels_of
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord

# Patient directions, LPS.
LEFT, POSTERIOR, HEAD = np.eye(3)


def made_up(along: Any, down: Any, shape: tuple[int, int, int] = (2, 3, 5)) -> SeriesVolume:
    """A volume whose rows run `along` and whose columns run `down`; slices ascend along their cross product."""
    direction = np.stack([np.cross(along, down), down, along], axis=1)
    return cast(
        SeriesVolume,
        SimpleNamespace(
            geometry=SimpleNamespace(direction=direction),
            values=np.arange(np.prod(shape), dtype=np.float32).reshape(shape),
            spacing_mm=(7.0, 2.0, 3.0),
            modality="CT",
            pixel_spacing_mm=None,
            spacing_basis=None,
            unit=None,
            is_color=False,
            inverted=False,
        ),
    )


AS_IS = DisplayView(False, False, False)


def read_answer(
    answer: Answer, question: ProtocolQuestion, view: DisplayView, scope: str, ordinal: int, **more: Any
) -> ReadAnswer:
    """The answer to a question about a volume that nothing can be measured on."""
    return code_answer(answer, question, made_up(HEAD, POSTERIOR), view, scope, ordinal, **more)


def answered(*phrases: str, confidence: float = 0.5, text: str = "text", **more: Any) -> Answer:
    mask = np.zeros((2, 5, 3), dtype=bool)
    mask[1, 4, 0] = True
    targets = tuple(SeenTarget(phrase, confidence, mask) for phrase in phrases)
    return Answer(Question("Where?"), text, targets, (0, 1), **more)


def unlearned(phrase: str) -> NotAssessed:
    return NotAssessed(phrase, NotAssessedReason.LABEL, f"this model has not learned {phrase}")


def test_masks_come_back_on_the_source_grid_with_codes_and_names_of_their_own() -> None:
    volume = made_up(HEAD, POSTERIOR)
    question = ProtocolQuestion("q", "Where?", (LABELS["liver"], LABELS["spleen"]))
    view = display_view(volume)
    read = read_answer(answered("Liver", "liver", not_seen=("spleen",)), question, view, "key", 0)
    assert [finding.concept for finding in read.findings] == [LABELS["liver"]] * 2
    assert read.not_seen == (LABELS["spleen"],)
    turned = view.apply(read.findings[0].mask)
    assert read.findings[0].mask.shape == (2, 3, 5) and np.argwhere(turned).tolist() == [[1, 4, 0]]
    assert [finding.tracking_uid for finding in read.findings] == [
        derived_uid("key", "tracking", "0", "0"), derived_uid("key", "tracking", "0", "1")
    ]  # fmt: skip
    assert len({finding.tracking_id for finding in read.findings}) == 2
    assert read_answer(answered("liver"), question, view, "key", 1).findings[0].tracking_uid not in {
        finding.tracking_uid for finding in read.findings
    }


def test_what_no_finding_asks_for_is_said_and_not_marked() -> None:
    question = ProtocolQuestion("q", "Which vessel lies before the spine?", (LABELS["aorta"],))
    read = read_answer(answered("retinal blood vessel", "aorta", "an odd thing"), question, AS_IS, "key", 0)
    assert [finding.concept for finding in read.findings] == [LABELS["aorta"]]
    assert read.not_seen == ()
    named = "retinal blood vessel, named but not asked for; an odd thing, named but not asked for"
    assert read.text == f"text [Not marked: {named}.]"


def test_a_question_without_findings_marks_nothing() -> None:
    read = read_answer(answered("liver"), ProtocolQuestion("q", "What is seen?", ()), AS_IS, "key", 0)
    assert (read.findings, read.not_seen) == ((), ())
    assert read.text == "text [Not marked: liver, named but not asked for.]"


def test_without_a_protocol_whatever_has_a_code_is_marked() -> None:
    question = ProtocolQuestion("ask", "What lies beside the liver?", (LABELS["liver"],))
    answer = answered("spleen", "the odd thing there", not_seen=("liver",))
    read = read_answer(answer, question, AS_IS, "key", 0, only_findings=False)
    assert [finding.concept for finding in read.findings] == [LABELS["spleen"]]
    assert read.not_seen == (LABELS["liver"],)
    assert read.text == "text [Not marked: the odd thing there, for which no code is known.]"


@pytest.mark.parametrize("only_findings", [True, False])
@pytest.mark.parametrize(("confidence", "marked"), [(0.0, 0), (0.049, 0), (LEAST_CONFIDENCE, 1), (1.0, 1)])
def test_a_mask_that_is_expected_to_miss_is_not_delivered(confidence: float, marked: int, only_findings: bool) -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["liver"],))
    answer = answered("liver", confidence=confidence)
    read = read_answer(answer, question, AS_IS, "key", 0, only_findings=only_findings)
    assert len(read.findings) == marked
    assert read.not_seen == (() if marked else (LABELS["liver"],))
    assert ("with a confidence of" in read.text) != bool(marked)


@pytest.mark.parametrize(("confidence", "low"), [(0.05, True), (0.49, True), (0.5, False), (1.0, False)])
def test_a_mask_of_low_confidence_is_marked_and_not_measured(confidence: float, low: bool) -> None:
    volume: Any = made_up(LEFT, POSTERIOR)
    volume.pixel_spacing_mm, volume.geometry.slice_extents_mm = (2.0, 3.0), np.array([7.0, 7.0])
    answer = Answer(Question("Where?"), "text", (SeenTarget("the liver", confidence, volume.values > 3),), (0, 1))
    read = code_answer(answer, ProtocolQuestion("q", "Where?", (LABELS["liver"],)), volume, AS_IS, "key", 0)
    (finding,) = read.findings
    assert (finding.low_confidence, finding.measurements == ()) == (low, low)
    assert (finding.label, finding.tracking_id) == ("liver, low confidence" if low else "liver", "liver 1.1")
    assert read.not_seen == ()
    assert read.text == ("text [Low confidence, not measured: the liver.]" if low else "text")


def test_the_limit_is_a_setting() -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["liver"],))
    for limit, low in ((0.0, False), (0.5, False), (0.51, True), (1.0, True)):
        (finding,) = read_answer(answered("liver"), question, AS_IS, "key", 0, low_confidence=limit).findings
        assert finding.low_confidence == low, limit


def test_words_that_claim_a_mask_which_is_not_delivered_do_not_stand_alone() -> None:
    """Whether it was named by a protocol or only implied by the question, what was drawn in vain is not seen."""
    question = ProtocolQuestion("ask", "Which organs make urine?", ())
    answer = answered("left kidney", confidence=0.03)
    read = read_answer(answer, question, AS_IS, "key", 0, only_findings=False)
    assert read.not_seen == (LABELS["kidney left"],)
    assert read.text.startswith('Nothing is marked. The model said: "text" [Not marked: left kidney, with a confidence')


def test_a_finding_without_a_side_is_named_by_either_and_marked_as_that_side() -> None:
    kidney = concept_for("kidney")
    assert kidney is not None
    read = read_answer(answered("left kidney"), ProtocolQuestion("q", "Where?", (kidney,)), AS_IS, "key", 0)
    assert [finding.concept for finding in read.findings] == [LABELS["kidney left"]]
    assert read.not_seen == ()


@pytest.mark.parametrize("named", ["right kidney", "kidney"])
def test_the_other_side_and_no_side_are_not_what_was_asked_for(named: str) -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["kidney left"],))
    read = read_answer(answered(named), question, AS_IS, "key", 0)
    assert (read.findings, read.not_seen) == ((), ())
    assert [(one.label, one.why) for one in read.not_assessed] == [("kidney left", NOT_ADDRESSED)]


def test_a_finding_with_codes_of_its_own_is_named_by_its_label_or_by_them() -> None:
    own = replace(LABELS["liver"], label="hepar")
    for phrase in ("Hepar", "the liver"):
        read = read_answer(answered(phrase), ProtocolQuestion("q", "Where?", (own,)), AS_IS, "key", 0)
        assert [finding.concept for finding in read.findings] == [own], phrase


def test_not_seen_is_only_what_was_looked_for() -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["liver"], LABELS["spleen"], LABELS["pneumothorax"]))
    answer = answered(not_seen=("spleen",), not_assessed=(unlearned("pneumothorax"),))
    read = read_answer(answer, question, AS_IS, "key", 0)
    assert read.not_seen == (LABELS["spleen"],)
    told = {one.label: (one.concept, one.why) for one in read.not_assessed}
    assert told == {
        "pneumothorax": (LABELS["pneumothorax"], "label-not-learned"),
        "liver": (LABELS["liver"], NOT_ADDRESSED),
    }
    assert read.not_assessed[0].reason == "this model has not learned pneumothorax"


def test_without_a_protocol_nothing_is_said_of_what_the_answer_does_not_name() -> None:
    """ "Everything except the liver" holds the word, and asks for no liver."""
    question = ProtocolQuestion("ask", "What is seen except the liver?", (LABELS["liver"],))
    answer = answered("spleen", not_seen=("aorta",), not_assessed=(unlearned("brain tumour"),))
    read = read_answer(answer, question, AS_IS, "key", 0, only_findings=False)
    assert read.not_seen == (LABELS["aorta"],)
    assert [(one.label, one.concept) for one in read.not_assessed] == [("brain tumour", None)]


def test_a_side_that_is_not_seen_is_named_where_the_protocol_asks_for_either() -> None:
    kidney = concept_for("kidney")
    assert kidney is not None
    answer = answered("kidney right", not_seen=("kidney left",))
    read = read_answer(answer, ProtocolQuestion("q", "Where?", (kidney,)), AS_IS, "key", 0)
    assert [finding.concept for finding in read.findings] == [LABELS["kidney right"]]
    assert (read.not_seen, read.not_assessed) == ((LABELS["kidney left"],), ())


@pytest.mark.parametrize(
    ("finding", "labels"),
    [
        ("liver", ("liver",)),
        ("left kidney", ("kidney left",)),
        ("kidney", ("kidney left", "kidney right")),
        ("lung", ("left lung", "right lung")),
        ("hippocampus", ("anterior hippocampus", "posterior hippocampus")),
        ("nasogastric tube", ("nosogastric tube",)),  # as its data set spells it
        ("heart", ("heart",)),
    ],
)
def test_a_model_is_asked_by_the_names_of_its_data_sets(finding: str, labels: tuple[str, ...]) -> None:
    concept = concept_for(finding)
    assert concept is not None
    assert labels_of([concept, concept]) == labels


def test_a_models_own_code_counts_where_we_have_none() -> None:
    mask = np.ones((2, 5, 3), dtype=bool)
    code = LabelCode("12345", "SCT", "Left femur", side="left")
    known = LabelCode("1", "99X", "Something else")
    targets = (SeenTarget("femur left", 0.9, mask, code), SeenTarget("liver", 0.9, mask, known))
    answer = Answer(Question("What is seen?"), "text", targets, (0,))
    read = read_answer(answer, ProtocolQuestion("ask", "What?", ()), AS_IS, "key", 0, only_findings=False)
    femur, liver = (finding.concept for finding in read.findings)
    assert (femur.label, femur.type.value, femur.laterality.meaning) == ("femur left", "12345", "Left")
    assert liver == LABELS["liver"]


def test_a_sentence_on_what_is_not_delivered_is_not_delivered_either() -> None:
    question = ProtocolQuestion("q", "Where is the aorta?", (LABELS["aorta"],))
    said = "The image shows the aorta. The left kidney is large. It is in the middle."
    read = read_answer(answered("aorta", "kidney left", text=said), question, AS_IS, "key", 0)
    delivered, remark = read.text.split(" [Not marked: ")
    assert delivered == "The image shows the aorta. It is in the middle."
    assert remark == "kidney left, named but not asked for.]"
    words = read_answer(answered("kidney left", text=said), ProtocolQuestion("q", "What?", ()), AS_IS, "key", 0)
    assert words.text.startswith(said), "a question without findings wants an answer in words"


def test_what_goes_on_says_only_what_is_new() -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["liver"], LABELS["spleen"]))
    (follow_up,) = question.follow_ups(["How large is it?"])
    assert (follow_up.follows, follow_up.findings) == ("q", question.findings)
    answer = answered("liver", not_seen=("spleen",))
    first = read_answer(answer, question, AS_IS, "key", 0)
    same = read_answer(answer, follow_up, AS_IS, "key", 1, before=[first])
    assert (same.text, same.goes_on) == ("text", True)
    assert (same.findings, same.not_seen, same.not_assessed) == ((), (), ())
    more = read_answer(answered("liver", "spleen"), follow_up, AS_IS, "key", 1, before=[first])
    assert [finding.concept for finding in more.findings] == [LABELS["spleen"]]


def test_what_was_not_assessed_is_kept() -> None:
    question = ProtocolQuestion("q", "Where?", (LABELS["pneumothorax"],))
    read = read_answer(answered(not_assessed=(unlearned("pneumothorax"),)), question, AS_IS, "key", 0)
    record = answer_record(read, cast(Any, SimpleNamespace(ordinal=0, volume=None)))
    assert AnswerRecord.from_json(record.as_json()) == record
    assert [(one.label, one.why) for one in record.not_assessed] == [("pneumothorax", "label-not-learned")]
    older = {key: value for key, value in record.as_json().items() if key not in ("not_assessed", "goes_on")}
    assert AnswerRecord.from_json(older).not_assessed == ()


def test_how_slices_are_counted_is_told_only_where_slices_are_named() -> None:
    question = ProtocolQuestion("1", "Where?", (LABELS["liver"], LABELS["spleen"]))
    text = f"The spleen is seen on slices 3 to 4 of 9. The liver is not seen. {COUNTED}"
    doubtful = read_answer(answered("spleen", confidence=0.01, text=text), question, AS_IS, "key", 0)
    assert "The liver is not seen." in doubtful.text and COUNTED not in doubtful.text
    sure = read_answer(answered("spleen", confidence=0.9, text=text), question, AS_IS, "key", 0)
    assert sure.text == text
