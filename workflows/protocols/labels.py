"""Labels: a question's findings by the names that models have for them, and which concepts stand for which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from dicom_node.results import codes
from dicom_node.results.codes import LABELS, concept_for
from dicom_node.results.concept import Code, SegmentedConcept
from inference.medseg_qa.labels import LABELS as LEARNED

__all__ = ["is_of", "is_side_or_part", "labels_of", "same_but_for_side", "same_code"]


def labels_of(findings: Iterable[SegmentedConcept]) -> tuple[str, ...]:
    """What a model is to look for, by the names of its data sets: "kidney" is both kidneys."""
    return tuple(dict.fromkeys(label for finding in findings for label in _labels_of(finding)))


def _labels_of(finding: SegmentedConcept) -> Iterator[str]:
    if finding.label in LABELS:
        yield _learned_names().get(finding.label, finding.label)
        return
    same = [label for label, concept in LABELS.items() if is_side_or_part(concept, finding)]
    yield from (_learned_names().get(label, label) for label in same or [finding.label])


def is_of(concept: SegmentedConcept, finding: SegmentedConcept) -> bool:
    """Whether a concept is a finding, a side of one without a side, or a part of it."""
    return concept == finding or is_side_or_part(concept, finding)


def is_side_or_part(concept: SegmentedConcept, finding: SegmentedConcept) -> bool:
    """Whether a concept is a side of a finding without one, or a part of it."""
    if finding.laterality is not None:
        return same_but_for_side(finding, concept) and same_code(finding.laterality, concept.laterality)
    part = concept.category == finding.category == codes.ANATOMY and same_code(concept.site, finding.type)
    return same_but_for_side(finding, concept) or part


@cache
def _learned_names() -> dict[str, str]:
    """The data sets' own name of each of our labels."""
    known = ((concept_for(label), label) for label in LEARNED)
    return {concept.label: label for concept, label in known if concept is not None}


def same_but_for_side(first: SegmentedConcept, second: SegmentedConcept) -> bool:
    pairs = (first.category, second.category), (first.type, second.type), (first.site, second.site)
    return all(same_code(*pair) for pair in pairs)


def same_code(first: Code | None, second: Code | None) -> bool:
    """Code's own comparison knows SRT's codes for SCT's, and fails on None."""
    return first is second if first is None or second is None else bool(first == second)
