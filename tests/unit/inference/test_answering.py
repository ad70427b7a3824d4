from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from inference import answering
from inference.answering import AnsweringPredictor
from inference.card import UNKNOWN_CARD, ModelCard, Region
from inference.errors import QuestionRefused
from inference.interface import Answer, Exchange, ImageContext, NotAssessedReason, Question, SliceStack
from inference.notices import UNCALIBRATED
from inference.understanding.question import Concept, ConceptKind, Intent, Language, UnderstoodQuestion
from inference.understanding.refusals import refusal
from tests.unit.inference.fake_model import CARD, FakeModel, learned, stack

LIVER = Concept("liver", ConceptKind.STRUCTURE, ("liver",))
SPLEEN = Concept("spleen", ConceptKind.STRUCTURE, ("spleen",))
KIDNEYS = Concept("kidneys", ConceptKind.STRUCTURE, ("kidney left", "kidney right"))
TUMOUR = Concept("brain tumour", ConceptKind.FINDING, ())


def understood(**parts: object) -> UnderstoodQuestion:
    return replace(UnderstoodQuestion("", Language.ENGLISH, Intent.LOCATE), **parts)  # type: ignore[arg-type]


UNDERSTOOD = {
    "liver": understood(targets=(LIVER,)),
    "liver and spleen": understood(targets=(LIVER, SPLEEN)),
    "left kidney": understood(targets=(KIDNEYS,), side="left"),
    "kidneys": understood(targets=(KIDNEYS,)),
    "brain tumour": understood(targets=(TUMOUR,)),
    "everything but the liver": understood(everything=True, excepted=(LIVER,)),
    "how big is it": understood(earlier=True),
    "makes bile": understood(text="Which organ makes bile?", pointed_at=("liver", "spleen")),
    "the wibble": understood(unknown=("wibble",)),
    "why jaundice": understood(complaints=("jaundice",), pointed_at=("liver", "spleen")),
    "why hiccups": understood(complaints=("hiccups",)),
    "cirrhosis": understood(targets=(Concept("cirrhosis", ConceptKind.FINDING, (), ("liver",)),)),
    "liver and wibble": understood(targets=(LIVER,), unknown=("wibble",)),
    "what is wrong": understood(text="Which organ makes bile?", described=True),
    "what glims": understood(text="Which of them glims the wibble?", described=True),
    "what should I ask": understood(),
}


@pytest.fixture(autouse=True)
def other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Understanding and words have tests of their own; here they are what the test says."""

    def known(question: Question, labels: Sequence[str], *, examples: Sequence[str]) -> UnderstoodQuestion:
        if question.text not in UNDERSTOOD:
            raise QuestionRefused(refusal(question.text, examples))
        return UNDERSTOOD[question.text]

    monkeypatch.setattr(answering, "understand", known)
    monkeypatch.setattr(answering, "facts_of", lambda stack, targets: tuple(targets))
    monkeypatch.setattr(answering, "answer_text", lambda question, stack, facts, not_seen, refused: "Words.")
    monkeypatch.setattr(answering, "agreeing_sentences", lambda text, stack, facts, not_seen, not_assessed: "")


def ask(model: FakeModel, *questions: Question | str, of: SliceStack | None = None) -> tuple[Answer, ...]:
    asked = [Question(question) if isinstance(question, str) else question for question in questions]
    return AnsweringPredictor(model).answer(of or stack(), asked)


def phrases(answer: Answer) -> list[str]:
    return [target.phrase for target in answer.targets]


def test_several_questions_share_one_search_with_every_label_once() -> None:
    model = FakeModel({"liver": 0.9, "kidney left": 0.7})
    both, kidneys = ask(model, "liver and spleen", "kidneys")
    assert model.looked_for == [("liver", "spleen", "kidney left", "kidney right")]
    assert (phrases(both), both.not_seen) == (["liver"], ("spleen",))
    assert (phrases(kidneys), kidneys.not_seen) == (["kidney left"], ("kidney right",))


def test_a_side_leaves_the_other_alone() -> None:
    [answer] = ask(model := FakeModel({}), "left kidney")
    assert model.looked_for == [("kidney left",)]
    assert answer.not_seen == ("kidney left",)


def test_what_was_never_learned_is_not_looked_for_and_never_not_seen() -> None:
    model = FakeModel({"liver": 0.9})
    tumour, on_mr = ask(model, "brain tumour")[0], ask(model, "liver", of=stack("MR"))[0]
    assert model.looked_for == []
    assert not tumour.not_seen and not on_mr.not_seen and not on_mr.targets
    [refused] = tumour.not_assessed
    assert (refused.phrase, refused.why) == ("brain tumour", NotAssessedReason.LABEL)
    [refused] = on_mr.not_assessed
    assert refused.why is NotAssessedReason.MODALITY
    assert refused.reason == "this model has not learned liver on MR images; it has learned it on CT images"


def test_a_thing_with_two_labels_is_refused_as_one() -> None:
    [answer] = ask(FakeModel({}), "kidneys", of=stack("MR"))
    assert [refused.phrase for refused in answer.not_assessed] == ["kidneys"]


def test_a_protocol_s_labels_win_over_the_text() -> None:
    asked = Question("liver", labels=("spleen", "gallbladder"))
    [answer] = ask(model := FakeModel({"spleen": 0.9}), asked, of=stack())
    assert model.looked_for == [("spleen",)]
    assert phrases(answer) == ["spleen"] and [item.phrase for item in answer.not_assessed] == ["gallbladder"]
    [answer] = ask(FakeModel({"spleen": 0.9}), Question("???", labels=("spleen",)))
    assert phrases(answer) == ["spleen"]


def test_everything_is_what_the_card_has_of_such_images_less_the_exception() -> None:
    [answer] = ask(model := FakeModel({"liver": 0.9, "spleen": 0.9}), "everything but the liver")
    assert model.looked_for == [("spleen", "kidney left", "kidney right")]
    assert phrases(answer) == ["spleen"] and answer.not_seen == ()


def test_everything_on_images_of_which_nothing_was_learned_is_refused_in_words() -> None:
    for asked in ("everything but the liver", "what is wrong"):
        [answer] = ask(FakeModel({}, says=[{}]), asked, of=stack("PT"))
        [refused] = answer.not_assessed
        told = "this model has learned nothing on PET images; it has learned from CT images and MR images"
        assert (refused.why, refused.reason) == (NotAssessedReason.MODALITY, told)


def test_a_model_without_a_card_is_asked_for_everything_as_it_is() -> None:
    drawn = {"liver": 0.8, "spleen": 0.8}
    [answer] = ask(FakeModel(drawn, card=UNKNOWN_CARD, says=[drawn]), "everything but the liver")
    assert phrases(answer) == ["spleen"]


def test_a_follow_up_means_what_was_named_last() -> None:
    earlier = (Exchange("where?", "the spleen", ("spleen",)), Exchange("why?", "it is not known"))
    [answer] = ask(FakeModel({"spleen": 0.9}), Question("how big is it", earlier))
    assert phrases(answer) == ["spleen"]
    with pytest.raises(QuestionRefused, match="How big is the liver"):
        ask(FakeModel({}), "how big is it")


def test_a_description_means_the_best_match_and_unknown_words_are_told_by_name() -> None:
    model = FakeModel({"liver": 0.9, "spleen": 0.9}, says=[{}])
    pointed, unknown = ask(model, "makes bile", "the wibble")
    assert phrases(pointed) == ["liver"]
    assert [item.phrase for item in unknown.not_assessed] == ["wibble"]
    [both] = ask(model, "liver and wibble")
    assert phrases(both) == ["liver"] and [item.phrase for item in both.not_assessed] == ["wibble"]


def test_a_free_answer_passes_the_same_gate() -> None:
    model = FakeModel({"liver": 0.8}, says=[{"left ventricle cavity": 0.9, "brain": 0.9, "liver": 0.8}])
    [answer] = ask(model, "what is wrong")
    assert phrases(answer) == ["liver"] and answer.not_seen == ()
    for silent in (
        FakeModel({"liver": 0.9}, says=[{"liver": 0.9}]),
        FakeModel({}, says=[{"brain": 1.0}]),
        FakeModel({}),
    ):
        [answer] = ask(silent, "what glims")
        assert not answer.targets and "for example" in answer.not_assessed[0].reason


def test_what_the_model_names_is_located_like_what_is_named_to_it() -> None:
    model = FakeModel({"liver": 0.7}, says=[{"liver": 0.9}])
    [answer] = ask(model, "what is wrong")
    assert model.looked_for == [("liver",)] and answer.targets[0].confidence == pytest.approx(0.7)


def test_what_is_not_understood_is_not_assessed_with_an_example() -> None:
    [answer] = ask(model := FakeModel({"liver": 0.9}, says=[]), "what should I ask")
    assert model.looked_for == [] and not answer.targets and not answer.not_seen
    assert "Where is the" in answer.not_assessed[0].reason


def test_a_complaint_is_answered_by_what_may_explain_it() -> None:
    model = FakeModel({"liver": 0.9})
    [answer] = ask(model, "why jaundice")
    assert model.looked_for == [("liver", "spleen")]
    assert (phrases(answer), answer.not_seen) == (["liver"], ("spleen",))
    [answer] = ask(FakeModel({}), "why hiccups")
    assert not answer.targets and [item.phrase for item in answer.not_assessed] == ["cause of hiccups"]


def test_a_disease_never_learned_says_what_it_concerns_and_marks_nothing() -> None:
    [answer] = ask(model := FakeModel({"liver": 0.9}), "cirrhosis")
    assert model.looked_for == [] and not answer.targets
    assert "the liver, which this concerns" in answer.not_assessed[0].reason


def test_a_label_is_claimed_from_its_own_confidence_on() -> None:
    outcomes = [ask(FakeModel({"spleen": value}), Question("?", labels=("spleen",)))[0] for value in (0.7, 0.5, 0.2)]
    assert [phrases(answer) for answer in outcomes] == [["spleen"], [], []]
    assert [item.why for item in outcomes[1].not_assessed] == [NotAssessedReason.UNSURE] and not outcomes[1].not_seen
    assert outcomes[2].not_seen == ("spleen",) and not outcomes[2].not_assessed


@pytest.mark.parametrize(("likeness", "confidence"), [(0.5, 0.8), (0.06, 0.6), (None, 0.8)])
def test_images_less_alike_lower_the_confidence(likeness: float | None, confidence: float) -> None:
    [answer] = ask(FakeModel({"liver": 0.8}, alike=likeness), "liver")
    assert answer.targets[0].confidence == pytest.approx(confidence)


def test_unlike_images_are_refused_whatever_is_asked() -> None:
    model = FakeModel({"liver": 0.8}, alike=0.001, says=[])
    answers = ask(model, "liver", "everything but the liver", "what is wrong")
    assert model.looked_for == [] and not any(answer.targets or answer.not_seen for answer in answers)
    assert {item.why for answer in answers for item in answer.not_assessed} == {NotAssessedReason.UNLIKE}


def test_progress_goes_once_from_first_to_last() -> None:
    told: list[tuple[int, int]] = []
    model = FakeModel({"liver": 0.8}, says=[{}])
    asked = [Question("liver"), Question("what is wrong")]
    AnsweringPredictor(model).answer(stack(), asked, progress=lambda *count: told.append(count))
    assert told == sorted(told) and told[-1] == (2, 2)


def test_what_is_not_calibrated_says_so_in_terms_and_answers() -> None:
    predictor = AnsweringPredictor(FakeModel({"liver": 0.8}), notices=(UNCALIBRATED,))
    assert predictor.description.terms == UNCALIBRATED
    [answer] = predictor.answer(stack(), [Question("liver")])
    assert "uncalibrated confidence" in answer.text.lower()


@pytest.mark.parametrize("card", [UNKNOWN_CARD, replace(CARD, open_set=True)])
def test_a_model_that_takes_any_name_is_asked_for_it(card: ModelCard) -> None:
    [answer] = ask(FakeModel({"wibble": 0.9}, card=card), "the wibble")
    assert phrases(answer) == ["wibble"]


def test_a_question_that_is_none_is_refused() -> None:
    with pytest.raises(QuestionRefused, match="for example"):
        ask(FakeModel({}), "hello")


def test_an_example_is_something_that_passes_on_such_images() -> None:
    chest = replace(learned("left lung"), regions=frozenset({Region.CHEST}), images=500)
    model = FakeModel({}, card=replace(CARD, labels=(chest, *CARD.labels)), says=[{}])
    abdomen = replace(stack(), context=ImageContext(regions=frozenset({Region.ABDOMEN})))
    with pytest.raises(QuestionRefused, match="Where is the liver") as refused:
        ask(model, "hello", of=abdomen)
    assert "lung" not in str(refused.value) and "ventricle" not in str(refused.value)
    [answer] = ask(model, "what should I ask", of=abdomen)
    assert "Where is the liver?" in answer.not_assessed[0].reason
