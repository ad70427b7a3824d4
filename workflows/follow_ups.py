"""Follow-ups: whether a question that goes on from another is asked, after what was marked before it. Pure.

A follow-up with a condition is asked when in doubt: what was marked with low confidence was seen, and a size that was
not measured, or is a lower bound only, does not stop it. What was not seen, or could not be assessed, stops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.results.codes import concept_for
from dicom_node.results.concept import SegmentedConcept
from dicom_node.results.finding import Finding, ReadAnswer
from dicom_node.results.measurement import MeasurementKind
from workflows.protocols.labels import is_of
from workflows.protocols.schema import OnlyIf, ProtocolQuestion

__all__ = ["not_asked", "why_not_asked"]


def not_asked(question: ProtocolQuestion, why: str) -> ReadAnswer:
    """What stands in the place of an answer to a question that is not asked."""
    return ReadAnswer(question.text, f"Not asked: {why}.", (), (), goes_on=True, not_asked=True)


def why_not_asked(question: ProtocolQuestion, before: Sequence[ReadAnswer]) -> str:
    """Why a question is not asked, in a clause; "" for one that is.

    `before`: the coded answers of its conversation, oldest first: whatever one of them has marked was seen, as each has
    only what those before it did not say.
    """
    if any(answer.not_asked for answer in before):
        return "the question that it goes on from was not asked"
    condition = question.only_if
    if condition is None:
        return ""
    concept = _concept(condition.finding, question)
    findings = [one for answer in before for one in answer.findings if _is_meant(one.concept, condition, concept)]
    if any(not _is_smaller(finding, condition) for finding in findings):
        return ""
    if findings:
        seen = f"the {condition.finding} was seen, no" if condition.finding else "nothing that was seen is"
        return f"{seen} larger than {' and '.join(_limits(condition))}"
    unassessed = any(
        not condition.finding
        or one.label.casefold() == condition.finding.casefold()
        or (one.concept is not None and _is_meant(one.concept, condition, concept))
        for answer in before
        for one in answer.not_assessed
    )
    what = f"the {condition.finding}" if condition.finding else "what it is about"
    return f"{what} was not {'assessed' if unassessed else 'seen'}"


def _concept(label: str, question: ProtocolQuestion) -> SegmentedConcept | None:
    """What a condition's label is coded as: one of the question's findings, else what the label is known as."""
    known = (finding for finding in question.findings if finding.label.casefold() == label.casefold())
    return next(known, None) or (concept_for(label) if label else None)


def _is_meant(marked: SegmentedConcept, condition: OnlyIf, concept: SegmentedConcept | None) -> bool:
    """Whether what was marked is what a condition names, a side of it or a part of it."""
    if not condition.finding or marked.label.casefold() == condition.finding.casefold():
        return True
    return concept is not None and is_of(marked, concept)


def _is_smaller(finding: Finding, condition: OnlyIf) -> bool:
    """Whether a finding was measured, and is not larger than a size of the condition."""
    limits = {MeasurementKind.LONG_AXIS: condition.larger_than_mm, MeasurementKind.VOLUME: condition.larger_than_ml}
    return any(
        not one.at_least and one.value <= limit
        for one in finding.measurements
        if (limit := limits.get(one.kind)) is not None
    )


def _limits(condition: OnlyIf) -> Iterator[str]:
    if condition.larger_than_mm is not None:
        yield f"{condition.larger_than_mm:g} mm"
    if condition.larger_than_ml is not None:
        yield f"{condition.larger_than_ml:g} ml"
