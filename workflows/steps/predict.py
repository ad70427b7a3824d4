"""Predict: a claimed job's series becomes one volume, the model answers, the results are saved before any is sent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from dicom_node.errors import DicomNodeError, VolumeRefused
from dicom_node.results.finding import Finding, Profile, ReadAnswer, ResultContext
from dicom_node.results.gate import check_segmentation
from dicom_node.results.measurement import area_mm2, volume_ml
from dicom_node.results.overlay import write_overlay
from dicom_node.results.report import build_report
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.write import save
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.volumes.load import SeriesVolume, load_series
from inference.errors import InferenceError, OutOfMemory
from inference.interface import Predictor, Progress, Question
from workflows.errors import DatabaseUnavailable
from workflows.protocols.schema import ProtocolQuestion
from workflows.reading import display_view, read_answer, slice_stack
from workflows.state.records import SavedResult
from workflows.state.repository import Repository
from workflows.state.tables import InstanceRow, JobRow
from workflows.state.waker import Waker
from workflows.steps.inputs import inputs_of, report_lost

__all__ = ["Inference", "answer_series", "answers_as_json", "predict_job", "save_objects"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Inference:
    """What predicting needs beside the job."""

    predictor: Predictor
    owner: str
    results_directory: Path
    station_ae_title: str
    archive: str
    lease_s: float = 60.0
    heartbeat_s: float = 15.0
    maximum_attempts: int = 3


def predict_job(key: str, repository: Repository, store: InstanceStore, inference: Inference, waker: Waker) -> None:
    """Claim the job, answer it, save its results. A message that finds nothing to claim does nothing."""
    job = repository.claim_job(key, inference.owner, inference.lease_s, inference.maximum_attempts)
    if job is None:
        return
    bound = log.bind(study_uid=job.study_uid, job_key=key)
    bound.info("job_claimed", attempt=job.attempts)
    rows = [row for row in repository.instances(job.study_uid) if row.series_uid == job.series_uid]
    if report_lost(rows, store, repository) or inputs_of(rows) != job.inputs:
        reason = "the series is not what it was when the job was planned; the next plan decides"
        repository.release_job(key, inference.owner, reason, delay_s=0)
        bound.warning("inputs_changed")
        return
    try:
        with _heartbeat(repository, key, inference):
            answers, results = _work(job, rows, repository, store, inference)
    except (VolumeRefused, DicomNodeError, InferenceError) as error:
        if isinstance(error, OutOfMemory):
            repository.release_job(key, inference.owner, str(error), delay_s=60.0)
        else:
            repository.fail_job(key, inference.owner, str(error))
        bound.warning("job_not_answered", reason=str(error))
        return
    if repository.save_results(key, inference.owner, answers, results, inference.archive):
        bound.info("job_answered", results=len(results))
        waker.publish(key)
    else:
        bound.warning("lease_lost")


def _work(
    job: JobRow, rows: Sequence[InstanceRow], repository: Repository, store: InstanceStore, inference: Inference
) -> tuple[list[dict[str, Any]], list[SavedResult]]:
    volume = load_series([store.absolute(Path(row.path)) for row in rows])
    questions = [ProtocolQuestion.from_json(question) for question in job.questions]
    answers = answer_series(volume, questions, inference.predictor, job.job_key)
    context = ResultContext(
        job_key=job.job_key,
        created=job.created_at,
        algorithm_name=job.model["name"],
        algorithm_version=job.model["version"],
        weights_digest=job.model["digest"],
        terms=job.model["terms"],
        protocol=f"{job.protocol} {job.protocol_version}",
        station_ae_title=inference.station_ae_title,
        profile=Profile(job.profile),
        predecessors=_predecessors(job, repository),
    )
    directory = inference.results_directory / job.study_uid / job.job_key[:16]
    return answers_as_json(volume, answers), save_objects(volume, answers, context, directory)


def _predecessors(job: JobRow, repository: Repository) -> list[tuple[str, str]]:
    if job.predecessor_key is None:
        return []
    return [
        (row.sop_class_uid, row.sop_instance_uid) for row in repository.results(job.predecessor_key) if row.kind == "SR"
    ]


def answer_series(
    volume: SeriesVolume,
    questions: list[ProtocolQuestion],
    predictor: Predictor,
    key: str,
    *,
    only_findings: bool = True,
    progress: Progress | None = None,
) -> tuple[ReadAnswer, ...]:
    """Ask the model every question about the volume; findings come back on the source grid.

    `only_findings=False`: no protocol asks, and whatever has a code may be marked. `progress` counts drawn slices.
    """
    view = display_view(volume)
    wanted = [Question(question.text) for question in questions]
    answers = predictor.answer(slice_stack(volume, view), wanted, progress=progress)
    return tuple(
        read_answer(answer, question, view, key, ordinal, only_findings=only_findings)
        for ordinal, (answer, question) in enumerate(zip(answers, questions, strict=True))
    )


def save_objects(
    volume: SeriesVolume, answers: tuple[ReadAnswer, ...], context: ResultContext, directory: Path
) -> list[SavedResult]:
    """Write SEG (if anything was seen), SR and an overlay picture; read the SEG back before it may be sent.

    Paths of the results are absolute. Raises ResultRefused when our own SEG fails the geometry gate.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    results = []
    segmentation = build_segmentation(volume, answers, context)
    if segmentation is not None:
        path = directory / "seg.dcm"
        save(segmentation, path)
        check_segmentation(path, volume, answers)
        results.append(_saved("SEG", segmentation, path))
    report = build_report(volume, answers, segmentation, context)
    save(report, directory / "sr.dcm")
    results.append(_saved("SR", report, directory / "sr.dcm"))
    write_overlay(volume, answers, directory / "overlay.png", context.terms)
    return results


def _saved(kind: str, dataset: Any, path: Path) -> SavedResult:
    return SavedResult(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        path=str(path),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def answers_as_json(volume: SeriesVolume, answers: tuple[ReadAnswer, ...]) -> list[dict[str, Any]]:
    """An entry per question: `{question, answer, findings: [{phrase, label, confidence, voxels, ...}], not_seen}`.

    `not_seen`: labels of what was asked for and not seen.
    """
    return [
        {
            "question": answer.question,
            "answer": answer.text,
            "findings": [finding_as_json(volume, finding) for finding in answer.findings],
            "not_seen": [concept.label for concept in answer.not_seen],
        }
        for answer in answers
    ]


def finding_as_json(volume: SeriesVolume, finding: Finding) -> dict[str, Any]:
    """A finding as `status --json` and `ask` show it; volume or area is null where the geometry does not give it."""
    return {
        "phrase": finding.phrase,
        "label": finding.concept.label,
        "confidence": round(finding.confidence, 4),
        "voxels": int(finding.mask.sum()),
        "volume_ml": volume_ml(volume, finding.mask),
        "area_mm2": area_mm2(volume, finding.mask),
    }


@contextmanager
def _heartbeat(repository: Repository, key: str, inference: Inference) -> Iterator[None]:
    """Extend the lease while the model works, from a thread of its own."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(inference.heartbeat_s):
            try:
                if not repository.extend_lease(key, inference.owner, inference.lease_s):
                    return
            except DatabaseUnavailable as error:  # it may be back before the lease ends
                log.warning("heartbeat_missed", job_key=key, reason=str(error))

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
