"""Reading: parts and questions in, answers and saved result objects out. The predict step and `ask` call it.

slice_stack     a part's voxels, turned to display orientation, for the model
code_answer     the model's answer, its masks back on the source grid, coded and measured
save_objects    SEG and SR for each profile, the SEG read back through the geometry gate
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import concept_for
from dicom_node.results.concept import Code, SegmentedConcept
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.gate import check_segmentation
from dicom_node.results.measurement import measure
from dicom_node.results.overlay import write_overlay
from dicom_node.results.profiles import Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.volumes.display import DisplayView, display_view
from dicom_node.volumes.load import SeriesVolume
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord, FindingRecord, MeasurementRecord
from workflows.state.keys import object_key
from workflows.state.records import Part, PartKind, ResultKind, SavedObject

__all__ = ["LEAST_CONFIDENCE", "Reading", "ReadingContext", "code_answer", "read", "slice_stack"]

LEAST_CONFIDENCE = 0.05
"""Confidence is the overlap (IoU) that is expected with a reader's outline: a mask below this is expected to miss."""

log = structlog.get_logger()


@dataclass(frozen=True)
class ReadingContext:
    """What a reading needs beside parts, questions and predictor.

    `folders`: where each profile's objects are saved; absolute. `only_findings`: mark what the questions' findings name
    and nothing else; False where no protocol asks. `predecessors`: SOP Class and Instance UIDs of the reports that each
    profile's report replaces.
    """

    job_key: str
    answer_key: str
    created: datetime
    protocol: str
    station_ae_title: str
    folders: Mapping[Profile, Path]
    predecessors: Mapping[Profile, Sequence[tuple[str, str]]]
    only_findings: bool = True


@dataclass(frozen=True)
class Reading:
    """Who answered what about which parts, and the objects that say so; paths are absolute."""

    model: PredictorDescription
    parts: tuple[Part, ...]
    answers: tuple[AnswerRecord, ...]
    objects: tuple[SavedObject, ...]


def read(
    volumes: Sequence[SeriesVolume],
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    context: ReadingContext,
    *,
    progress: Progress | None = None,
) -> Reading:
    """Ask the predictor every question about every part, and save the answers as result objects.

    `volumes`: the parts of one series. `progress` counts slices that were drawn. What the objects say of who answered
    comes from the predictor. Raises ResultRefused when one of our own objects fails a check, and what predictors raise.
    """
    parts = tuple(
        _read_part(ordinal, volume, questions, predictor, context, progress) for ordinal, volume in enumerate(volumes)
    )
    return Reading(
        model=predictor.description,
        parts=tuple(_part_record(part) for part in parts),
        answers=tuple(_answer_record(answer, part.ordinal) for part in parts for answer in part.answers),
        objects=tuple(
            saved
            for profile, folder in context.folders.items()
            for saved in _save_objects(parts, profile, folder, predictor.description, context)
        ),
    )


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
            code_answer(answer, question, volume, view, scope, number, only_findings=context.only_findings)
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
        stored_range=volume.stored_range,
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
) -> ReadAnswer:
    """An answer with its masks on the source grid, measured, and its phrases coded.

    Marked is what the question's findings name, with a confidence of `LEAST_CONFIDENCE` or more. What else the model
    named stays in the text, which then says that it was not marked and why, and gets neither segment nor measurement.
    `only_findings=False` (no protocol asked): whatever has a code may be marked. A phrase without a code never is: a
    placeholder code would be wrong. `scope`: what tracking UIDs derive from; `ordinal`: of the question, from 0.
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
            findings.append(_finding(target, concept, volume, view, scope, (ordinal, number)))
    text = answer.text
    if doubtful and not findings:  # the model's own words would claim what is not delivered
        text = f'Nothing is marked. The model said: "{text}"'
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
) -> Finding:
    """A target on the source grid. `place`: ordinal of its question and of itself, from 0."""
    mask = view.restore(target.mask)
    return Finding(
        phrase=target.phrase,
        concept=concept,
        confidence=target.confidence,
        mask=mask,
        measurements=measure(volume, mask),
        tracking_id=f"{concept.label} {place[0] + 1}.{place[1] + 1}",
        tracking_uid=derived_uid(scope, "tracking", *map(str, place)),
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
    return Part(part.ordinal, kind, int(part.volume.values.shape[0]))


def _answer_record(answer: ReadAnswer, part: int) -> AnswerRecord:
    return AnswerRecord(
        question=answer.question,
        text=answer.text,
        findings=tuple(_finding_record(finding) for finding in answer.findings),
        not_seen=tuple(concept.label for concept in answer.not_seen),
        part=part,
    )


def _finding_record(finding: Finding) -> FindingRecord:
    return FindingRecord(
        phrase=finding.phrase,
        label=finding.concept.label,
        confidence=round(finding.confidence, 4),
        voxels=int(finding.mask.sum()),
        measurements=tuple(
            MeasurementRecord(one.kind.value, one.name, one.rounded, one.unit.value, one.text)
            for one in finding.measurements
        ),
    )


# --- Objects ----------------------------------------------------------------------------------------------------------


def _save_objects(
    parts: Sequence[ReadPart],
    profile: Profile,
    folder: Path,
    model: PredictorDescription,
    reading: ReadingContext,
) -> list[SavedObject]:
    """Write a SEG a part (where anything was seen), one SR, and a picture a part; read each SEG back.

    The first part's files are seg.dcm and overlay.png, those of others seg-2.dcm, overlay-2.png and so on.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = ResultContext(
        object_key=object_key(reading.job_key, profile),
        created=reading.created,
        algorithm_name=model.name,
        algorithm_version=model.version,
        weights_digest=model.digest,
        terms=model.terms,
        protocol=reading.protocol,
        station_ae_title=reading.station_ae_title,
        profile=profile,
        predecessors=reading.predecessors.get(profile, ()),
    )
    objects: list[SavedObject] = []
    segmentations = [build_segmentation(part, context) for part in parts]
    for part, segmentation in zip(parts, segmentations, strict=True):
        if segmentation is not None:
            path = folder / _file_name("seg", part.ordinal, "dcm")
            save(segmentation, path)
            check_segmentation(path, part)
            objects.append(_saved(ResultKind.SEGMENTATION, segmentation, path, profile, part.ordinal))
        write_overlay(part, folder / _file_name("overlay", part.ordinal, "png"), context.terms)
    report = build_report(parts, segmentations, context)
    save(report, folder / "sr.dcm")
    references = tuple(saved.sop_instance_uid for saved in objects)
    objects.append(_saved(ResultKind.REPORT, report, folder / "sr.dcm", profile, None, references))
    return objects


def _file_name(stem: str, ordinal: int, suffix: str) -> str:
    return f"{stem}-{ordinal + 1}.{suffix}" if ordinal else f"{stem}.{suffix}"


def _saved(
    kind: ResultKind,
    dataset: Any,
    path: Path,
    profile: Profile,
    part: int | None,
    references: tuple[str, ...] = (),
) -> SavedObject:
    return SavedObject(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        kind=kind,
        part=part,
        profile=profile,
        path=path,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        references=references,
    )
