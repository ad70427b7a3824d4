"""Numbers in a clause, against what was measured: each must be a measurement of what the clause is about, rounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from inference.interface import SliceStack
from inference.reasoning.facts import FindingFacts
from inference.reasoning.reading import Clause, Mention
from inference.reasoning.wording import UNSURE_BELOW, size_of, sureness

__all__ = ["FactsAt", "holds", "number_contradictions", "unmeasured"]

_N = r"(?<![\w.])(-?\d+(?:\.\d+)?)"
_LEAST = r"(?:(at least) )?"
_SLICES = re.compile(r"\bslices? (\d+)(?:(?: to| and)? (\d+))?(?: of (\d+))?\b")
_RATIO = re.compile(rf"{_N} times as large as (?:the )?(?=(_+))")
_CONFIDENCE = re.compile(r"\bconfidence (?:of |is )?(\d+(?:\.\d+)?)(?: (%))?")
_SURE = re.compile(r"\b(very sure|fairly sure|very unsure|unsure|sure)\b")
_DOUBT = re.compile(r"\bin doubt because of its side\b")
_PARTS = re.compile(r"(?<![\w.])(\d+) (?:separate|connected) parts?\b")
_COUNT = re.compile(r"(?:^|(?<=\())(\d+) (?:are|is) seen\b")
_COUNTED = re.compile(r"(?<![\w.])(\d+) (?=(_+))")
_DIRECTION = re.compile(rf"{_LEAST}{_N} (mm|cm) (?:long )?from (head to feet|right to left|front to back)\b")
_LONG = re.compile(rf"\blongest line {_LEAST}{_N} (mm|cm)\b|{_LEAST}{_N} (mm|cm) (long)\b")
_WIDE = re.compile(rf"{_LEAST}{_N} (mm|cm) wide at the widest place\b")
_TINY = re.compile(r"\bless than 0\.1 % of the (?:image|picture)\b")
_SHARE = re.compile(rf"{_LEAST}{_N} % of the (?:image|picture)\b")
_SIZE = re.compile(rf"{_LEAST}{_N} (ml|cc|cm³|l|litres?|liters?|mm²|cm²|mm|cm)(?!\w)")
_HU = re.compile(rf"(?:mean (?:of )?)?{_N} hu\b")
_AXES = {"right to left": 0, "front to back": 1, "head to feet": 2}
_PER_UNIT = {"cm": 10.0, "mm": 1.0, "ml": 1.0, "cc": 1.0, "cm³": 1.0, "l": 1000.0, "mm²": 1.0, "cm²": 100.0}
_LITRES = ("litre", "litres", "liter", "liters")

FactsAt = Callable[[int], list[FindingFacts]]


def number_contradictions(
    clause: Clause,
    named: Sequence[Mention],
    facts_at: FactsAt,
    seen: Mapping[str, Sequence[FindingFacts]],
    stack: SliceStack,
) -> Iterator[str]:
    """Cross out every number that is understood, and yield those that were not measured.

    `named`: what the clause is about; `facts_at`: what something at a place of the clause is about.
    """
    yield from unmeasured(clause, _SLICES, facts_at, lambda finding, match: _slices_agree(finding, match, stack))
    yield from _counts(clause, named, facts_at, seen)
    yield from _certainty(clause, facts_at)
    yield from _sizes(clause, facts_at)


def holds(facts: Sequence[FindingFacts], agrees: Callable[[FindingFacts], bool]) -> bool:
    """Whether something is so for every thing that is meant: of several findings of one name, for one of them."""
    names = {finding.phrase for finding in facts}
    return bool(facts) and all(any(agrees(f) for f in facts if f.phrase == name) for name in names)


def unmeasured(
    clause: Clause,
    pattern: re.Pattern[str],
    facts_at: FactsAt,
    agrees: Callable[[FindingFacts, re.Match[str]], bool],
) -> Iterator[str]:
    """Cross out every match of a pattern, and yield those that what they are about does not agree with."""
    for match in clause.take(pattern):
        if not holds(facts_at(match.start()), _of(agrees, match)):
            yield f"says {match[0].strip()!r}, which was not measured"


def _of(agrees: Callable[[FindingFacts, re.Match[str]], bool], match: re.Match[str]) -> Callable[[FindingFacts], bool]:
    return lambda finding: agrees(finding, match)


def _slices_agree(finding: FindingFacts, match: re.Match[str], stack: SliceStack) -> bool:
    first, last = int(match[1]), int(match[2] or match[1])
    whole = match[3] is None or int(match[3]) == len(stack.values)
    return whole and (first - 1, last - 1) == finding.slices


def _counts(
    clause: Clause, named: Sequence[Mention], facts_at: FactsAt, seen: Mapping[str, Sequence[FindingFacts]]
) -> Iterator[str]:
    for match in clause.take(_RATIO):
        other = [mention for mention in clause.mentions if mention.start == match.end()]
        smaller = [finding for mention in other for text in mention.meanings for finding in seen.get(text, ())]
        of = facts_at(match.start())
        if len(of) != 1 or len(smaller) != 1 or not _ratio_agrees(of[0], smaller[0], match[1]):
            yield f"says {match[0]!r}, which was not measured"
    yield from unmeasured(clause, _PARTS, facts_at, lambda finding, match: finding.parts == int(match[1]))
    for match in clause.take(_COUNT):
        meant = {text for mention in named for text in mention.meanings} & seen.keys()
        if int(match[1]) != sum(len(seen[text]) for text in meant):
            yield f"says that {match[1]} are seen, which was not measured"
    for match in clause.take(_COUNTED):
        for mention in clause.mentions:
            if mention.start != match.end():
                continue
            of = [finding for text in mention.meanings for finding in seen.get(text, ())]
            counted = len(of) if len(mention.meanings) > 1 else sum(finding.parts for finding in of)
            if counted != int(match[1]):
                yield f"says {match[1]} {mention.name}, which was not measured"


def _ratio_agrees(larger: FindingFacts, smaller: FindingFacts, claimed: str) -> bool:
    (most, unit), (least, other_unit) = size_of(larger), size_of(smaller)
    whole = not larger.cut_off and not smaller.cut_off and larger.measured and smaller.measured
    return whole and unit == other_unit and least > 0 and _equal(claimed, most / least)


def _certainty(clause: Clause, facts_at: FactsAt) -> Iterator[str]:
    yield from unmeasured(
        clause,
        _CONFIDENCE,
        facts_at,
        lambda finding, match: _equal(match[1], finding.confidence * (100 if match[2] else 1)),
    )
    for match in clause.take(_SURE):
        # "Unsure: the liver and the spleen" speaks of all that follows, "the liver (unsure)" of what it stands after.
        heads = bool(clause.mentions) and not clause.before(match.start())
        of = facts_at(match.start()) if not heads else [f for m in clause.mentions for f in facts_at(m.end)]
        if not holds(of, partial(_sure_agrees, words=match[1], heads=heads)):
            yield f"says {match[0]!r}, which is not the confidence"
    yield from unmeasured(clause, _DOUBT, facts_at, lambda finding, match: finding.side_in_doubt)


def _sure_agrees(finding: FindingFacts, words: str, heads: bool) -> bool:
    unsure = finding.confidence < UNSURE_BELOW
    return sureness(finding.confidence) == words or (heads and words == "unsure" and unsure)


def _sizes(clause: Clause, facts_at: FactsAt) -> Iterator[str]:
    least = "at least" in clause.text
    for match in clause.take(_DIRECTION):
        yield from _size(match, match[2], match[3], least, facts_at, partial(_extent, axis=_AXES[match[4]]))
    for match in clause.take(_WIDE):
        yield from _size(match, match[2], match[3], least, facts_at, lambda finding: (finding.width_mm,))
    for match in clause.take(_LONG):
        claimed, unit = match[2] or match[5], match[3] or match[6]
        yield from _size(match, claimed, unit, least, facts_at, lambda finding: (finding.length_mm,))
    yield from unmeasured(clause, _TINY, facts_at, lambda f, match: f.measured and f.image_share < 0.001)
    yield from unmeasured(
        clause, _SHARE, facts_at, lambda f, match: f.measured and _equal(match[2], 100 * f.image_share)
    )
    yield from unmeasured(clause, _HU, facts_at, lambda f, match: f.mean_hu is not None and _equal(match[1], f.mean_hu))
    for match in clause.take(_SIZE):
        unit = "l" if match[3] in _LITRES else match[3]
        yield from _size(match, match[2], unit, bool(match[1]), facts_at, partial(_in_unit, unit=unit))


def _extent(finding: FindingFacts, axis: int) -> tuple[float, ...]:
    return (finding.extents_mm or ())[axis : axis + 1]


def _in_unit(finding: FindingFacts, unit: str) -> tuple[float | None, ...]:
    """Every size of a finding that may be told in a unit."""
    match unit:
        case "mm" | "cm":
            return (*(finding.extents_mm or ()), finding.length_mm, finding.width_mm)
        case "mm²" | "cm²":
            return (finding.area_mm2,)
        case _:
            return (finding.volume_ml,)


def _size(
    match: re.Match[str],
    claimed: str,
    unit: str,
    least: bool,
    facts_at: FactsAt,
    sizes: Callable[[FindingFacts], tuple[float | None, ...]],
) -> Iterator[str]:
    """A size must be measured, and "at least" where the finding is cut off, and only there."""

    def agrees(finding: FindingFacts) -> bool:
        known = [size for size in sizes(finding) if size is not None and finding.measured]
        return any(_equal(claimed, size / _PER_UNIT[unit]) for size in known)

    of, said = facts_at(match.start()), match[0].strip()
    if not holds(of, agrees):
        yield f"says {said!r}, which was not measured"
    elif not holds(of, lambda finding: finding.cut_off == least):
        yield f"says {said!r}: {'all of it was imaged' if least else 'it is cut off, so it is at least that'}"


def _equal(claimed: str, measured: float) -> bool:
    """Whether a number as it is written is a measurement, rounded to the decimals that it is written with."""
    step: float = 10.0 ** -len(claimed.partition(".")[2])
    return abs(float(claimed) - measured) <= step / 2 + 1e-6 * max(1.0, abs(measured))
