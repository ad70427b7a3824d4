"""What an answer says itself passes the check; what is untrue, or nothing was measured of, does not."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterator

import numpy as np
import pytest

from inference.interface import NotAssessed, NotAssessedReason
from inference.medseg_qa.knowledge import load_knowledge
from inference.reasoning.claims import agreeing_sentences, contradictions
from inference.reasoning.facts import FindingFacts
from inference.reasoning.names import label_side
from inference.reasoning.reading import sentences_of
from inference.reasoning.sentences import answer_text
from inference.understanding.question import Intent
from tests.unit.inference.reasoning.cases import AORTA, CT, LEFT_KIDNEY, LIVER, PHOTO, POLYP, SPLEEN, asked

FACTS = [LIVER, SPLEEN, LEFT_KIDNEY, AORTA]
ABSENT = ["gallbladder", "polyp"]

TRUE = """
The CT shows the liver and the spleen.
Liver and spleen are visible on this abdominal CT.
No polyp is seen.
The gallbladder is not visible.
There is no gallbladder and no polyp.
The liver measures 1432 ml.
The liver has a volume of 1.43 l.
The spleen lies on the left side.
The spleen is on the patient's left, next to the left kidney.
The left renal parenchyma is located below the spleen.
The liver is seen on slices 31-58 of 60.
The liver is marked; its mean of 61 HU is measured.
The aorta measures at least 115 ml.
The spleen (493.92 cc) is 3.24 times as large as the left kidney.
The computed tomography shows the hepatic parenchyma with a confidence of 91 %.
The left kidney is 11.2 cm long.
The spleen is seen, but the gallbladder is not seen.
Yes, the liver is seen.
"""

FALSE = """
The liver is part of the spleen.
The spleen is the liver.
The liver has the left kidney.
Liver: left kidney.
The parts of the liver are the spleen and the aorta.
The MRI shows the liver.
The chest radiograph shows the liver.
Ultrasound shows the spleen.
The T2-weighted image shows the liver.
The endoscopy shows the liver.
The liver is seen in the chest.
The brain is shown on the CT.
The pancreas is seen.
The right kidney is seen.
Both kidneys are seen.
The kidneys are visible.
The gallbladder is seen.
A polyp is present.
The liver is not seen.
No spleen is visible.
Neither liver nor spleen is seen.
The liver is absent.
Nothing is seen.
No. The gallbladder is seen.
The liver and the spleen are marked on the patient's left.
The liver and the spleen measure 493.9 ml.
The liver is seen in the spleen.
The spleen is seen on the liver.
The left kidney lies on the left of the spleen.
The spleen is within the liver.
No abnormality is seen.
The liver and the gallbladder are seen.
No liver and no polyp is seen.
No, the liver is seen.
Yes, no polyp is seen.
The liver lies on the left.
The spleen is on the patient's right.
The spleen is on the right side of the patient.
The aorta lies on the left.
The liver is in the left part of the image.
The liver is in the left half of the image.
The liver is below the right kidney.
The spleen lies above the liver.
The spleen lies inside the left kidney.
The liver measures 1500 ml.
The liver measures 143 ml.
The liver has 493.9 ml and the spleen 1432.1 ml.
The liver has a volume of 1432 l.
The aorta measures 115 ml.
The liver measures at least 1432 ml.
The spleen is 14.2 mm long from head to feet.
The spleen measures 8.4 cm from head to feet.
The left kidney is 12.2 cm long.
The spleen is 2.24 times as large as the left kidney.
The left kidney is 3.24 times as large as the spleen.
The liver is seen on slices 31 to 57.
The liver is seen on slices 31 to 58 of 61.
The liver is seen on slices 30 to 57 of 60.
The liver is seen with confidence 0.95.
The liver is seen with a confidence of 62 %.
The spleen is seen (very sure).
The liver has a mean of 40 HU.
The spleen is marked in 3 separate parts.
Two livers are seen.
The spleen covers 12 % of the image.
The liver is enlarged.
The liver is normal.
The liver is cirrhotic.
The liver shows a metastasis.
The spleen suggests lymphoma.
The liver is larger than the spleen.
The liver is bright.
There is a fracture.
The patient is 60 years old.
The liver is seen in 3 patients.
The spleen is 142.
Is the liver seen?
In general: the liver is the largest organ.
The spleen is 14.2 cm long; reference for adults: up to 15 cm (a book).
Not assessed: liver (the model does not know it).
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("sentence", lines(TRUE))
def test_what_was_measured_may_be_said(sentence: str) -> None:
    assert contradictions(sentence, CT, FACTS, ABSENT) == []


@pytest.mark.parametrize("sentence", lines(FALSE))
def test_what_was_not_measured_may_not(sentence: str) -> None:
    assert contradictions(sentence, CT, FACTS, ABSENT) != []


def test_a_text_keeps_the_sentences_that_agree() -> None:
    text = (
        "The CT shows the liver. It weighs 2 kg, e.g. Much. The spleen measures 493.9 ml. The spleen is on the right."
    )
    assert agreeing_sentences(text, CT, FACTS, ABSENT) == "The CT shows the liver. The spleen measures 493.9 ml."


def test_a_sentence_without_a_subject_is_of_the_only_finding() -> None:
    assert contradictions("It measures 1432.1 ml on the patient's right.", CT, [LIVER], []) == []
    assert contradictions("It measures 1432.1 ml.", CT, FACTS, []) != []
    assert contradictions("It lies on the left.", CT, [LIVER], []) != []


def test_on_a_photograph_places_are_those_of_the_picture() -> None:
    assert contradictions("A polyp is seen in the upper left part of the image.", PHOTO, [POLYP], []) == []
    assert contradictions("2 polyps are seen.", PHOTO, [POLYP], []) == []
    assert contradictions("A polyp is seen in the lower left part of the image.", PHOTO, [POLYP], []) != []
    assert contradictions("A polyp is seen on the left.", PHOTO, [POLYP], []) != []
    assert contradictions("3 polyps are seen.", PHOTO, [POLYP], []) != []
    assert contradictions("The polyp measures 8 mm.", PHOTO, [POLYP], []) != []


def any_facts(choice: random.Random, phrase: str, others: list[str], slices: int) -> FindingFacts:
    volume = slices > 1 and choice.random() < 0.8
    area = slices == 1 and choice.random() < 0.5
    size = 10 ** choice.uniform(-3, 3.5)
    near = choice.sample(others, min(len(others), choice.randrange(4)))
    first = choice.randrange(slices)
    named = label_side(phrase)
    lies = choice.choice(["", "left", "right", "middle"])
    disagree = {named, lies} == {"left", "right"}
    return FindingFacts(
        phrase,
        choice.random(),
        (first, choice.randrange(first, slices)),
        choice.randrange(1, 10000),
        choice.choice([1, 1, 2, 7]),
        choice.random() < 0.3,
        "" if disagree else named or lies.replace("middle", ""),
        size if volume else None,
        size if area else None,
        (size, 2 * size, size / 3) if volume and choice.random() < 0.6 else None,
        tuple(near),
        named,
        lies,
        tuple(choice.choice(["", "above", "behind", "inside", "to the left of", "in front of"]) for _ in near),
        size if area or choice.random() < 0.5 else None,
        size if choice.random() < 0.5 else None,
        False,
        choice.random() ** 6,
        choice.choice(["upper left part", "central part", "lower middle part"]) if slices == 1 else "",
        choice.uniform(-1000, 1000),
    )


@pytest.mark.parametrize("seed", range(15))
def test_every_sentence_of_an_answer_passes_and_none_with_another_number_side_or_negation(seed: int) -> None:
    choice = random.Random(seed)
    known = [*load_knowledge().labels, "breast tumour", "lung_upper_lobe_left", "vertebrae L3"]
    slices = choice.choice([1, 1, 60])
    values = np.zeros((slices, 4, 4), np.float32)
    stack = dataclasses.replace(CT, values=values, modality=choice.choice(["CT", "MR", "DX", "ES"]))
    labels = choice.sample(known, 12)
    seen = labels[: choice.randrange(1, 9)]
    facts = [any_facts(choice, label, [other for other in seen if other != label], slices) for label in seen]
    absent = labels[9 : 9 + choice.randrange(3)]
    why = NotAssessed("brain tumour", choice.choice(list(NotAssessedReason)), "it was not learned. See the card.")
    refused = [why] * choice.randrange(2)
    for intent in Intent:
        question = asked(intent, *seen, side=choice.choice(["", "left"]), negated=choice.random() < 0.3)
        text = answer_text(question, stack, facts, absent, refused)
        for sentence in sentences_of(text):
            assert contradictions(sentence, stack, facts, absent, refused) == [], sentence
            if not sentence.startswith("In general"):
                for lie in lies(sentence):
                    assert contradictions(lie, stack, facts, absent, refused) != [], lie


def lies(sentence: str) -> Iterator[str]:
    """A sentence with one number, one side or its negation changed."""
    for match in re.finditer(r"\d+(?:\.\d+)?", sentence):
        yield f"{sentence[: match.start()]}{float(match[0]) * 1.5 + 1:.3g}{sentence[match.end() :]}"
    for side, other in (("left", "right"), ("right", "left")):
        for match in re.finditer(rf"patient's {side}", sentence):
            yield f"{sentence[: match.start()]}patient's {other}{sentence[match.end() :]}"
    if " seen" in sentence and "not seen" not in sentence and "No " not in sentence:
        yield sentence.replace(" seen", " not seen", 1)
    if sentence.startswith("Not seen:"):
        yield sentence.replace("Not seen:", "Seen:")
