"""What an answer says, for every kind of question."""

from __future__ import annotations

import dataclasses
import re

import pytest

from inference.card import ImageKind
from inference.interface import NotAssessed, NotAssessedReason
from inference.reasoning.claims import agreeing_sentences, contradictions
from inference.reasoning.facts import FindingFacts
from inference.reasoning.remarks import NO_COUNT
from inference.reasoning.sentences import (
    COUNTED,
    NO_DISTANCE,
    NO_OTHER,
    NO_SIDE,
    NOT_JUDGED,
    NOTHING,
    UNCALIBRATED,
    answer_text,
)
from inference.understanding.question import Concept, ConceptKind, Intent
from tests.unit.inference.reasoning.cases import (
    AORTA,
    CT,
    LEFT_KIDNEY,
    LIVER,
    PHOTO,
    POLYP,
    RIGHT_KIDNEY,
    SPLEEN,
    UNKNOWN_TO_IT,
    asked,
)

KIDNEY = (
    "The left kidney is seen on slices 11 to 30 of 60, on the patient's left, below the spleen; "
    "volume 152.3 ml; confidence 0.83 (sure)."
)


def test_where_something_is_how_large_and_how_sure() -> None:
    assert answer_text(asked(Intent.LOCATE, "kidney left"), CT, [LEFT_KIDNEY], [], []) == f"{KIDNEY} {COUNTED}"
    photo = answer_text(asked(Intent.LOCATE, "polyp"), PHOTO, [POLYP], [], [])
    assert photo == (
        "A polyp is seen in the upper left part of the image; covering 3.2 % of the image; confidence 0.83 (sure)."
    )


def test_presence_begins_with_yes_or_no() -> None:
    yes = answer_text(asked(Intent.PRESENCE, "polyp"), PHOTO, [POLYP], [], [])
    assert yes.startswith("Yes, a polyp is seen")
    assert answer_text(asked(Intent.PRESENCE, "polyp"), PHOTO, [], ["polyp"], []) == "No, no polyp is seen."
    assert answer_text(asked(Intent.PRESENCE, "liver"), CT, [], ["liver"], []) == "No, the liver is not seen."
    kidneys = ["kidney left", "kidney right"]
    both = answer_text(asked(Intent.PRESENCE, "kidneys"), CT, [], kidneys, [])
    assert both == "No, not seen: the left kidney and the right kidney."
    negated = asked(Intent.PRESENCE, "polyp", negated=True)
    assert answer_text(negated, PHOTO, [POLYP], [], []).startswith("No: a polyp is seen")
    assert answer_text(negated, PHOTO, [], ["polyp"], []) == "No polyp is seen."


def test_the_other_side_than_asked_is_said() -> None:
    effusion = dataclasses.replace(SPLEEN, phrase="pleural effusion", side="right", neighbours=(), places=())
    question = asked(Intent.PRESENCE, "pleural effusion", side="left")
    assert answer_text(question, CT, [effusion], [], []).startswith("Not on the left: a pleural effusion is seen")
    unknown = dataclasses.replace(effusion, side="")
    assert NO_SIDE in answer_text(question, CT, [unknown], [], [])


def test_pairs_are_compared_by_size() -> None:
    right = dataclasses.replace(RIGHT_KIDNEY, confidence=0.6)
    text = answer_text(asked(Intent.COMPARE, "kidney left", "kidney right"), CT, [right, LEFT_KIDNEY], [], [])
    assert text.startswith(
        "The left kidney (152.3 ml) is 1.20 times as large as the right kidney (127.1 ml). The right kidney is seen"
    )
    several = [SPLEEN, LIVER, dataclasses.replace(AORTA, cut_off=False)]
    text = answer_text(asked(Intent.COMPARE, "spleen", "liver", "aorta"), CT, several, [], [])
    ranked = "the liver (1432.1 ml), the spleen (493.9 ml) and the aorta (115.2 ml)"
    assert text.startswith(f"From the largest to the smallest: {ranked}.")
    text = answer_text(asked(Intent.COMPARE, "liver", "aorta"), CT, [LIVER], ["aorta"], [])
    assert text.startswith(NO_OTHER) and "The aorta is not seen." in text
    cut = dataclasses.replace(LEFT_KIDNEY, cut_off=True)
    text = answer_text(asked(Intent.COMPARE, "kidney left", "kidney right"), CT, [right, cut], [], [])
    assert "times" not in text and "at least 152.3 ml" in text and "are not compared" in text


def test_a_distance_is_told_where_it_is_small_and_no_size_is_compared() -> None:
    text = answer_text(asked(Intent.DISTANCE, "kidney right", "liver"), CT, [RIGHT_KIDNEY, LIVER], [], [])
    assert text.startswith("The right kidney is at most 5 mm from the liver.") and "times" not in text
    apart = answer_text(asked(Intent.DISTANCE, "liver", "spleen"), CT, [LIVER, SPLEEN], [], [])
    assert apart.startswith(NO_DISTANCE) and "times" not in apart


def test_size_count_and_side() -> None:
    size = answer_text(asked(Intent.SIZE, "spleen"), CT, [dataclasses.replace(SPLEEN, parts=1, confidence=0.9)], [], [])
    assert "The spleen: 14.2 cm from head to feet, 4.2 cm from right to left, 8.4 cm from front to back." in size
    assert "reference for adults: up to 13.0 cm" in size
    assert UNCALIBRATED in answer_text(asked(Intent.SIZE, "polyp"), PHOTO, [POLYP], [], [])
    count = answer_text(asked(Intent.COUNT, "polyp"), PHOTO, [POLYP], [], [])
    assert count.startswith("The polyp is marked in 2 separate parts.")
    kidneys = answer_text(asked(Intent.COUNT, "kidney left", "kidney right"), CT, [LEFT_KIDNEY, RIGHT_KIDNEY], [], [])
    assert kidneys.startswith("2 are seen: the left kidney and the right kidney.")
    assert answer_text(asked(Intent.SIDE, "spleen"), CT, [SPLEEN], [], []).startswith(
        "The spleen is on the patient's left."
    )
    assert answer_text(asked(Intent.SIDE, "aorta"), CT, [AORTA], [], []).startswith("The aorta is in the middle")
    assert NO_SIDE in answer_text(asked(Intent.SIDE, "polyp"), PHOTO, [POLYP], [], [])


def test_what_is_known_in_general_is_marked_so() -> None:
    cause = answer_text(asked(Intent.CAUSE, "polyp"), PHOTO, [POLYP], [], [])
    assert "In general: a polyp may go with an adenoma" in cause and "the image alone does not tell" in cause
    assert "can be confused with haustral fold" in cause
    look = answer_text(asked(Intent.DESCRIBE, "liver"), CT, [LIVER], [], [])
    assert "In general: the liver shows a large homogeneous soft-tissue area" in look
    assert "In general" not in answer_text(asked(Intent.CAUSE, "polyp"), PHOTO, [], ["polyp"], [])


def test_what_is_known_in_general_fits_the_complaint() -> None:
    def general(complaint: str) -> str:
        question = dataclasses.replace(asked(Intent.CAUSE), complaints=(complaint,), pointed_at=("liver", "pancreas"))
        return answer_text(question, CT, [LIVER], ["pancreas"], []).partition("In general: ")[2]

    jaundice = "jaundice may go with the liver (jaundice and spider naevi) and the pancreas (painless jaundice with"
    assert general("jaundice").startswith(jaundice)
    assert general("confusion").startswith("confusion may go with the liver (ascites and confusion after")
    assert general("headache") == ""
    named = dataclasses.replace(asked(Intent.CAUSE, "liver"), complaints=("jaundice",))
    assert "cirrhosis" not in answer_text(named, CT, [LIVER], [], [])


def test_what_was_looked_for_for_a_complaint_and_not_seen_is_named() -> None:
    question = dataclasses.replace(asked(Intent.CAUSE), complaints=("jaundice",), pointed_at=("liver", "pancreas"))
    text = answer_text(question, CT, [LIVER], ["pancreas"], [])
    assert "The liver is seen" in text and "The pancreas is not seen." in text
    text = answer_text(question, CT, [], ["liver", "pancreas"], [])
    assert text.startswith("Looked for what may go with jaundice: the liver and the pancreas. Not seen: the liver and")


def test_doubt_is_said() -> None:
    unsure = answer_text(asked(Intent.LOCATE, "kidney right"), CT, [RIGHT_KIDNEY], [], [])
    assert "confidence 0.45 (unsure, to be checked by eye)" in unsure
    doubted = dataclasses.replace(LEFT_KIDNEY, side="", measured_side="right")
    text = answer_text(asked(Intent.SIZE, "kidney left"), CT, [doubted], [], [])
    assert "the name left kidney says left, but what is marked lies on the patient's right" in text
    assert "on the patient's left" not in text and "reference" not in text


def test_an_overview_of_many_is_short() -> None:
    absent = [NotAssessed(name, NotAssessedReason.MODALITY, "not on CT") for name in ("left lung", "right lung")]
    many = [LIVER, SPLEEN, LEFT_KIDNEY, RIGHT_KIDNEY, AORTA]
    text = answer_text(asked(Intent.OVERVIEW), CT, many, ["gallbladder", "polyp"], [UNKNOWN_TO_IT, *absent])
    assert text == (
        "Seen: the liver (1432.1 ml, slices 31 to 58, confidence 0.91), the spleen (493.9 ml, slices 29 to 56, "
        "confidence 0.62), the left kidney (152.3 ml, slices 11 to 30, confidence 0.83), the right kidney ("
        "slices 9 to 29, confidence 0.45) and the aorta (at least 115.2 ml, slices 1 to 60, confidence 0.95). "
        "Unsure, to be checked by eye: the right kidney. Not seen: the gallbladder and polyp. "
        "Not assessed: brain tumour (this model has not learned to find it). "
        f"Not assessed: left lung and right lung (this model has not learned them on such images). {COUNTED}"
    )


def test_without_anything_to_say_that_is_said() -> None:
    assert answer_text(asked(Intent.LOCATE), CT, [], [], []) == NOTHING
    pointed = dataclasses.replace(asked(Intent.LOCATE), pointed_at=("liver",))
    assert answer_text(pointed, CT, [LIVER], [], []).startswith("The description fits the liver. The liver is seen")


@pytest.mark.parametrize(
    ("text", "facts", "said"),
    [
        (
            "Is the spleen enlarged?",
            dataclasses.replace(SPLEEN, cut_off=True, confidence=0.9),
            "Whether the size of the spleen is as it should be is not judged, and no reference value is given: "
            "it reaches the edge of what was imaged.",
        ),
        (
            "Ist die Leber vergrößert?",
            LIVER,
            "Whether the size of the liver is as it should be is not judged, and no reference value is given: "
            "none is known for it.",
        ),
        ("Is the aorta dilated?", AORTA, "Whether the size of the aorta is as it should be is not judged."),
    ],
)
def test_a_size_is_not_judged_and_that_is_said(text: str, facts: FindingFacts, said: str) -> None:
    for intent in (Intent.SIZE, Intent.PRESENCE):  # "is there an enlarged spleen?" is not answered with yes either
        question = dataclasses.replace(asked(intent, facts.phrase), text=text)
        answer = answer_text(question, CT, [facts], [], [])
        assert said in answer and NOT_JUDGED not in answer and not answer.startswith("Yes")
        assert ("reference for adults: below 3.0 cm" in answer) == (facts is AORTA)
        assert agreeing_sentences(answer, CT, [facts], []) == answer
    how_big = answer_text(asked(Intent.SIZE, facts.phrase), CT, [facts], [], [])
    assert "judged" not in how_big


def test_a_tube_has_a_width_or_none_and_no_extents() -> None:
    young = dataclasses.replace(CT, context=dataclasses.replace(CT.context, age_years=None))
    wide = answer_text(asked(Intent.SIZE, "aorta"), young, [AORTA], [], [])
    assert "The aorta is at least 2.0 cm wide at the widest place." in wide
    assert agreeing_sentences(wide, young, [AORTA], []) == wide
    airways = dataclasses.replace(AORTA, phrase="airways", width_mm=None)
    none = answer_text(asked(Intent.SIZE, "airways"), CT, [airways], [], [])
    assert "No width of the airways is given: how far they reach is not how wide they are." in none
    assert agreeing_sentences(none, CT, [airways], []) == none


def test_what_is_too_unsure_is_not_measured_in_words() -> None:
    assert " ml" in answer_text(asked(Intent.SIZE, "liver"), CT, [dataclasses.replace(LIVER, confidence=0.5)], [], [])
    unsure = dataclasses.replace(LIVER, confidence=0.499)
    for intent in Intent:
        text = answer_text(asked(intent, "liver"), CT, [unsure, LEFT_KIDNEY], [], [])
        assert not re.search(r"1432|21\.0 cm|14\.0 cm", text)
        assert agreeing_sentences(text, CT, [unsure, LEFT_KIDNEY], []) == text
    assert "The liver is not measured: the confidence is below 0.5." in answer_text(
        asked(Intent.SIZE, "liver"), CT, [unsure], [], []
    )
    assert contradictions("The liver has 1432.1 ml.", CT, [unsure], [])
    assert "covering" not in answer_text(
        asked(Intent.LOCATE, "polyp"), PHOTO, [dataclasses.replace(POLYP, confidence=0.4)], [], []
    )


def test_a_short_volume_may_not_hold_what_is_not_seen_in_it() -> None:
    kidneys = ["kidney left", "kidney right"]
    short = dataclasses.replace(CT, values=CT.values[:8])
    said = "These 8 slices cover 4.0 cm: what is not seen may lie outside them."
    assert said in answer_text(asked(Intent.LOCATE, "kidneys"), short, [], kidneys, [])
    assert said not in answer_text(asked(Intent.LOCATE, "kidneys"), short, [LEFT_KIDNEY], [], [])
    assert "cover" not in answer_text(asked(Intent.LOCATE, "polyp"), short, [], ["polyp"], [])
    assert "cover" not in answer_text(asked(Intent.LOCATE, "kidneys"), CT, [], kidneys, [])
    section = dataclasses.replace(CT.context, kind=ImageKind.SECTION)
    single = dataclasses.replace(CT, values=CT.values[:1], context=section)
    assert "a single slice" in answer_text(asked(Intent.LOCATE, "kidneys"), single, [], kidneys, [])
    count = answer_text(asked(Intent.COUNT, "kidneys"), short, [], kidneys, [])
    assert NO_COUNT in count and said in count and not re.search(r"(?<!\.)\b0\b", count)


def test_what_is_marked_for_another_name_says_what_it_holds_besides() -> None:
    heart = Concept("heart", ConceptKind.STRUCTURE, ("cardiomediastinum",))
    shadow = dataclasses.replace(POLYP, phrase="cardiomediastinum")
    question = dataclasses.replace(asked(Intent.LOCATE), targets=(heart,))
    text = answer_text(question, PHOTO, [shadow], [], [])
    assert "The heart is marked together with the mediastinum, as cardiomediastinum." in text
    assert agreeing_sentences(text, PHOTO, [shadow], []) == text
    absent = answer_text(question, PHOTO, [], ["cardiomediastinum"], [])
    assert "The heart is looked for together with the mediastinum" in absent
    assert "together" not in answer_text(asked(Intent.LOCATE, "cardiomediastinum"), PHOTO, [shadow], [], [])


def test_an_example_in_a_reason_stays_a_question() -> None:
    reason = "it was not understood. Ask, for example: Where is the aorta?"
    text = answer_text(asked(Intent.LOCATE), CT, [], [], [NotAssessed("question", NotAssessedReason.LABEL, reason)])
    assert text == "Not assessed: question (it was not understood; Ask, for example: Where is the aorta?)."
