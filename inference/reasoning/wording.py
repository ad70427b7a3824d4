"""Numbers, places and certainty in words; what `claims.py` reads back."""

from __future__ import annotations

from collections.abc import Sequence

from inference.interface import LOW_CONFIDENCE, SliceStack
from inference.reasoning.facts import FindingFacts
from inference.reasoning.names import joined, name_of
from inference.reasoning.neighbours import INSIDE

__all__ = [
    "UNSURE_BELOW", "capital", "certainty", "confidence_text", "extent_text", "inside", "least_text", "length_text",
    "place_text", "rounded", "side_text", "size_of", "size_text", "slices_text", "sureness",
]  # fmt: skip

UNSURE_BELOW = LOW_CONFIDENCE
_SURENESS = ((0.9, "very sure"), (0.75, "sure"), (UNSURE_BELOW, "fairly sure"), (0.25, "unsure"), (0.0, "very unsure"))
_MOST_NEIGHBOURS = 3


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:]


def rounded(value: float) -> str:
    """One decimal; below 1 two significant digits, so that nothing but zero is ever 0: as reports round."""
    if value == 0:
        return "0"
    if abs(value) >= 1:
        return f"{value:.1f}"
    two_digits = f"{value:.1e}"
    exponent = int(two_digits.partition("e")[2])
    return f"{float(two_digits):.{max(1, 1 - exponent)}f}"


def length_text(size_mm: float) -> str:
    """ "14.2 cm", below 10 mm "8.3 mm"."""
    return f"{rounded(size_mm / 10)} cm" if size_mm >= 10 else f"{rounded(size_mm)} mm"


def sureness(confidence: float) -> str:
    """A confidence in words, from "very sure" to "very unsure"."""
    return next(words for least, words in _SURENESS if confidence >= least)


def confidence_text(facts: FindingFacts) -> str:
    """ "confidence 0.83 (sure)"; what is unsure, or on another side than its name says, is to be checked."""
    if facts.side_in_doubt:
        return f"confidence {facts.confidence:.2f}, in doubt because of its side"
    check = ", to be checked by eye" if facts.confidence < UNSURE_BELOW else ""
    return f"confidence {facts.confidence:.2f} ({sureness(facts.confidence)}{check})"


def certainty(facts: FindingFacts) -> str:
    """The confidence as a bare number with its word."""
    return f"confidence {facts.confidence:.2f}"


def least_text(facts: FindingFacts) -> str:
    """ "at least " of what is cut off."""
    return "at least " if facts.cut_off else ""


def size_text(facts: FindingFacts, *, short: bool = False) -> str:
    """The size that the images allow, "at least" where it is cut off: ml, mm², or the share of the picture.

    Empty where the confidence is too low to measure.
    """
    if not facts.measured:
        return ""
    least = least_text(facts)
    if facts.volume_ml is not None:
        return f"{least}{rounded(facts.volume_ml)} ml" if short else f"volume {least}{rounded(facts.volume_ml)} ml"
    if facts.area_mm2 is not None:
        return f"{least}{rounded(facts.area_mm2)} mm²" if short else f"area {least}{rounded(facts.area_mm2)} mm²"
    share = 100 * facts.image_share
    covered = "less than 0.1 %" if share < 0.1 else f"{share:.1f} %"
    return f"{covered} of the image" if short else f"covering {covered} of the image"


def size_of(facts: FindingFacts) -> tuple[float, str]:
    """The size that two findings are compared by, and its unit."""
    if facts.volume_ml is not None:
        return facts.volume_ml, "ml"
    if facts.area_mm2 is not None:
        return facts.area_mm2, "mm²"
    return facts.image_share, "%"


def extent_text(facts: FindingFacts) -> str:
    """The sizes in the patient's directions, or the longest line of a single image; empty where not known."""
    least = least_text(facts)
    if not facts.measured:
        return ""
    if facts.extents_mm is not None:
        right_left, front_back, head_feet = (length_text(size) for size in facts.extents_mm)
        return f"{least}{head_feet} from head to feet, {right_left} from right to left, {front_back} from front to back"
    if facts.length_mm is not None and facts.area_mm2 is not None:
        return f"longest line {least}{length_text(facts.length_mm)}"
    return ""


def slices_text(stack: SliceStack, facts: FindingFacts, *, short: bool = False) -> str:
    """ "on slices 12 to 31 of 60", counted from 1; empty for a single image."""
    if len(stack.values) == 1:
        return ""
    first, last = facts.slices[0] + 1, facts.slices[1] + 1
    span = f"slice {first}" if first == last else f"slices {first} to {last}"
    return span if short else f"on {span} of {len(stack.values)}"


def side_text(facts: FindingFacts) -> str:
    """ "on the patient's left"; empty where the side is not told."""
    return f"on the patient's {facts.side}" if facts.side else ""


def place_text(stack: SliceStack, facts: FindingFacts) -> str:
    """Slices, part of the picture, side and neighbours, as far as they are known."""
    zone = f"in the {facts.zone} of the image" if facts.zone else ""
    where = [slices_text(stack, facts), zone, side_text(facts), *_beside(facts)]
    return ", ".join(filter(None, where))


def inside(facts: FindingFacts) -> list[str]:
    """Phrases of what a finding lies inside of."""
    places = facts.places or ("",) * len(facts.neighbours)
    return [phrase for phrase, place in zip(facts.neighbours, places, strict=True) if place == INSIDE]


def _beside(facts: FindingFacts) -> Sequence[str]:
    """ "below the liver", "next to the spleen and the stomach", nearest first."""
    places: dict[str, list[str]] = {}
    near = list(zip(facts.neighbours, facts.places or ("",) * len(facts.neighbours), strict=True))
    for phrase, place in near[:_MOST_NEIGHBOURS]:
        places.setdefault(place or "next to", []).append(name_of(phrase).definite)
    return [f"{place} {joined(names)}" for place, names in places.items()]
