from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.card import ImageKind, LearnedLabel, ModelCard, Plane, Region
from inference.gate import likeness_factor, not_assessed
from inference.interface import Alike, ImageContext, NotAssessedReason, SliceStack
from tests.unit.inference.fake_model import CARD, stack

CARDS = replace(
    CARD,
    labels=(
        *CARD.labels,
        LearnedLabel("left lung", "DX", ImageKind.PROJECTION, frozenset({Region.CHEST}), frozenset(), 70),
        LearnedLabel("polyp", "ES", ImageKind.PHOTOGRAPH, frozenset({Region.BOWEL}), frozenset(), 600),
    ),
)


def why(
    label: str,
    modality: str = "CT",
    *,
    likeness: Alike = None,
    card: ModelCard = CARDS,
    of: SliceStack | None = None,
    **context: object,
) -> NotAssessedReason | None:
    asked = replace(of or stack(modality), context=ImageContext(**context))  # type: ignore[arg-type]
    refused = not_assessed(label, asked, card, likeness)
    assert refused is None or (refused.phrase == label and not refused.reason.endswith("."))
    return None if refused is None else refused.why


def test_what_headers_do_not_say_is_no_ground_for_refusal() -> None:
    assert why("liver") is None
    assert why("liver", regions=frozenset({Region.ABDOMEN, Region.PELVIS}), plane=Plane.AXIAL) is None
    assert why("left lung", "CR", kind=ImageKind.PROJECTION) is None, "computed radiography is radiography"


@pytest.mark.parametrize(
    ("label", "modality", "context", "reason"),
    [
        ("brain tumour", "CT", {}, NotAssessedReason.LABEL),
        ("liver", "MR", {}, NotAssessedReason.MODALITY),
        ("polyp", "OPT", {}, NotAssessedReason.MODALITY),
        ("liver", "SC", {}, NotAssessedReason.MODALITY),
        ("liver", "CT", {"kind": ImageKind.PROJECTION}, NotAssessedReason.MODALITY),
        ("liver", "CT", {"regions": frozenset({Region.HEAD})}, NotAssessedReason.REGION),
        ("liver", "CT", {"regions": frozenset({Region.ABDOMEN}), "contradicted": True}, NotAssessedReason.REGION),
        ("liver", "CT", {"plane": Plane.CORONAL}, NotAssessedReason.PLANE),
    ],
)
def test_headers_against_the_card(
    label: str, modality: str, context: dict[str, object], reason: NotAssessedReason
) -> None:
    assert why(label, modality, **context) is reason
    assert why(label, modality, likeness=1.0, **context) is reason, "likeness does not open what the card shuts"


def test_body_part_examined_alone_refuses_what_does_not_look_known() -> None:
    head = {"perhaps_of": frozenset({Region.HEAD})}
    assert [why("liver", likeness=alike, **head) for alike in (None, 0.09, 0.1)] == [
        NotAssessedReason.REGION, NotAssessedReason.REGION, None,
    ]  # fmt: skip
    assert why("liver", perhaps_of=frozenset({Region.ABDOMEN})) is None
    assert why("brain tumour", **head) is NotAssessedReason.LABEL


def test_likeness_below_the_first_limit_refuses_and_below_the_second_lowers() -> None:
    assert why("liver", likeness=0.019) is NotAssessedReason.UNLIKE
    assert why("liver", likeness=0.02) is None
    assert why("liver", likeness=0.0, card=replace(CARDS, likeness_limits=None)) is None
    by_label = {"liver": 0.01, "spleen": 0.5}
    assert why("liver", likeness=by_label) is NotAssessedReason.UNLIKE and why("spleen", likeness=by_label) is None
    assert likeness_factor(CARDS, by_label, "spleen") == 1.0
    factors = [likeness_factor(CARDS, likeness, "liver") for likeness in (0.02, 0.06, 0.1, 1.0, None)]
    assert factors == pytest.approx([0.5, 0.75, 1.0, 1.0, 1.0])


def test_colour_where_grey_was_learned() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    coloured = grey.copy()
    coloured[..., 2] = 255 - coloured[..., 2]
    marked = grey.copy()
    marked[:, 0, :2] = (255, 255, 0)  # a letter in a corner
    assert why("liver", of=SliceStack(grey, "CT", None)) is None, "three equal channels are grey"
    assert why("liver", of=SliceStack(marked, "CT", None)) is None
    assert why("liver", of=SliceStack(coloured, "CT", None)) is NotAssessedReason.MODALITY
    assert why("polyp", of=SliceStack(coloured, "ES", None)) is None


def test_a_model_that_takes_any_label_keeps_to_the_modalities_of_its_card() -> None:
    card = replace(CARDS, open_set=True)
    assert why("appendix", "CT", card=card) is None
    assert why("appendix", "US", card=card) is NotAssessedReason.MODALITY
