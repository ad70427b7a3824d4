"""Reading: parts and questions in, answers and saved result objects out. The predict step and `ask` call it.

slice_stack     a part's voxels, turned to display orientation, for the model
code_answer     the model's answer, its masks back on the source grid, coded and measured
make_objects    the objects of each profile, each read back through the gate (results/objects.py)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node.identifiers import derived_uid
from dicom_node.results.caveats import number_notes
from dicom_node.results.codes import concept_for
from dicom_node.results.comparing import AskedQuestion, ReadNow, compared_parts
from dicom_node.results.concept import Code, SegmentedConcept
from dicom_node.results.earlier import EarlierResult
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity, own_texts, result_identity
from dicom_node.results.measurement import Measurement, measure
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import Profile, Wishes
from dicom_node.results.stand_ins import Reference
from dicom_node.volumes.contents import LeftOut
from dicom_node.volumes.display import DisplayView, display_view
from dicom_node.volumes.load import LoadedSeries, SeriesVolume
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord, ChangeRecord, FindingRecord, MeasurementRecord
from workflows.state.keys import LOW_CONFIDENCE, object_key
from workflows.state.records import Part, PartKind, SavedObject

__all__ = [
    "LEAST_CONFIDENCE",
    "Reading",
    "ReadingContext",
    "answer_record",
    "code_answer",
    "digest_of",
    "read",
    "slice_stack",
]

LEAST_CONFIDENCE = 0.05
"""Confidence is the overlap (IoU) that is expected with a reader's outline: a mask below this is expected to miss."""

log = structlog.get_logger()


@dataclass(frozen=True)
class ReadingContext:
    """What a reading needs beside parts, questions and predictor.

    `folders`: where each profile's objects are saved; absolute. `only_findings`: mark what the questions' findings name
    and nothing else; False where no protocol asks. `predecessors`: SOP Class and Instance UIDs of the reports that each
    profile's report replaces. `low_confidence`: a mask whose confidence is below is named so and not measured.
    `node_uid`: the installation's, empty where none is. `wishes`: what the destinations of each profile want; without
    an entry what the profile has. `edition`: how often the objects of this job were made under UIDs of their own.
    `earlier`: the result that this one is compared with, `now`: what of the images that are read is compared.
    """

    job_key: str
    answer_key: str
    created: datetime
    protocol: str
    station_ae_title: str
    folders: Mapping[Profile, Path]
    predecessors: Mapping[Profile, Sequence[tuple[str, str]]]
    only_findings: bool = True
    low_confidence: float = LOW_CONFIDENCE
    node_uid: str = ""
    wishes: Mapping[Profile, Sequence[Wishes]] = field(default_factory=dict)
    edition: int = 1
    earlier: EarlierResult | None = None
    now: ReadNow | None = None


@dataclass(frozen=True)
class Reading:
    """Who answered what about which parts, and the objects that say so; paths are absolute.

    `notes`: sentences on what was not read, what numbers mean and what could not be written; the report has them too.
    """

    model: PredictorDescription
    parts: tuple[Part, ...]
    answers: tuple[AnswerRecord, ...]
    objects: tuple[SavedObject, ...]
    notes: tuple[str, ...] = ()


def read(
    series: LoadedSeries,
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    context: ReadingContext,
    *,
    progress: Progress | None = None,
    export: Callable[[Sequence[ReadPart]], object] | None = None,
) -> Reading:
    """Ask the predictor every question about every part of a series, and save the answers as result objects.

    `progress` counts slices that were drawn. `export` gets the parts with their masks before objects are made. What the
    objects say of who answered comes from the predictor. A SEG that cannot be written is left out, and the report says
    so. Raises ResultRefused when one of our own objects fails a check, or no report can be written, and what predictors
    raise.
    """
    parts = tuple(
        _read_part(ordinal, volume, questions, predictor, context, progress)
        for ordinal, volume in enumerate(series.parts)
    )
    if context.earlier is not None and context.now is not None:
        asked = [AskedQuestion(question.id, question.text, question.findings) for question in questions]
        parts = compared_parts(parts, asked, context.earlier, context.now)
    if export is not None:
        export(parts)
    notes = [*_left_out(series.left_out), *dict.fromkeys(note for part in parts for note in number_notes(part))]
    texts = [(part.answers, part.volume.name) for part in parts], notes
    source = max(
        (part.volume.identity for part in parts), key=lambda one: one.names
    )  # the first of those that say most
    identity = result_identity(source, own_texts(*texts, context, predictor.description))
    objects: list[SavedObject] = []
    for profile, folder in context.folders.items():
        objects += _save_objects(parts, identity, profile, folder, predictor.description, context, notes)
    return Reading(
        model=predictor.description,
        parts=tuple(_part_record(part) for part in parts),
        answers=tuple(answer_record(answer, part) for part in parts for answer in part.answers),
        objects=tuple(objects),
        notes=tuple(notes),
    )


_NAMED = 5


def _left_out(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """What of the series was not read, the first few by name."""
    for one in left_out[:_NAMED]:
        yield f"Not read: {one.detail}."
    if len(left_out) > _NAMED:
        yield f"Not read: {len(left_out) - _NAMED} more instances of this series."


def _read_part(
    ordinal: int,
    volume: SeriesVolume,
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    context: ReadingContext,
    progress: Progress | None,
) -> ReadPart:
    view = display_view(volume)
    asked = [Question(question.text) for question in questions]
    answers = predictor.answer(slice_stack(volume, view), asked, progress=progress)
    # The first part's tracking UIDs stay those of a job with one part, whatever is sent later.
    scope = derived_uid(context.answer_key, "part", str(ordinal))
    return ReadPart(
        ordinal,
        volume,
        tuple(
            code_answer(
                answer,
                question,
                volume,
                view,
                scope,
                number,
                only_findings=context.only_findings,
                low_confidence=context.low_confidence,
            )
            for number, (answer, question) in enumerate(zip(answers, questions, strict=True))
        ),
    )


def slice_stack(volume: SeriesVolume, view: DisplayView) -> SliceStack:
    """The volume's values in display orientation, with modality and spacing."""
    spacing = volume.spacing_mm
    if spacing is not None and view.transpose:
        spacing = (spacing[0], spacing[2], spacing[1])
    return SliceStack(
        values=view.apply(volume.values),
        modality=volume.modality,
        spacing_mm=spacing,
    )


# --- Answers ----------------------------------------------------------------------------------------------------------


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
) -> ReadAnswer:
    """An answer with its masks on the source grid, measured, and its phrases coded.

    Marked is what the question's findings name, with a confidence of `LEAST_CONFIDENCE` or more. What else the model
    named stays in the text, which then says that it was not marked and why, and gets neither segment nor measurement.
    `only_findings=False` (no protocol asked): whatever has a code may be marked. A phrase without a code never is: a
    placeholder code would be wrong. What has a confidence below `low_confidence` is marked, not measured, and the text
    says so. `scope`: what tracking UIDs derive from; `ordinal`: of the question, from 0.
    """
    findings: list[Finding] = []
    unmarked: list[str] = []
    doubtful: list[SegmentedConcept] = []
    marked: set[SegmentedConcept] = set()
    for number, target in enumerate(answer.targets):
        wanted, concept = _wanted_finding(target.phrase, question.findings)
        if wanted is None and only_findings:
            unmarked.append(f"{target.phrase}, named but not asked for")
        elif concept is None:
            unmarked.append(f"{target.phrase}, for which no code is known")
        elif target.confidence < LEAST_CONFIDENCE:
            doubtful.append(wanted or concept)
            unmarked.append(f"{target.phrase}, with a confidence of {target.confidence:.2f}")
        else:
            marked.add(wanted or concept)
            low = target.confidence < low_confidence
            findings.append(_finding(target, concept, volume, view, scope, (ordinal, number), low_confidence=low))
    text = answer.text
    if doubtful and not findings:  # the model's own words would claim what is not delivered
        text = f'Nothing is marked. The model said: "{text}"'
    if doubted := [finding.phrase for finding in findings if finding.low_confidence]:
        text = f"{text} [Low confidence, not measured: {'; '.join(doubted)}.]".strip()
    if unmarked:
        text = f"{text} [Not marked: {'; '.join(unmarked)}.]".strip()
        log.info("named_and_not_marked", question=question.id, phrases=unmarked)
    looked_for = dict.fromkeys((*question.findings, *doubtful))
    not_seen = tuple(concept for concept in looked_for if concept not in marked)
    return ReadAnswer(question=question.text, text=text, findings=tuple(findings), not_seen=not_seen)


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
    phrase: str, findings: tuple[SegmentedConcept, ...]
) -> tuple[SegmentedConcept | None, SegmentedConcept | None]:
    """The finding that a phrase names, if any, and the concept to mark it as.

    A phrase names a finding by its label or by its codes; a finding without a side is named by either side, and is
    then marked as that side.
    """
    known = concept_for(phrase)
    for finding in findings:
        if finding.label.casefold() == phrase.strip().casefold():
            return finding, finding
    if known is not None:
        same = [finding for finding in findings if _same_but_for_side(finding, known)]
        for finding in same:
            if _same_code(finding.laterality, known.laterality):
                return finding, finding
        for finding in same:
            if finding.laterality is None:
                return finding, known
    return None, known


def _same_but_for_side(first: SegmentedConcept, second: SegmentedConcept) -> bool:
    pairs = (first.category, second.category), (first.type, second.type), (first.site, second.site)
    return all(_same_code(*pair) for pair in pairs)


def _same_code(first: Code | None, second: Code | None) -> bool:
    """Code's own comparison knows SRT's codes for SCT's, and fails on None."""
    return first is second if first is None or second is None else bool(first == second)


def _part_record(part: ReadPart) -> Part:
    kind = PartKind.IMAGE if part.volume.geometry is None else PartKind.VOLUME
    return Part(part.ordinal, kind, int(part.volume.values.shape[0]), part.volume.name)


def answer_record(answer: ReadAnswer, part: ReadPart) -> AnswerRecord:
    return AnswerRecord(
        question=answer.question,
        text=answer.text,
        findings=tuple(_finding_record(finding, part.volume) for finding in answer.findings),
        not_seen=tuple(concept.label for concept in answer.not_seen),
        part=part.ordinal,
        compared=answer.compared,
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


# --- Objects ----------------------------------------------------------------------------------------------------------


def _save_objects(
    parts: Sequence[ReadPart],
    identity: ResultIdentity,
    profile: Profile,
    folder: Path,
    model: PredictorDescription,
    reading: ReadingContext,
    notes: list[str],
) -> Iterator[SavedObject]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = ResultContext(
        object_key=object_key(reading.job_key, profile, reading.edition),
        created=reading.created,
        algorithm_name=model.name,
        algorithm_version=model.version,
        weights_digest=model.digest,
        terms=model.terms,
        protocol=reading.protocol,
        station_ae_title=reading.station_ae_title,
        profile=profile,
        node_uid=reading.node_uid,
        predecessors=reading.predecessors.get(profile, ()),
    )
    wishes = reading.wishes.get(profile) or (Wishes(),)
    for made in make_objects(parts, identity, wishes, folder, context, notes):
        yield SavedObject(
            sop_instance_uid=made.sop_instance_uid,
            sop_class_uid=made.sop_class_uid,
            kind=made.kind,
            part=made.part,
            profile=profile,
            path=made.path,
            digest=digest_of(made.path),
            references=made.references,
            series_uid=made.series_uid,
        )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
