"""What a fake predictor has to say of what it did not mark, as one that was made of weights would."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.results.codes import concept_for, concepts_in
from inference.interface import Question, SeenTarget

__all__ = ["unseen"]


def unseen(question: Question, targets: Sequence[SeenTarget]) -> tuple[str, ...]:
    """The labels that a question asks for and no target names: those that it has, else those that its text holds."""
    asked = question.labels or tuple(concept.label for concept in concepts_in(question.text))
    marked = {concept_for(target.phrase) for target in targets}
    return tuple(label for label in asked if concept_for(label) not in marked)
