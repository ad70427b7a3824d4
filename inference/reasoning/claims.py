"""Check words against what was measured: what disagrees is not delivered, and what nothing was measured of neither.

A sentence is delivered only where all of it is understood: every thing that it names was seen or not seen as it says,
every number is one that was measured, every other word is one of those that claim nothing more (`_PLAIN_WORDS`). A
diagnosis, an adjective, another organ is not understood, and so the sentence goes.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from inference.card import Region
from inference.interface import NotAssessed, SliceStack
from inference.reasoning.facts import MIDDLE, FindingFacts
from inference.reasoning.names import name_of, names_of_labels
from inference.reasoning.numbers import FactsAt, holds, number_contradictions, unmeasured
from inference.reasoning.reading import Clause, Mention, plain, read_clauses, sentences_of
from inference.reasoning.sentences import fixed_sentences, not_assessed_sentences

__all__ = ["agreeing_sentences", "contradictions"]

_MODALITIES = (
    (r"magnetic resonance(?: imaging)?|mri|mr|t1|t2|flair", ("MR",)),
    (r"computed tomography|computed tomogram|ct|cat scan", ("CT",)),
    (r"ultrasound|ultrasonogra\w*|sonogra\w*|echogra\w*", ("US",)),
    (r"x rays?|radiograph\w*|plain film", ("DX", "CR", "RG", "RF", "XA", "PX")),
    (r"endoscop\w*|colonoscop\w*|gastroscop\w*", ("ES",)),
    (r"fundus photo\w*|fundoscop\w*|retinal photo\w*|ophthalmoscop\w*", ("OP",)),
    (r"mammogra\w*", ("MG",)),
    (r"pet|positron emission tomography", ("PT",)),
    (r"scintigra\w*|spect", ("NM",)),
)
_MODALITY_WORDS = [(re.compile(rf"\b(?:{words})\b"), codes) for words, codes in _MODALITIES]
_REGION_WORDS = [
    (re.compile(rf"\b(?:{words})\b"), region)
    for words, region in (
        (r"head|brain|cranial|cerebral|skull", Region.HEAD),
        (r"neck|cervical", Region.NECK),
        (r"chest|thorax|thoracic", Region.CHEST),
        (r"abdomen|abdominal|belly", Region.ABDOMEN),
        (r"pelvis|pelvic", Region.PELVIS),
        (r"spine|spinal", Region.SPINE),
        (r"breasts?", Region.BREAST),
        (r"eyes?|retina|retinal|fundus", Region.EYE),
        (r"bowel|colon|rectum", Region.BOWEL),
        (r"limb|arm|leg|knee|hand|foot|wrist|ankle|shoulder|hip|elbow", Region.LIMB),
    )
]
_RELATION = re.compile(
    r"\b((?:to|on) the (?:patient's )?(?:left|right) of|in front of|behind|below|above|inside|within|in|next to) "
    r"(?=(?:the |an? )?(_+))"
)
_SAME_PLACE = {"in": "inside", "within": "inside"}
_AT_ANOTHER = re.compile(r"\b(?:on|at|from|to|by) (?:the |an? )?(?=_)")
_LISTING = re.compile(r"\s*(?:,|and|or|, and)\s*(?:the |an? )?")
_SAID_TO_BE = re.compile(
    r"\s*(?:[:=]|(?:(?:is|are|was|were|be|also|has|have|of|parts?|a|an|the|this|that|these|those|it|patient's)\b\s*)+)\s*"
)
"""Between two names: one is said to be, to have, or to be part of the other."""
_NOT_THERE = re.compile(r"\bnot on the (?:patient's )?(left|right)(?: side)?\b")
_ZONE = re.compile(r"\b((?:upper |lower |middle )?(?:left|right|middle|central) part) of the (?:image|picture)\b")
_MIDDLE = re.compile(r"\bin the middle of the body or on both sides of it\b")
_SIDE = re.compile(r"\b(left|right)\b")
_IN_PICTURE = re.compile(r"\b(?:left|right)(?: \w+)? of the (?:image|picture)\b")
_NEGATION = re.compile(r"\b(?:no|not|without|absent|nothing|none|cannot)\b")
_OPENING = re.compile(r"^(yes|no),\s+|^no:\s+")
"""With a colon it answers "is it absent?", and what is seen follows."""
_CHECK = re.compile(r"\bto be checked by eye\b")
_PLAIN_WORDS = frozenset(
    {"a", "an", "the", "is", "are", "was", "were", "be", "been", "can", "seen", "visible", "shown", "shows", "show"}
    | {"marked", "mask", "masks", "found", "located", "identified", "present", "lies", "lie", "on", "in", "at", "of"}
    | {"and", "or", "with", "to", "from", "by", "it", "its", "they", "their", "this", "that", "these", "there", "here"}
    | {"image", "images", "picture", "slice", "slices", "study", "i", "see", "we", "as", "also", "both", "confidence"}
    | {"size", "volume", "area", "measures", "measure", "measured", "covering", "covers", "cover", "patient"}
    | {"patient's", "side", "part", "parts", "has", "have"}
)


def contradictions(
    sentence: str,
    stack: SliceStack,
    facts: Sequence[FindingFacts],
    not_seen: Sequence[str],
    not_assessed: Sequence[NotAssessed] = (),
) -> list[str]:
    """Return why a sentence may not be delivered: another modality, organ, side, number or presence than measured.

    Also what it says that nothing was measured of. Empty: all of it agrees.
    """
    sentence = " ".join(sentence.split())
    if sentence in fixed_sentences(stack, facts) or sentence in not_assessed_sentences(not_assessed):
        return []
    text = plain(sentence).rstrip(".!")
    names = names_of_labels((*(finding.phrase for finding in facts), *not_seen))
    return list(dict.fromkeys(_Check(stack, facts, not_seen).reasons(text, names)))


def agreeing_sentences(
    text: str,
    stack: SliceStack,
    facts: Sequence[FindingFacts],
    not_seen: Sequence[str],
    not_assessed: Sequence[NotAssessed] = (),
) -> str:
    """Return a text without the sentences that contradict what was measured."""
    return " ".join(
        sentence
        for sentence in sentences_of(text)
        if not contradictions(sentence, stack, facts, not_seen, not_assessed)
    )


class _Check:
    """What was measured, against one sentence."""

    def __init__(self, stack: SliceStack, facts: Sequence[FindingFacts], not_seen: Sequence[str]) -> None:
        self._stack = stack
        self._facts = facts
        self._seen: dict[str, list[FindingFacts]] = {}
        for finding in facts:
            self._seen.setdefault(name_of(finding.phrase).text, []).append(finding)
        self._absent = {name_of(phrase).text for phrase in not_seen} - set(self._seen)

    def reasons(self, text: str, names: Mapping[str, frozenset[str]]) -> Iterator[str]:
        """Why the text disagrees."""
        opening = _OPENING.match(text)
        clauses = read_clauses(text[opening.end() :] if opening else text, names)
        subjects: list[Mention] = []
        for clause in clauses:
            yield from self._context(clause)
            objects = yield from self._relations(clause, subjects)
            named = [mention for mention in clause.mentions if mention not in objects]
            subjects = named or subjects
            yield from _equated(clause, named)
            yield from self._places(clause, partial(self._facts_at, clause, named, subjects))
            facts_at = partial(self._facts_at, clause, named, subjects)
            yield from number_contradictions(clause, named, facts_at, self._seen, self._stack)
            yield from self._presence(clause, named or subjects, (opening and opening[1]) or "")
            yield from _not_understood(clause)

    def _facts_at(
        self, clause: Clause, named: Sequence[Mention], subjects: Sequence[Mention], place: int
    ) -> list[FindingFacts]:
        """What a number or a side at a place is about: the thing named last before it, with those listed together with
        it ("the liver and the spleen"), else all that the clause names.

        Where the sentence names nothing: the only finding, if there is one alone.
        """
        before = [mention for mention in named if mention.end <= place]
        last = before[-1:]
        for mention in reversed(before[:-1]):
            if _LISTING.fullmatch(clause.text[mention.end : last[0].start]) is None:
                break
            last = [mention, *last]
        mentions = last or named or subjects
        if not mentions:
            return list(self._facts) if len(self._facts) == 1 else []
        return self._facts_of(mentions)

    def _facts_of(self, mentions: Iterable[Mention]) -> list[FindingFacts]:
        meant = dict.fromkeys(text for mention in mentions for text in sorted(mention.meanings))
        return [finding for text in meant for finding in self._seen.get(text, ())]

    def _context(self, clause: Clause) -> Iterator[str]:
        for pattern, codes in _MODALITY_WORDS:
            for match in clause.take(pattern):
                if self._stack.modality not in codes:
                    yield f"says {match[0]}, but the image is {self._stack.modality}"

    def _relations(self, clause: Clause, inherited: Sequence[Mention]) -> Generator[str, None, list[Mention]]:
        """Check "below the liver" and the like; return what stands in them as the other thing."""
        others: list[Mention] = []
        for match in clause.take(_RELATION):
            word = _SAME_PLACE.get(match[1], match[1].replace("patient's ", "").replace("on the", "to the"))
            beside = _listed_from(clause, match.end())
            before = [mention for mention in clause.before(match.start()) if mention not in others]
            of = self._facts_at(clause, before, inherited, match.start())
            others += beside
            for mention in beside:
                if not holds(of, partial(_lies, word=word, meanings=mention.meanings)):
                    yield f"says {word} the {mention.name}, which was not measured"
        return others

    def _places(self, clause: Clause, facts_at: FactsAt) -> Iterator[str]:
        yield from unmeasured(clause, _NOT_THERE, facts_at, lambda finding, match: finding.side not in ("", match[1]))
        yield from unmeasured(clause, _ZONE, facts_at, lambda finding, match: finding.zone == match[1])
        yield from unmeasured(clause, _MIDDLE, facts_at, lambda finding, match: finding.measured_side == MIDDLE)
        for match in clause.take(_AT_ANOTHER):
            yield f"says {match[0].strip()!r} of another thing, which was not measured"
        for match in clause.take(_IN_PICTURE):
            yield f"says {match[0]}, which is not a side of the patient"
        for _ in clause.take(_CHECK):
            pass

    def _presence(self, clause: Clause, mentions: Sequence[Mention], opening: str) -> Iterator[str]:
        negations = list(clause.take(_NEGATION))
        if len(negations) > 1 and not (all(negation[0] == "no" for negation in negations) and _each_denied(clause)):
            yield "negates more than once"
        if opening and (opening == "no") != bool(negations):
            yield f"begins with {opening} and goes on otherwise"
        if not mentions and negations:
            yield "says that nothing is seen"
        for mention in mentions:
            seen, absent = mention.meanings & self._seen.keys(), mention.meanings & self._absent
            if not seen and not absent:
                yield f"speaks of {mention.name}, of which nothing is known here"
            elif negations and seen:
                yield f"denies {mention.name}, which is seen"
            elif not negations and (not seen or (mention.every and seen != mention.meanings)):
                yield f"claims {mention.name}, which is not seen"
        yield from self._sides(clause, mentions)
        yield from self._regions(clause)

    def _sides(self, clause: Clause, mentions: Sequence[Mention]) -> Iterator[str]:
        for match in clause.take(_SIDE):
            before = [mention for mention in mentions if mention in clause.mentions]
            of = self._facts_at(clause, before, mentions, match.start())
            denied = bool(mentions) and not of
            if not denied and not holds(of, partial(_on_side, side=match[1])):
                yield f"says {match[1]}, which was not measured"

    def _regions(self, clause: Clause) -> Iterator[str]:
        for pattern, region in _REGION_WORDS:
            for match in clause.take(pattern):
                if region not in self._stack.context.regions:
                    yield f"says {match[0]}, which the image is not known to show"


def _equated(clause: Clause, named: Sequence[Mention]) -> Iterator[str]:
    for first, second in pairwise(named):
        between = clause.text[first.end : second.start]
        if _SAID_TO_BE.fullmatch(between):
            yield f"says {between.strip()!r} between {first.name} and {second.name}, which was not measured"


def _each_denied(clause: Clause) -> bool:
    """Whether every thing has a "no" of its own: "no polyp and no mass"."""
    return all(clause.text[: mention.start].endswith("no ") for mention in clause.mentions)


def _listed_from(clause: Clause, place: int) -> list[Mention]:
    """The things listed from a place on: "the spleen, the liver and the stomach"."""
    listed: list[Mention] = []
    for mention in clause.mentions:
        if mention.start < place:
            continue
        between = clause.text[listed[-1].end if listed else place : mention.start]
        if _LISTING.fullmatch(between) is None and (listed or between.strip() not in ("", "the", "a", "an")):
            break
        listed.append(mention)
    return listed


def _lies(finding: FindingFacts, word: str, meanings: frozenset[str]) -> bool:
    places = finding.places or ("",) * len(finding.neighbours)
    return any(
        name_of(phrase).text in meanings and word in (place, "next to")
        for phrase, place in zip(finding.neighbours, places, strict=True)
    )


def _on_side(finding: FindingFacts, side: str) -> bool:
    return finding.side == side


def _not_understood(clause: Clause) -> Iterator[str]:
    for number in re.findall(r"\d+(?:\.\d+)?", clause.left):
        yield f"says {number}, which was not measured"
    for word in re.findall(r"[^\W\d_](?:[^\W\d_]|')*", clause.left):
        if word not in _PLAIN_WORDS:
            yield f"says {word!r}, which nothing was measured of"
    for sign in re.findall(r"[^\w\s.,:;()'-]|\.(?!\d)", clause.left):
        yield f"has {sign!r}, which is not understood"
