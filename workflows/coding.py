"""Coding: a model's answer with its masks back on the source grid, its phrases coded, and what was not looked for.

labels_of       a question's findings, by the names that models have for them
code_answer     what of an answer is marked, measured, not seen, not assessed
answer_record   the coded answer as the database keeps it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import structlog

from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.codes import concept_for, says
from dicom_node.results.concept import Code, SegmentedConcept
from dicom_node.results.finding import Finding, NotAssessed, ReadAnswer, ReadPart
from dicom_node.results.measurement import Measurement, measure
from dicom_node.results.stand_ins import Reference
from dicom_node.volumes.display import DisplayView
from dicom_node.volumes.load import SeriesVolume
from inference.interface import Answer, LabelCode, SeenTarget
from inference.reasoning.sentences import COUNTED, names_slices
from workflows.protocols.labels import is_side_or_part, labels_of, same_but_for_side, same_code
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord, ChangeRecord, FindingRecord, MeasurementRecord, NotAssessedRecord
from workflows.state.keys import LOW_CONFIDENCE

__all__ = ["LEAST_CONFIDENCE", "NOT_ADDRESSED", "answer_record", "code_answer", "labels_of"]

LEAST_CONFIDENCE = 0.05
"""Confidence is the overlap (IoU) that is expected with a reader's outline: a mask below this is expected to miss."""

NOT_ADDRESSED = "not-addressed"
"""Why something was not assessed of which the model said nothing: neither seen, nor not seen, nor why it was not."""
_NOT_ADDRESSED = "the answer says nothing of it, so it is not known whether it was looked for"

log = structlog.get_logger()


def code_answer(
    answer: Answer,
    question: ProtocolQuestion,
    volume: SeriesVolume,
    view: DisplayView,
    scope: str,
    ordinal: int,
    *,
    only_findings: bool = True,
    low_confidence: float = LOW_CONFIDENCE,
    before: Sequence[ReadAnswer] = (),
) -> ReadAnswer:
    """An answer with its masks on the source grid, measured, and its phrases coded.

    Marked is what the question's findings name, with a confidence of `LEAST_CONFIDENCE` or more. What else the model
    named gets neither segment nor measurement, and the text says that it was not marked and why; the model's sentences
    that name what is doubtful or was not asked for are left out. `only_findings=False` (no protocol asked): whatever
    has a code may be marked. A phrase without a code never is: a placeholder code would be wrong. What has a confidence
    below `low_confidence` is marked, not measured, and the text says so.

    Not seen is only what the model says that it looked for, and what it marked in vain. A finding that a protocol asks
    for and of which the model says nothing was not assessed, like what it says that it could not look for.

    `before`: the answers to the questions that this one goes on from: what they say stands there alone. `scope`: what
    tracking UIDs derive from; `ordinal`: of the question, from 0.
    """
    told = _Told(before)
    findings: list[Finding] = []
    unmarked: list[str] = []
    dropped: list[str] = []
    doubtful: list[SegmentedConcept] = []
    for number, target in enumerate(answer.targets):
        wanted, concept = _wanted_finding(target.phrase, question.findings, target.code)
        if concept is not None and concept in told.marked:
            continue
        if wanted is None and only_findings:
            unmarked.append(f"{target.phrase}, named but not asked for")
            dropped += [target.phrase] if question.findings else []  # without findings an answer in words is wanted
        elif concept is None:
            unmarked.append(f"{target.phrase}, for which no code is known")
        elif target.confidence < LEAST_CONFIDENCE:
            doubtful.append(wanted or concept)
            dropped.append(target.phrase)
            unmarked.append(f"{target.phrase}, with a confidence of {target.confidence:.2f}")
        else:
            low = target.confidence < low_confidence
            findings.append(_finding(target, concept, volume, view, scope, (ordinal, number), low_confidence=low))
    coded = _Coded(answer, question, only_findings, findings, doubtful, told)
    if unmarked:
        # A question may hold a reason for study, or be typed by somebody: only names that we know are logged.
        known = (concept_for(target.phrase) for target in answer.targets) if only_findings else ()
        labels = {one.label for one in known if one is not None} - {finding.concept.label for finding in findings}
        log.info("named_and_not_marked", question=question.id, phrases=len(unmarked), known=sorted(labels))
    return ReadAnswer(
        question=question.text,
        text=_text(answer.text, findings, unmarked, dropped, doubted=bool(doubtful)),
        findings=tuple(findings),
        not_seen=coded.not_seen(),
        not_assessed=coded.not_assessed(),
        goes_on=bool(before),
    )


def _text(
    said: str, findings: Sequence[Finding], unmarked: Sequence[str], dropped: Sequence[str], *, doubted: bool
) -> str:
    """The model's words without sentences on what is not delivered, and what of it was not marked or measured."""
    sentences = re.split(r"(?<=[.!?])\s+", said) if dropped else [said]
    kept = [one for one in sentences if not any(says(one, phrase) for phrase in dropped)]
    if COUNTED in kept and not any(names_slices(one) for one in kept):
        kept.remove(COUNTED)
    text = " ".join(kept).strip()
    if doubted and not findings:  # the model's own words would claim what is not delivered
        text = f'Nothing is marked. The model said: "{text}"' if text else "Nothing is marked."
    if low := [finding.phrase for finding in findings if finding.low_confidence]:
        text = f"{text} [Low confidence, not measured: {'; '.join(low)}.]".strip()
    if unmarked:
        text = f"{text} [Not marked: {'; '.join(unmarked)}.]".strip()
    return text


@dataclass(frozen=True)
class _Told:
    """What the earlier answers of a conversation say already."""

    before: Sequence[ReadAnswer]

    @cached_property
    def marked(self) -> set[SegmentedConcept]:
        return {finding.concept for answer in self.before for finding in answer.findings}

    @cached_property
    def named(self) -> set[str]:
        unseen = (concept.label for answer in self.before for concept in answer.not_seen)
        unknown = (one.label for answer in self.before for one in answer.not_assessed)
        return {*unseen, *unknown, *(concept.label for concept in self.marked)}


@dataclass(frozen=True)
class _Coded:
    """What of an answer has no mask. `findings`: what was marked; `doubtful`: what was, and is not delivered."""

    answer: Answer
    question: ProtocolQuestion
    only_findings: bool
    findings: Sequence[Finding]
    doubtful: Sequence[SegmentedConcept]
    told: _Told

    def not_seen(self) -> tuple[SegmentedConcept, ...]:
        marked = {finding.concept for finding in self.findings}
        named = [concept for phrase in self.answer.not_seen if (concept := self._concept(phrase)) is not None]
        unseen = dict.fromkeys((*named, *self.doubtful))
        return tuple(one for one in unseen if one not in marked and one.label not in self.told.named)

    def not_assessed(self) -> tuple[NotAssessed, ...]:
        told: dict[str, NotAssessed] = {}
        for one in self.answer.not_assessed:
            concept = self._concept(one.phrase)
            missing = NotAssessed(one.phrase, concept, one.why.value, one.reason)
            if concept is not None or not self.only_findings or not self.question.findings:
                told.setdefault(missing.label, missing)
        if self.only_findings and not self.told.before:
            for finding in self.question.findings:
                if not self._is_addressed(finding):
                    told.setdefault(finding.label, NotAssessed(finding.label, finding, NOT_ADDRESSED, _NOT_ADDRESSED))
        return tuple(one for label, one in told.items() if label not in self.told.named)

    def _concept(self, phrase: str) -> SegmentedConcept | None:
        """What a phrase of the model is coded as; None: no code is known, or no finding of the protocol is meant."""
        wanted, concept = _wanted_finding(phrase, self.question.findings)
        return concept if wanted is not None or not self.only_findings else None

    def _is_addressed(self, finding: SegmentedConcept) -> bool:
        """Whether the model says anything of a finding, or of a side or part of it."""
        phrases = [target.phrase for target in self.answer.targets]
        phrases += [*self.answer.not_seen, *(one.phrase for one in self.answer.not_assessed)]
        return any(_wanted_finding(phrase, (finding,))[0] is not None for phrase in phrases)


def _finding(
    target: SeenTarget,
    concept: SegmentedConcept,
    volume: SeriesVolume,
    view: DisplayView,
    scope: str,
    place: tuple[int, int],
    *,
    low_confidence: bool,
) -> Finding:
    """A target on the source grid. `place`: ordinal of its question and of itself, from 0."""
    mask = view.restore(target.mask)
    return Finding(
        phrase=target.phrase,
        concept=concept,
        confidence=target.confidence,
        mask=mask,
        measurements=() if low_confidence else measure(volume, mask),
        tracking_id=f"{concept.label} {place[0] + 1}.{place[1] + 1}",
        tracking_uid=derived_uid(scope, "tracking", *map(str, place)),
        low_confidence=low_confidence,
    )


def _wanted_finding(
    phrase: str, findings: tuple[SegmentedConcept, ...], code: LabelCode | None = None
) -> tuple[SegmentedConcept | None, SegmentedConcept | None]:
    """The finding that a phrase names, if any, and the concept to mark it as.

    A phrase names a finding by its label or by its codes; a finding without a side is named by either side or by a part
    of it, and is then marked as that. `code`: what the model says that it is, where we know no code of it.
    """
    known = concept_for(phrase) or (None if code is None else _concept_of(phrase, code))
    for finding in findings:
        if finding.label.casefold() == phrase.strip().casefold():
            return finding, finding
    if known is not None:
        same = [finding for finding in findings if same_but_for_side(finding, known)]
        for finding in same:
            if same_code(finding.laterality, known.laterality):
                return finding, finding
        for finding in findings:
            if finding.laterality is None and is_side_or_part(known, finding):
                return finding, known
    return None, known


_CATEGORIES = {"anatomy": codes.ANATOMY, "abnormality": codes.ABNORMAL, "object": codes.OBJECT}
_SIDES = {"left": codes.LEFT, "right": codes.RIGHT}


def _concept_of(phrase: str, code: LabelCode) -> SegmentedConcept | None:
    """A model's own code; None for one that an archive would not take (PS3.5 6.2: SH 16, LO 64) or of no category."""
    category = _CATEGORIES.get(code.category)
    fits = 0 < len(code.value) <= 16 and 0 < len(code.scheme) <= 16 and 0 < len(code.meaning) <= 64
    if category is None or not fits or not phrase.strip():
        return None
    return SegmentedConcept(
        phrase.strip()[:64], category, Code(code.value, code.scheme, code.meaning), _SIDES.get(code.side)
    )


# --- Records ----------------------------------------------------------------------------------------------------------


def answer_record(answer: ReadAnswer, part: ReadPart) -> AnswerRecord:
    """An answer of a part as it is kept."""
    return AnswerRecord(
        question=answer.question,
        text=answer.text,
        findings=tuple(_finding_record(finding, part.volume) for finding in answer.findings),
        not_seen=tuple(concept.label for concept in answer.not_seen),
        part=part.ordinal,
        compared=answer.compared,
        not_assessed=tuple(NotAssessedRecord(one.label, one.why, one.reason) for one in answer.not_assessed),
        goes_on=answer.goes_on,
        not_asked=answer.not_asked,
    )


def _finding_record(finding: Finding, volume: SeriesVolume) -> FindingRecord:
    return FindingRecord(
        phrase=finding.phrase,
        label=finding.concept.label,
        confidence=round(finding.confidence, 4),
        voxels=int(finding.mask.sum()),
        measurements=tuple(_measurement_record(measurement, volume) for measurement in finding.measurements),
        low_confidence=finding.low_confidence,
        changes=tuple(ChangeRecord.of(change) for change in finding.changes),
        tracking_uid=finding.tracking_uid,
    )


def _measurement_record(measurement: Measurement, volume: SeriesVolume) -> MeasurementRecord:
    record = MeasurementRecord(
        kind=measurement.kind.value,
        name=measurement.name,
        value=measurement.rounded,
        unit=measurement.unit.value,
        text=measurement.text,
        at_least=measurement.at_least,
        frame_number=measurement.frame_number,
        method=None if measurement.method is None else measurement.method.value,
    )
    line = measurement.line
    if line is None:
        return record
    image = Reference.to(volume.slices[line.slice_index])
    return replace(
        record,
        sop_instance_uid=image.sop_instance_uid,
        frame_number=image.frame_number,
        slice=line.slice_index + 1,
        ends=(_hundredths(line.start), _hundredths(line.end)),
    )


def _hundredths(point: tuple[float, float]) -> tuple[float, float]:
    """Column and row to a hundredth of a pixel."""
    return round(point[0], 2), round(point[1], 2)
