"""Overlaps: protocols that ask the same question of the same series, and those that never get to ask theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.protocols.conditions import AllOf
from workflows.protocols.contradictions import implies
from workflows.protocols.examples import TriedExample
from workflows.protocols.matching import match
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol

__all__ = ["Overlap", "asked_by_others", "unreachable"]

Asked = tuple[Any, ...]


def unreachable(protocols: Sequence[ReadingProtocol]) -> Iterator[tuple[ReadingProtocol, str]]:
    """Protocols whose every question one of a higher rank asks wherever they could, as far as conditions show it."""
    ordered = sorted((one for one in protocols if not one.off_because), key=lambda one: (-one.rank, one.name))
    for place, protocol in enumerate(ordered):
        asks = _asked(protocol)
        before = next((one for one in ordered[:place] if asks <= _asked(one) and _always_with(protocol, one)), None)
        if before is not None:
            told = f"{before.name} (priority {before.rank}) asks the same questions wherever this one would"
            yield protocol, f"is never asked: {told}; give it other questions, or a higher priority"


@dataclass(frozen=True)
class Overlap:
    """An example of which two protocols ask the same. `once`: ids of questions that one of them alone asks then, and
    which one that is; `twice`: ids of those that both ask, as something else of them differs."""

    protocol: ReadingProtocol
    other: ReadingProtocol
    example: TriedExample
    once: tuple[str, ...]
    by: str
    twice: tuple[str, ...]


def asked_by_others(tried: Sequence[TriedExample], protocols: Sequence[ReadingProtocol]) -> Iterator[Overlap]:
    """Examples of a protocol of which another one asks the same words, too. A pair of protocols is told once."""
    in_service = [one for one in protocols if not one.off_because]
    keys = {id(one): _keys(one).keys() for one in in_service}
    told: set[frozenset[str]] = set()
    for example in tried:
        protocol = example.protocol
        if protocol.off_because or not example.example.matches:
            continue
        for other in in_service:
            pair = frozenset((protocol.name, other.name))
            if other is protocol or pair in told or not keys[id(protocol)] & keys[id(other)]:
                continue
            if overlap := _overlap(example, protocol, other):
                told.add(pair)
                yield overlap


def _overlap(example: TriedExample, protocol: ReadingProtocol, other: ReadingProtocol) -> Overlap | None:
    """The questions that both ask of one series of an example, each by itself, and what becomes of them together."""
    mine, theirs = (_by_series(example, one) for one in (protocol, other))
    together: dict[str, dict[str, frozenset[str]]] = {}
    for found in match(example.study, [protocol, other]).matches:
        asked = frozenset(question.id for question in found.protocol.questions)
        together.setdefault(found.series_uid, {})[found.protocol.name] = asked
    once: set[str] = set()
    twice: set[str] = set()
    by = ""
    for uid, questions in mine.items():
        for key in questions.keys() & theirs.get(uid, {}).keys():
            own, others = questions[key].id, theirs[uid][key].id
            asks = together.get(uid, {})
            both = own in asks.get(protocol.name, ()) and others in asks.get(other.name, ())
            (twice if both else once).add(own)
            if not both:
                by = protocol.name if own in asks.get(protocol.name, ()) else other.name
    in_order = [tuple(one.id for one in protocol.questions if one.id in ids) for ids in (once, twice)]
    return Overlap(protocol, other, example, in_order[0], by, in_order[1]) if once | twice else None


def _by_series(example: TriedExample, protocol: ReadingProtocol) -> dict[str, Mapping[Asked, ProtocolQuestion]]:
    plan = match(example.study, [protocol])
    return {found.series_uid: _keys(found.protocol) for found in plan.matches}


def _asked(protocol: ReadingProtocol) -> frozenset[Asked]:
    """What another one would have to ask, so that this one asks nothing: answers that go elsewhere, or are of use for
    another time, are others (repeating.py)."""
    return frozenset((key, protocol.results, protocol.limits.useful_for_minutes) for key in _keys(protocol))


def _keys(protocol: ReadingProtocol) -> Mapping[Asked, ProtocolQuestion]:
    """The questions by what makes two of them the same; a follow-up also by what it goes on from."""
    keys: dict[str, Asked] = {}
    found: dict[Asked, ProtocolQuestion] = {}
    for question in protocol.questions:
        before = keys.get(question.follows, (protocol.frames.text,))
        text = " ".join(question.text.casefold().split())
        keys[question.id] = (*before, text, question.findings, question.predictor, question.only_if)
        found[keys[question.id]] = question
    return found


def _always_with(protocol: ReadingProtocol, other: ReadingProtocol) -> bool:
    """Whether the other one asks every series that a protocol asks, as far as their form shows."""
    if other.series.take is not None or not protocol.series.include <= other.series.include:
        return False
    if protocol.unknown and not other.unknown:
        return False
    if other.limits.largest_study is not None:
        return False
    return implies(protocol.when, other.when) and implies(protocol.series.where, AllOf((other.series.where,)))
