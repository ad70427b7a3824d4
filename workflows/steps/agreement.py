"""Counting written reviews: what each verdict says, with nothing in it of whose images they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import read_file_header, text
from dicom_node.results.codes import LABELS, UNSIDED
from dicom_node.results.mask_file import mask_file_name, read_masks
from workflows.data_folder import DataFolder
from workflows.state.agreeing import AgreementCase, CaseKind
from workflows.state.answers import FindingRecord
from workflows.state.asking import QUESTION_PROTOCOL
from workflows.state.records import Job
from workflows.state.repository import Repository
from workflows.state.reviewing import FindingVerdict, Missed, Review, VerdictKind
from workflows.steps.kept_headers import kept_header_path
from workflows.steps.showing import part_findings

__all__ = ["OTHER", "UNKNOWN_SCANNER", "count_reviews", "masks_of", "scanner_of"]

log = structlog.get_logger()

OTHER = "other"
"""Stands for a label that the node has no code for: it may be a person's own words."""
FREE_QUESTION = "a question of a reader"
"""Stands for a question that no protocol asks: its words may name anybody."""
UNKNOWN_SCANNER = "unknown scanner"
_EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "StationName")
_AT_ONCE = 100
_KINDS = {
    VerdictKind.ACCEPT: CaseKind.ACCEPT,
    VerdictKind.OUTLINE: CaseKind.OUTLINE,
    VerdictKind.NAME: CaseKind.NAME,
    VerdictKind.NOT_THERE: CaseKind.NOT_THERE,
}


def count_reviews(repository: Repository, folder: DataFolder) -> int:
    """Count every written review that was not counted yet; return how many. It may run twice."""
    counted = 0
    while reviews := repository.uncounted_reviews(_AT_ONCE):
        for review in reviews:
            repository.count_review(review, list(_cases(review, repository, folder)))
            counted += 1
    return counted


def _cases(review: Review, repository: Repository, folder: DataFolder) -> Iterator[AgreementCase]:
    jobs: dict[str, Job | None] = {}
    scanners: dict[str, str] = {}
    every: tuple[FindingVerdict | Missed, ...] = (*review.verdicts, *review.missed)
    for said in every:
        key = said.place.job_key if isinstance(said, FindingVerdict) else said.job_key
        if key not in jobs:
            jobs[key] = _job(repository, key)
        job = jobs[key]
        if job is None:
            continue
        if job.series_uid not in scanners:
            scanners[job.series_uid] = scanner_of(job, repository, folder)
        made = partial(_case, review, job, scanners[job.series_uid])
        with suppress(LookupError):  # a verdict on what the job does not have
            if isinstance(said, Missed) and _was_not_assessed(said, job):
                continue
            yield (
                _of_verdict(said, job, repository, folder, made)
                if isinstance(said, FindingVerdict)
                else _of_missed(said, job, made)
            )


def _job(repository: Repository, job_key: str) -> Job | None:
    try:
        return repository.job(job_key)
    except LookupError:
        return None


def _of_verdict(
    verdict: FindingVerdict, job: Job, repository: Repository, folder: DataFolder, made: partial[AgreementCase]
) -> AgreementCase:
    answer = job.answers[verdict.place.answer]
    finding = answer.findings[verdict.place.finding]
    dice, before, after = None, None, None
    if verdict.correction is not None:
        dice, before, after = _compared(verdict, finding, job, repository, folder)
    case: AgreementCase = made(
        question=_question(job, answer.question), finding=_label(finding.label), kind=_KINDS[verdict.kind], dice=dice,
        before_ml=before, after_ml=after,
    )  # fmt: skip
    return case


def _was_not_assessed(missed: Missed, job: Job) -> bool:
    """Whether the answer says that it did not look for what was missed: then it has missed nothing."""
    if job.answers[missed.answer].not_asked:
        return True
    part = job.answers[missed.answer].part
    said = {one.label for answer in job.answers if answer.part == part for one in answer.not_assessed}
    return missed.label in said


def _of_missed(missed: Missed, job: Job, made: partial[AgreementCase]) -> AgreementCase:
    question = _question(job, job.answers[missed.answer].question)
    case: AgreementCase = made(question=question, finding=_label(missed.label), kind=CaseKind.MISSED)
    return case


def _case(
    review: Review,
    job: Job,
    scanner: str,
    *,
    question: str,
    finding: str,
    kind: CaseKind,
    dice: float | None = None,
    before_ml: float | None = None,
    after_ml: float | None = None,
) -> AgreementCase:
    return AgreementCase(
        review=0,
        written_at=review.written_at or review.changed_at,
        question=question,
        finding=finding,
        protocol=f"{job.protocol} {job.protocol_version}",
        weights=f"{job.model.name} {job.model.version} {job.model.digest[:12]}",
        scanner=scanner,
        kind=kind,
        dice=dice,
        before_ml=before_ml,
        after_ml=after_ml,
    )


def _question(job: Job, asked: str) -> str:
    """The question's text where its protocol has it; what a reader typed is not told."""
    known = job.protocol != QUESTION_PROTOCOL and any(question.text == asked for question in job.questions)
    return asked if known else FREE_QUESTION


def _label(label: str) -> str:
    return label if label in LABELS or label in UNSIDED else OTHER


def _compared(
    verdict: FindingVerdict, finding: FindingRecord, job: Job, repository: Repository, folder: DataFolder
) -> tuple[float | None, float | None, float | None]:
    """Dice of the corrected mask and ours, and the volumes of both in ml where the finding was measured as a volume."""
    try:
        ours = masks_of(job, repository, folder)[verdict.place.answer, verdict.place.finding]
        (theirs,) = read_masks(folder.reviews / job.study_uid / f"{verdict.correction}.npz")
    except (OSError, DicomNodeError, LookupError, ValueError) as error:
        log.warning("correction_not_compared", study_uid=job.study_uid, reason=type(error).__name__)
        return None, None, None
    if ours.shape != theirs.shape:
        return None, None, None
    first, second = int(np.count_nonzero(ours)), int(np.count_nonzero(theirs))
    both = int(np.count_nonzero(ours & theirs))
    dice = 2 * both / (first + second) if first + second else None
    volume_ml = finding.value_of("volume")
    if volume_ml is None or not first:
        return dice, None, None
    return dice, volume_ml, volume_ml / first * second


def masks_of(job: Job, repository: Repository, folder: DataFolder) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """The masks of a job, each bool `slices rows columns` on its part's source grid, by answer and finding.

    Raises FileNotFoundError where they are gone, ResultRefused where they are damaged.
    """
    ours = (one for one in repository.objects(job.job_key) if one.review is None)
    folders = list(dict.fromkeys(folder.absolute(one.path).parent for one in ours))
    masks: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for part in job.parts:
        places = part_findings(job, part.ordinal)
        if not places:
            continue
        name = mask_file_name(part.ordinal)
        path = next((one / name for one in folders if (one / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(name)
        for place, mask in zip(places, read_masks(path), strict=True):
            masks[place.answer, place.finding] = mask
    return masks


def scanner_of(job: Job, repository: Repository, folder: DataFolder) -> str:
    """Manufacturer, model and station of a job's series, from an image or from the header that was kept of it."""
    found = (one for one in repository.instances(job.study_uid) if one.series_uid == job.series_uid)
    paths: list[Path] = [kept_header_path(job.study_uid, job.series_uid, folder)]
    if (first := next(found, None)) is not None:
        paths.insert(0, folder.absolute(first.path))
    for path in paths:
        with suppress(OSError, DicomNodeError):
            _, header = read_file_header(path, _EQUIPMENT)
            words = [text(header, name).strip() for name in _EQUIPMENT]
            return " / ".join(word for word in words if word) or UNKNOWN_SCANNER
    return UNKNOWN_SCANNER
