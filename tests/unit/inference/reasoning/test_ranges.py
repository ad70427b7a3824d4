"""Reference values stand beside a measurement only where it can bear them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from inference.card import Plane, Region
from inference.interface import ImageContext, SliceStack
from inference.reasoning.facts import FindingFacts
from inference.reasoning.ranges import compared, no_comparison, reference_sentence

ADULT = ImageContext(
    regions=frozenset({Region.ABDOMEN}), plane=Plane.AXIAL, calibrated=True, age_years=60.0, sex="F"
)  # fmt: skip
STACK = SliceStack(np.zeros((60, 4, 4), np.float32), "CT", (5.0, 1.0, 1.0), ADULT)
SPLEEN = FindingFacts("spleen", 0.9, (10, 40), 1000, 1, False, "left", 300.0, extents_mm=(60.0, 90.0, 142.0))
KIDNEY = FindingFacts("kidney left", 0.9, (10, 40), 1000, 1, False, "left", 150.0, length_mm=108.0)
AORTA = FindingFacts("aorta", 0.9, (0, 59), 1000, 1, True, "", 100.0, width_mm=30.0)


def on(**context: Any) -> SliceStack:
    return dataclasses.replace(STACK, context=dataclasses.replace(ADULT, **context))


def test_value_range_and_source_and_no_diagnosis() -> None:
    assert reference_sentence(STACK, SPLEEN) == (
        "The spleen is 14.2 cm long from head to feet; reference for adults: up to 13.0 cm "
        "(Lugano classification, J Clin Oncol 2014): a measurement, no diagnosis."
    )
    found = compared(STACK, SPLEEN)
    assert found is not None and not found.within
    assert "9.0 to 12.6 cm" in reference_sentence(STACK, KIDNEY)
    assert "9.2 to 12.8 cm" in reference_sentence(on(sex="M"), KIDNEY)


def test_a_vessel_may_run_out_of_the_images_but_not_over_their_borders() -> None:
    assert "3.0 cm wide at the widest place; reference for adults: below 3.0 cm" in reference_sentence(STACK, AORTA)
    found = compared(STACK, AORTA)
    assert found is not None and not found.within
    chest = compared(on(regions=frozenset({Region.CHEST})), AORTA)
    assert chest is not None and chest.within and chest.reference.high_mm == 40
    assert no_comparison(STACK, dataclasses.replace(AORTA, cut_in_plane=True)) != ""
    assert no_comparison(on(plane=Plane.CORONAL), AORTA) != ""
    assert "region" in no_comparison(on(regions=frozenset({Region.CHEST, Region.ABDOMEN})), AORTA)


@pytest.mark.parametrize(
    ("facts", "stack", "reason"),
    [
        (dataclasses.replace(SPLEEN, cut_off=True), STACK, "edge"),
        (dataclasses.replace(SPLEEN, confidence=0.69), STACK, "confidence"),
        (dataclasses.replace(SPLEEN, parts=2), STACK, "2 parts"),
        (dataclasses.replace(SPLEEN, extents_mm=None), STACK, "do not allow"),
        (dataclasses.replace(KIDNEY, label_side="left", measured_side="right"), STACK, "side"),
        (dataclasses.replace(SPLEEN, phrase="liver"), STACK, "no reference"),
        (SPLEEN, on(age_years=None), "age"),
        (SPLEEN, on(age_years=17.9), "adults"),
        (SPLEEN, on(calibrated=False), "spacing"),
        (SPLEEN, on(contradicted=True), "contradicts"),
        (KIDNEY, on(sex=""), "sex"),
        (SPLEEN, dataclasses.replace(STACK, spacing_mm=None), "spacing"),
    ],
)
def test_otherwise_nothing_is_said_and_the_reason_can_be_had(
    facts: FindingFacts, stack: SliceStack, reason: str
) -> None:
    assert reference_sentence(stack, facts) == ""
    assert reason in no_comparison(stack, facts)
