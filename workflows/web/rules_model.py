"""What the pages of reading protocols show: a row a protocol, and one protocol as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from dicom_node.results.finding import SegmentedConcept
from workflows.protocols.conditions import ALWAYS
from workflows.protocols.examples import TriedExample, try_examples
from workflows.protocols.in_words import Told, told, told_kind, told_limits, told_only_if, told_preference
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol, Results

__all__ = ["QuestionTold", "RuleRow", "RuleTold", "rule_path", "rule_rows", "rule_told"]

OWN_PATHS = frozenset({"test", "change", "named"})
"""What lies beside the pages of protocols below /rules; a protocol that is called so has a longer address."""


def rule_path(name: str) -> str:
    """Where the page of a protocol lies."""
    return f"/rules/{'named/' if name in OWN_PATHS else ''}{quote(name, safe='')}"


@dataclass(frozen=True)
class RuleRow:
    """A protocol in the list. `asked`: series since the page's first day. `since`: in service; None: not known."""

    protocol: ReadingProtocol
    path: str
    asked: int
    since: datetime | None

    @property
    def priority(self) -> str:
        """STAT beside the number, where its jobs come before others."""
        return self.protocol.limits.priority.value


def rule_rows(
    protocols: Sequence[ReadingProtocol], asked: Mapping[str, int], since: Mapping[str, datetime | None]
) -> list[RuleRow]:
    """A row each, in the order in which protocols are asked; those that are off come last.

    `asked`: series by name. `since`: when each digest came into service.
    """
    ordered = sorted(protocols, key=lambda one: (bool(one.off_because), -one.rank, one.name))
    return [RuleRow(one, rule_path(one.name), asked.get(one.name, 0), since.get(one.digest)) for one in ordered]


@dataclass(frozen=True)
class QuestionTold:
    """A question with what it may mark, and what is asked after it. `condition`: when a follow-up is asked, or ""."""

    question: ProtocolQuestion
    findings: tuple[str, ...]
    condition: str
    follow_ups: tuple[QuestionTold, ...]


@dataclass(frozen=True)
class RuleTold:
    """A protocol in words. `when`, `where`: None where every study, every series fits."""

    protocol: ReadingProtocol
    when: Told | None
    where: Told | None
    prefers: tuple[str, ...]
    includes: tuple[str, ...]
    questions: tuple[QuestionTold, ...]
    results: tuple[str, ...]
    limits: tuple[str, ...]
    examples: tuple[TriedExample, ...]


def rule_told(protocol: ReadingProtocol, protocols: Sequence[ReadingProtocol]) -> RuleTold:
    """`protocols`: all that are in service, with which its examples are tried."""
    series = protocol.series
    return RuleTold(
        protocol=protocol,
        when=None if protocol.when == ALWAYS else told(protocol.when),
        where=None if series.where == ALWAYS else told(series.where),
        prefers=tuple(map(told_preference, series.prefer)),
        includes=tuple(sorted(map(told_kind, series.include))),
        questions=tuple(_questions(protocol)),
        results=tuple(_results(protocol.results)),
        limits=told_limits(protocol.limits),
        examples=tuple(one for one in try_examples(protocols) if one.protocol.name == protocol.name),
    )


def _questions(protocol: ReadingProtocol) -> Iterator[QuestionTold]:
    """Each with the conversation that goes on from it, in order."""
    for question in protocol.questions:
        if not question.follows:
            yield _question(question, tuple(_chain(protocol, question.id)))


def _chain(protocol: ReadingProtocol, first: str) -> Iterator[QuestionTold]:
    known = {first}
    for question in protocol.questions:
        if question.follows in known:
            known.add(question.id)
            yield _question(question, ())


def _question(question: ProtocolQuestion, follow_ups: tuple[QuestionTold, ...]) -> QuestionTold:
    condition = "" if question.only_if is None else told_only_if(question.only_if)
    return QuestionTold(question, tuple(map(_finding, question.findings)), condition, follow_ups)


def _finding(concept: SegmentedConcept) -> str:
    site = f", at {concept.site.meaning}" if concept.site is not None else ""
    return f"{concept.label}{site}"


def _results(results: Results) -> Iterator[str]:
    if results.archives:
        yield f"Results go to {', '.join(results.archives)}, and nowhere else."
    if results.profile:
        yield f"They are made for the profile {results.profile}."
