"""Translating: a document that is right -> the reading protocol that it describes. Pure."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.results.codes import concept_for
from workflows.protocols.document import FollowUp, ProtocolDocument, QuestionDocument, SeriesDocument
from workflows.protocols.schema import (
    Example,
    Limits,
    OnlyIf,
    Priority,
    ProtocolQuestion,
    ReadingProtocol,
    Results,
    SeriesSelector,
)

__all__ = ["protocol_of"]

_RANK = 50


def protocol_of(document: ProtocolDocument, digest: str, example_lines: tuple[int, ...] = ()) -> ReadingProtocol:
    """The protocol. `digest`: of the file; `example_lines`: where its examples stand. Raises ValueError for an example
    that is no study."""
    return ReadingProtocol(
        name=document.name,
        version=document.version,
        title=document.title or document.name,
        questions=tuple(one for question in document.questions for one in _conversation(question)),
        when=document.when,
        series=document.select.selector() if document.select is not None else _selector(document.series),
        unknown=document.unknown == "accept",
        rank=document.priority if isinstance(document.priority, int) else _RANK,
        frames=document.frames,
        results=Results(document.results.archives, document.results.profile or ""),
        limits=_limits(document),
        examples=_examples(document, example_lines),
        off_because=document.off,
        digest=digest,
    )


def _selector(series: SeriesDocument | None) -> SeriesSelector:
    if series is None:
        return SeriesSelector()
    return SeriesSelector(series.where, series.prefer, series.take, frozenset(series.include))


def _limits(document: ProtocolDocument) -> Limits:
    limits = document.limits
    at_top = document.priority if isinstance(document.priority, Priority) else None
    return Limits(
        priority=limits.priority or at_top or Priority.ROUTINE,
        useful_for_minutes=limits.useful_for_minutes or document.useful_for_minutes,
        largest_study=limits.largest_study,
        prior_deadline_s=limits.prior_deadline_s,
    )


def _conversation(document: QuestionDocument) -> tuple[ProtocolQuestion, ...]:
    """A question, and what goes on from it."""
    question = ProtocolQuestion(document.id, document.text, document.findings, predictor=document.predictor)
    conditions = [_only_if(one, question) for one in document.follow_ups]
    follow_ups = [
        one.ask if only_if is None else (one.ask, only_if)
        for one, only_if in zip(document.follow_ups, conditions, strict=True)
    ]
    return question, *question.follow_ups(follow_ups)


def _only_if(follow_up: FollowUp, question: ProtocolQuestion) -> OnlyIf | None:
    """When it is asked, by the label that the question's finding has."""
    only_if = follow_up.only_if()
    if only_if is None or not only_if.finding or only_if.finding in [one.label for one in question.findings]:
        return only_if
    concept = concept_for(only_if.finding)
    return only_if if concept is None else replace(only_if, finding=concept.label)


def _examples(document: ProtocolDocument, lines: tuple[int, ...]) -> tuple[Example, ...]:
    found = []
    for number, example in enumerate(document.examples, start=1):
        line = lines[number - 1] if number <= len(lines) else 0
        try:
            study = example.kept()
        except ValueError as error:
            raise ExampleError(number - 1, str(error)) from error
        found.append(Example(example.title or f"example {number}", study, example.match, example.asks, line))
    return tuple(found)


class ExampleError(ValueError):
    """An example that is no study. `index`: from 0."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
