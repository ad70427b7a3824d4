"""Comparing: what was found now beside what an earlier result of ours says. Pure.

A change is a measurement of one thing that was marked once then and once now. Whatever else an earlier result says of a
finding becomes a sentence: not seen then and not asked then are two things, and what cannot be compared says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from dicom_node.results.comparison import Change
from dicom_node.results.concept import SegmentedConcept
from dicom_node.results.earlier import EarlierAnswer, EarlierFinding, EarlierPart, EarlierResult, NamedConcept
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart
from dicom_node.results.measurement import MeasurementKind

__all__ = ["AskedQuestion", "ReadNow", "compared_parts"]

_COMPARED = (MeasurementKind.VOLUME, MeasurementKind.AREA, MeasurementKind.LONG_AXIS, MeasurementKind.SHORT_AXIS)


@dataclass(frozen=True)
class AskedQuestion:
    """A question as it is asked now: an earlier one is the same by its text, else by its id.

    `goes_on`: it is about the findings of the question before it, which that one is compared by.
    """

    id: str
    text: str
    findings: tuple[SegmentedConcept, ...]
    goes_on: bool = False


@dataclass(frozen=True)
class ReadNow:
    """What is read now, as `EarlierResult` has it: the study's date, pixels and slices in words, the model."""

    date: date
    grid: str = ""
    made_by: str = ""


def compared_parts(
    parts: Sequence[ReadPart], questions: Sequence[AskedQuestion], earlier: EarlierResult, now: ReadNow
) -> tuple[ReadPart, ...]:
    """The parts with changes and sentences since an earlier result.

    `questions`: those that each part answers, in order.
    """
    return tuple(
        replace(
            part,
            answers=tuple(
                _compared(answer, question, _earlier_part(part, parts, earlier), earlier, now)
                for answer, question in zip(part.answers, questions, strict=True)
            ),
        )
        for part in parts
    )


def _earlier_part(part: ReadPart, parts: Sequence[ReadPart], earlier: EarlierResult) -> EarlierPart | None:
    """The earlier part that a part is compared with: the only one of the only one, else the one of the same name."""
    if len(parts) == len(earlier.parts) == 1:
        return earlier.parts[0]
    name = part.volume.name
    named = [one for one in earlier.parts if one.name == name]
    unambiguous = bool(name) and len(named) == 1 and [one.volume.name for one in parts].count(name) == 1
    return named[0] if unambiguous else None


def _compared(
    answer: ReadAnswer,
    question: AskedQuestion,
    part: EarlierPart | None,
    earlier: EarlierResult,
    now: ReadNow,
) -> ReadAnswer:
    if question.goes_on:
        return answer
    if part is None:
        unclear = f"not compared with {earlier.date}: which of the parts that were read then this one is, is not clear"
        return replace(answer, compared=(unclear,))
    then = _same_question(question, part.answers)
    if then is None:
        return replace(answer, compared=(f"this question was not asked on {earlier.date}",))
    return _Comparing(answer, question, then, earlier.date, now.date).compared(list(_caveats(earlier, now)))


def _same_question(question: AskedQuestion, answers: Sequence[EarlierAnswer]) -> EarlierAnswer | None:
    texts = [one for one in answers if _folded(one.question) == _folded(question.text)]
    texts.sort(key=lambda one: one.question_id != question.id)  # of several with one text that with the same id
    ids = [one for one in answers if one.question_id and one.question_id == question.id]
    return next(iter(texts or ids), None)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _caveats(earlier: EarlierResult, now: ReadNow) -> Iterator[str]:
    """What else than the patient may have changed."""
    for what, then, today in (
        ("another grid", earlier.grid, now.grid), ("another model", earlier.made_by, now.made_by),
    ):  # fmt: skip
        if then and today and then != today:
            yield f"{what}: {then} on {earlier.date}, {today} now; sizes may differ by that alone"


class _Comparing:
    """One answer beside the answer to the same question then."""

    def __init__(
        self, answer: ReadAnswer, question: AskedQuestion, then: EarlierAnswer, then_date: date, today: date
    ) -> None:
        self._answer, self._then = answer, then
        self._then_date, self._today = then_date, today
        self._asked_now = [NamedConcept.of(one) for one in (*question.findings, *answer.not_seen)]
        self._not_assessed = [NamedConcept.of(one.concept) for one in answer.not_assessed if one.concept is not None]
        self._now = [(NamedConcept.of(finding.concept), finding) for finding in answer.findings]

    def compared(self, caveats: Sequence[str]) -> ReadAnswer:
        findings, sentences = [], []
        for concept, finding in self._now:
            before = [one for one in self._then.findings if one.concept.is_same(concept)]
            now = [one for one, _ in self._now if one.is_same(concept)]
            changes: tuple[Change, ...] = ()
            if len(before) == len(now) == 1:
                changes, said = self._measured(finding, before[0])
                sentences += said
            elif before:
                counted = f"marked {_times(len(before))} on {self._then_date} and {_times(len(now))} now"
                sentences.append(f"{concept.label}: {counted}, so not compared")
            elif other := next(
                (one.concept for one in self._then.findings if _side_unclear(one.concept, concept)), None
            ):
                sentences.append(f"{concept.label}: seen on {self._then_date} as {other.label}, so not compared")
            else:
                sentences.append(f"{concept.label}: {self._unseen_then(concept)} on {self._then_date}")
            findings.append(replace(finding, changes=changes))
        sentences += self._no_more()
        if any(finding.changes for finding in findings):
            sentences += caveats
        return replace(self._answer, findings=tuple(findings), compared=tuple(dict.fromkeys(sentences)))

    def _unseen_then(self, concept: NamedConcept) -> str:
        if any(one.covers(concept) for one in self._then.not_assessed):
            return "was not assessed"
        if any(one.covers(concept) for one in self._then.asked):
            return "not seen"
        other_side = any(one.concept.is_same_but_for_side(concept) for one in self._then.findings)
        if other_side and not self._then.asked_in_full:  # perhaps asked for without a side
            return "not seen or not asked"
        return "was not asked"

    def _no_more(self) -> Iterator[str]:
        """What was seen then and is not seen now."""
        for one in self._then.findings:
            if any(concept.is_same(one.concept) or _side_unclear(concept, one.concept) for concept, _ in self._now):
                continue
            low = " with low confidence, not measured" if one.low_confidence else _size(one)
            yield f"{one.concept.label}: seen on {self._then_date}{low}, {self._unseen_now(one.concept)} now"

    def _unseen_now(self, concept: NamedConcept) -> str:
        if any(one.covers(concept) for one in self._not_assessed):
            return "not assessed"
        return "not seen" if any(one.covers(concept) for one in self._asked_now) else "not asked"

    def _measured(self, now: Finding, then: EarlierFinding) -> tuple[tuple[Change, ...], list[str]]:
        """The changes of one thing marked once then and once now, and why others are none."""
        label, day = now.concept.label, self._then_date
        if then.low_confidence:
            return (), [f"{label}: seen on {day} with low confidence, not measured"]
        if now.low_confidence:
            return (), [f"{label}: seen on {day}{_size(then)}, now with low confidence, so not compared"]
        before = {one.kind: one for one in then.measurements}
        after = {one.kind: one for one in now.measurements if one.kind in _COMPARED}
        changes, other_basis, other_unit = [], [], []
        for kind, one in after.items():
            earlier = before.get(kind.value)
            if earlier is None or not earlier.is_size:
                continue
            if earlier.unit != one.unit.value:
                other_unit.append(one.name)
            elif earlier.method != (None if one.method is None else one.method.value):
                other_basis.append(one.name)
            else:
                change = Change(one.name, earlier.unit, earlier.value, one.rounded, day, self._today)
                changes.append(replace(change, before_at_least=earlier.at_least, after_at_least=one.at_least))
        said = []
        was, is_now = _extent([one.kind for one in then.measurements]), _extent([kind.value for kind in after])
        if was and is_now and was != is_now:  # nor are an axis in a slice of a volume and one on a projection the same
            return (), [f"{label}: {_article(was)} on {day}, {_article(is_now)} now, not comparable"]
        if other_basis:
            names = " and ".join(other_basis)
            said.append(f"{label}: {names} not comparable, the pixel spacing of {day} was come by in another way")
        if other_unit:
            said.append(f"{label}: {' and '.join(other_unit)} not comparable, in another unit on {day}")
        if not changes and not said:
            said.append(f"{label}: seen on {day}, no size that both have")
        return tuple(changes), said


def _side_unclear(first: NamedConcept, second: NamedConcept) -> bool:
    """Whether only one of two says a side, so that they may mean the same."""
    one_sided = (first.laterality is None) != (second.laterality is None)
    return one_sided and first.is_same_but_for_side(second)


def _extent(kinds: Sequence[str]) -> str:
    """Which of volume and area was measured; "" for neither."""
    return next((one.value for one in (MeasurementKind.VOLUME, MeasurementKind.AREA) if one.value in kinds), "")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _size(finding: EarlierFinding) -> str:
    """The volume or area of an earlier finding in brackets, where it has one."""
    for kind in (MeasurementKind.VOLUME, MeasurementKind.AREA):
        for one in finding.measurements:
            if one.kind == kind.value:
                return f" ({'at least ' if one.at_least else ''}{one.value:g} {one.unit})"
    return ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
