"""Measured findings that the tests of words share."""

from __future__ import annotations

import numpy as np

from inference.card import Plane, Region
from inference.interface import ImageContext, NotAssessed, NotAssessedReason, SliceStack
from inference.reasoning.facts import FindingFacts
from inference.understanding.question import Concept, ConceptKind, Intent, Language, UnderstoodQuestion

CONTEXT = ImageContext(
    regions=frozenset({Region.ABDOMEN}), plane=Plane.AXIAL, calibrated=True, age_years=60.0, sex="M"
)  # fmt: skip
CT = SliceStack(np.zeros((60, 4, 4), np.float32), "CT", (5.0, 1.0, 1.0), CONTEXT)
PHOTO = SliceStack(np.zeros((1, 4, 4, 3), np.uint8), "ES", None)

LIVER = FindingFacts(
    "liver", 0.91, (30, 57), 9000, 1, False, "right", 1432.14, extents_mm=(210.0, 150.0, 140.0),
    neighbours=("kidney right",), places=("above",), measured_side="right", image_share=0.12, mean_hu=61.3,
)  # fmt: skip
SPLEEN = FindingFacts(
    "spleen", 0.62, (28, 55), 5000, 2, False, "left", 493.92, extents_mm=(42.0, 84.0, 142.0),
    neighbours=("kidney left",), places=("",), measured_side="left", image_share=0.03, mean_hu=-12.0,
)  # fmt: skip
LEFT_KIDNEY = FindingFacts(
    "kidney left", 0.83, (10, 29), 2000, 1, False, "left", 152.3, neighbours=("spleen",), places=("below",),
    label_side="left", measured_side="left", length_mm=112.0, image_share=0.018,
)  # fmt: skip
RIGHT_KIDNEY = FindingFacts(
    "kidney right", 0.45, (8, 28), 1700, 1, False, "right", 127.1, neighbours=("liver",), places=("below",),
    label_side="right", measured_side="right", length_mm=104.0, image_share=0.014,
)  # fmt: skip
AORTA = FindingFacts("aorta", 0.95, (0, 59), 900, 1, True, "", 115.25, measured_side="middle", width_mm=19.6)
POLYP = FindingFacts("polyp", 0.83, (0, 0), 9, 2, False, image_share=0.0321, zone="upper left part")
UNKNOWN_TO_IT = NotAssessed("brain tumour", NotAssessedReason.LABEL, "this model has not learned to find it")


def asked(intent: Intent, *labels: str, side: str = "", negated: bool = False) -> UnderstoodQuestion:
    concepts = tuple(Concept(label, ConceptKind.STRUCTURE, (label,)) for label in labels)
    return UnderstoodQuestion("?", Language.ENGLISH, intent, concepts, side=side, negated=negated)
