"""Every fault that a conversation may have is found, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.medseg_qa.checks import Fault, check_turn, repaired_answer
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.measure import measured_target
from inference.medseg_qa.records import QuestionKind, Split, Turn

MASK = np.zeros((100, 100), dtype=np.bool_)
MASK[10:30, 10:40] = True
TARGET = measured_target("liver", "liver", "10200004", "masks/liver.png", MASK, (1.0, 1.0))
FACTS = ImageFacts(
    "a", Split.TEST, "btcv", "CT", (100, 100), (1.0, 1.0), "radiological", "", (TARGET,), ("spleen",)
)  # fmt: skip
GOOD = "The <p> liver </p> [SEG] covers 600 mm2, 6.0 % of the image, on the patient's right (left half of the image)."
TURN = Turn("Segment the liver.", GOOD, QuestionKind.EXPLICIT, ("liver",), (0,), (), "w")
ABSENT = Turn("Segment the spleen.", "No spleen is visible.", QuestionKind.EXPLICIT, ("spleen",), (), ("spleen",), "w")


@pytest.mark.parametrize("turn", [TURN, ABSENT])
def test_sound_turns_pass(turn: Turn) -> None:
    assert check_turn(turn, FACTS, load_knowledge().labels) == ()


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        (replace(TURN, answer="The <p> liver </p> is here."), Fault.GRAMMAR),
        (replace(TURN, answer="The liver [SEG]."), Fault.GRAMMAR),
        (replace(TURN, question="Where is <p> liver </p> [SEG]?"), Fault.GRAMMAR),
        (replace(TURN, targets=()), Fault.MASK_COUNT),
        (replace(TURN, targets=(0, 0)), Fault.MASK_COUNT),
        (replace(TURN, targets=(1,)), Fault.MASK_COUNT),
        (replace(TURN, answer="The <p> spleen </p> [SEG]."), Fault.WRONG_PHRASE),
        (replace(TURN, answer="The <p> liver </p> [SEG] in the right half of the image."), Fault.WRONG_SIDE),
        (replace(TURN, answer="The <p> liver </p> [SEG] on the patient's left."), Fault.WRONG_SIDE),
        (replace(TURN, answer="The <p> liver </p> [SEG] covers 900 mm2."), Fault.WRONG_SIZE),
        (replace(TURN, answer="The <p> liver </p> [SEG] is 55 mm long."), Fault.WRONG_SIZE),
        (replace(TURN, answer="The <p> liver </p> [SEG] covers 12 % of the image."), Fault.WRONG_SIZE),
        (replace(TURN, absent=("liver",)), Fault.WRONG_PRESENCE),
        (replace(ABSENT, asked=("liver",), absent=()), Fault.WRONG_PRESENCE),
        (replace(ABSENT, answer="The spleen is normal."), Fault.WRONG_PRESENCE),
        (replace(TURN, question="Segment the liver of Mr. Smith."), Fault.PATIENT_DATA),
        (replace(TURN, question="Segment the liver, study of 12.03.2021."), Fault.PATIENT_DATA),
        (replace(TURN, question="Segment the liver, MRN 12."), Fault.PATIENT_DATA),
        (replace(TURN, question=" "), Fault.EMPTY_TEXT),
    ],
)
def test_faults_are_found(turn: Turn, fault: Fault) -> None:
    assert fault in check_turn(turn, FACTS, load_knowledge().labels)


def test_a_size_in_mm_needs_a_spacing() -> None:
    facts = replace(FACTS, spacing_mm=None)
    assert Fault.WRONG_SIZE in check_turn(TURN, facts, load_knowledge().labels)


def test_tags_that_differ_in_case_and_spaces_are_repaired() -> None:
    assert repaired_answer("The <P>liver</P>[seg]  here") == "The <p> liver </p> [SEG] here"
