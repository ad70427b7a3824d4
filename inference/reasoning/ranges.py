"""Reference values beside a measurement: only where the measurement can bear it, and never as a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass

from inference.card import Plane
from inference.interface import SliceStack
from inference.reasoning.facts import FindingFacts
from inference.reasoning.names import name_of
from inference.reasoning.references import Measure, Reference, references_of

__all__ = ["LEAST_CONFIDENCE", "Compared", "compared", "no_comparison", "reference_sentence"]

LEAST_CONFIDENCE = 0.7
_ADULT_YEARS = 18


@dataclass(frozen=True)
class Compared:
    """A measurement and the reference value that it may stand beside."""

    reference: Reference
    size_mm: float

    @property
    def within(self) -> bool:
        """Whether the measurement lies within the reference range."""
        return self.reference.includes(self.size_mm)


def compared(stack: SliceStack, facts: FindingFacts) -> Compared | None:
    """Return the reference value of a finding; None where there is none or the measurement cannot bear it."""
    found = _compared(stack, facts)
    return found if isinstance(found, Compared) else None


def no_comparison(stack: SliceStack, facts: FindingFacts) -> str:
    """Return why a finding is not compared with a reference value, for somebody who looks for the cause; else empty."""
    found = _compared(stack, facts)
    return found if isinstance(found, str) else ""


def reference_sentence(stack: SliceStack, facts: FindingFacts) -> str:
    """Return value, range and source in a sentence that claims no diagnosis; empty where they may not be compared."""
    found = compared(stack, facts)
    if found is None:
        return ""
    name = name_of(facts.phrase)
    size, measure = f"{found.size_mm / 10:.1f} cm", found.reference.measure
    said = {
        Measure.VERTICAL: f"{name.verb} {size} long from head to feet",
        Measure.LENGTH: f"{name.verb} {size} long",
        Measure.WIDTH: f"{name.verb} {size} wide at the widest place",
    }[measure]
    sexes = {"M": "men", "F": "women", "": "adults"}[found.reference.sex]
    return (
        f"The {name.text} {said}; reference for {sexes}: {found.reference.text} ({found.reference.source}): "
        "a measurement, no diagnosis."
    )


def _compared(stack: SliceStack, facts: FindingFacts) -> Compared | str:
    candidates = references_of(facts.phrase)
    if not candidates:
        return "no reference value is known for it"
    context = stack.context
    for holds, reason in (
        (context.calibrated and stack.spacing_mm is not None, "the spacing is not known to hold in the patient"),
        (context.age_years is not None, "the patient's age is not known"),
        ((context.age_years or 0) >= _ADULT_YEARS, "the reference values are of adults"),
        (facts.confidence >= LEAST_CONFIDENCE, f"the confidence is below {LEAST_CONFIDENCE}"),
        (not facts.side_in_doubt, "its side is in doubt"),
        (not context.contradicted, "the header contradicts itself about the region"),
    ):
        if not holds:
            return reason
    fitting = [reference for reference in candidates if reference.sex in ("", context.sex)]
    if not fitting:
        return "the reference values differ by sex, which is not known"
    fitting = [entry for entry in fitting if not entry.level or (context.regions and context.regions <= entry.level)]
    if not fitting:
        return "the reference values differ by region, and the images are not known to show one of them alone"
    return _measured(stack, facts, fitting[0])


def _measured(stack: SliceStack, facts: FindingFacts, reference: Reference) -> Compared | str:
    """The size that a reference value is about. A vessel runs on beyond the images; only its width must lie inside."""
    size: float | None
    match reference.measure:
        case Measure.VERTICAL:
            size, cut = (None if facts.extents_mm is None else facts.extents_mm[2]), facts.cut_off
        case Measure.LENGTH:
            size, cut = facts.length_mm, facts.cut_off
        case Measure.WIDTH:
            if stack.context.plane is not Plane.AXIAL:
                return "a vessel's width is measured in axial slices only"
            size, cut = facts.width_mm, facts.cut_in_plane
    if len(stack.values) == 1 or size is None:
        return "the images do not allow the measurement"
    if cut:
        return "it reaches the edge of what was imaged"
    if reference.measure is not Measure.WIDTH and facts.parts > 1:
        return f"its mask is in {facts.parts} parts"
    return Compared(reference, size)
