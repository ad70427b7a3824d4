"""Proposals: a SEG of another source that came in becomes a proposed correction of a result, or says why not.

It counts only once a reviewer confirms it. Receiving notes each such SEG (`steps/receive.py`); here it is looked at
beside all else, so that no intake waits for it. All of it may be done twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.errors import ResultRefused
from dicom_node.headers.patient import Patient, contradiction
from dicom_node.results.codes import LABELS
from dicom_node.results.foreign_segmentation import (
    ForeignSegment,
    ForeignSegmentation,
    SourceGrid,
    read_foreign_segmentation,
)
from dicom_node.results.stored_masks import tracking_uids
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, NotShown, defect
from workflows.state.proposals import Outcome, ReceivedSegmentation
from workflows.state.records import Instance, Job, ResultObject
from workflows.state.repository import Repository
from workflows.state.review_checks import reviewable_jobs
from workflows.state.reviewing import Correction, FindingPlace, Proposal, ProposalState
from workflows.state.states import JobState, StudyState
from workflows.state.views import Selection
from workflows.steps.corrections import keep_correction
from workflows.steps.inputs import images_of
from workflows.steps.showing import Showing, part_findings

__all__ = ["Segmentations", "look_at_segmentations"]

log = structlog.get_logger()

_AGAIN_S = 30.0
_MOST_ATTEMPTS = 5
_LEAST_DICE = 0.1
"""Overlap below which a segment of the same name is another one: a second cyst, not the outline of the first."""


class _Later(Exception):
    """It can be looked at later; the message says what it waits for."""


@dataclass(frozen=True)
class Segmentations:
    """What looking at SEGs needs. `showing`: the grids and masks of what was read."""

    repository: Repository
    folder: DataFolder
    showing: Showing


@dataclass(frozen=True)
class _Candidate:
    """A finding of ours that a segment may correct: its mask lies on the grid of the same part."""

    place: FindingPlace
    label: str
    tracking_uid: str
    mask: NDArray[np.bool_]


def look_at_segmentations(found: Segmentations) -> int:
    """Look at every SEG that is due; return how many. One that fails ends nothing but itself."""
    count = 0
    while (segmentation := found.repository.claim_segmentation()) is not None:
        count += 1
        bound = log.bind(study_uid=segmentation.study_uid, sop_instance_uid=segmentation.sop_instance_uid)
        try:
            outcome = _look(segmentation, found)
        except _Later as later:
            found.repository.put_off_segmentation(segmentation, str(later), _AGAIN_S)
            continue
        except DatabaseUnavailable:
            raise
        except Exception as error:
            bound.exception("segmentation_not_read", attempt=segmentation.attempts)
            if segmentation.attempts < _MOST_ATTEMPTS:
                found.repository.put_off_segmentation(segmentation, defect(error), _AGAIN_S)
                continue
            outcome = Outcome(defect(error), attention=f"a SEG that came in was not looked at: {defect(error)}")
        found.repository.settle_segmentation(segmentation, outcome)
        bound.info("segmentation_looked_at", proposals=len(outcome.proposals), refused=bool(outcome.refused))
    return count


def _look(segmentation: ReceivedSegmentation, found: Segmentations) -> Outcome:
    repository, study_uid = found.repository, segmentation.study_uid
    instances = repository.instances(study_uid)
    row = next((one for one in instances if one.sop_instance_uid == segmentation.sop_instance_uid), None)
    if row is None:
        return Outcome("its file is gone")
    if repository.own_results([segmentation.sop_instance_uid]):
        return Outcome("a result of this node")
    try:
        foreign = read_foreign_segmentation(found.folder.absolute(row.path))
    except FileNotFoundError:
        return Outcome("its file is gone")
    except ResultRefused as refused:
        return Outcome(f"not looked at as a correction: {refused}")
    if (refusal := _claims_wrongly(segmentation, foreign, instances, repository)) is not None:
        log.warning("segmentation_refused", study_uid=study_uid, reason=refusal.told)
        return refusal
    jobs = _answered(study_uid, foreign, repository)
    if not jobs:
        return Outcome("it is of no series that this node has answered")
    if not foreign.by_person:
        made_by = ", ".join(sorted({one.algorithm for one in foreign.segments}))
        return Outcome(f"made by {made_by[:64]} and by no person: no correction")
    return _proposed(segmentation, foreign, jobs, found)


def _claims_wrongly(
    segmentation: ReceivedSegmentation,
    foreign: ForeignSegmentation,
    instances: Sequence[Instance],
    repository: Repository,
) -> Outcome | None:
    """The refusal of a SEG that claims findings of another study, or ours for another patient; None: it does not."""
    study_uid = segmentation.study_uid
    claimed = repository.tracked_findings([one.tracking_uid for one in foreign.segments if one.tracking_uid])
    others = tuple(sorted({one.study_uid for one in claimed if one.study_uid != study_uid}))
    if others:
        told = "a SEG claims a finding of another study: it was not applied, find out who made it"
        return Outcome(told, attention=told, refused=others)
    patients = [one.patient for one in images_of(instances) if one.patient is not None]
    if any(_other(foreign.patient, patient) for patient in patients) and (
        claimed or _answered_series(study_uid, foreign, repository)
    ):
        told = "a SEG for results of this study names another patient than its images: it was not applied, correct it"
        return Outcome(told, attention=told, refused=(study_uid,))
    return None


def _other(named: Patient, of_images: Patient) -> bool:
    return contradiction(named, of_images) is not None


def _answered_series(study_uid: str, foreign: ForeignSegmentation, repository: Repository) -> list[Job]:
    """The jobs that were ever answered on a series that the SEG is of."""
    details = repository.study_details(study_uid)
    views = [] if details is None else [*details.view.jobs, *details.earlier]
    return [one.job for one in views if one.job.series_uid in foreign.series_uids and one.job.answers]


def _answered(study_uid: str, foreign: ForeignSegmentation, repository: Repository) -> list[Job]:
    """The current jobs whose findings it may correct. Raises _Later while the study is read again."""
    views = repository.study_views(Selection(study_uid=study_uid))
    if not views:
        return []
    (view,) = views
    jobs = [one.job for one in view.jobs if one.job.series_uid in foreign.series_uids]
    unread = any(one.state in (JobState.PLANNED, JobState.PREDICTING) for one in jobs)
    if (unread or view.study.state in (StudyState.RECEIVING, StudyState.COMPLETE)) and _answered_series(
        study_uid, foreign, repository
    ):
        raise _Later("waits until the study is read again")
    return list(reviewable_jobs(jobs))


# --- Matching ---------------------------------------------------------------------------------------------------------


def _proposed(
    segmentation: ReceivedSegmentation, foreign: ForeignSegmentation, jobs: Sequence[Job], found: Segmentations
) -> Outcome:
    proposals: list[tuple[Proposal, Correction]] = []
    unlike: list[str] = []
    for segment in foreign.segments:
        made = _segment(segmentation, foreign, segment, jobs, found)
        if isinstance(made, str):
            unlike.append(f"{_called(segment)}: {made}")
        elif made is not None:
            proposals.append(made)
    told = f"{len(proposals)} of {len(foreign.segments)} segments proposed as corrections"
    attention = ""
    if unlike:
        told = ". ".join([told, *unlike])
        attention = (
            f"a correction of {', '.join(unlike[:3])}: it was not taken. Save it on the images of series "
            f"{jobs[0].series_uid} and send it again, or draw it on the study's page"
        )
    return Outcome(told, tuple(proposals), attention)


def _called(segment: ForeignSegment) -> str:
    """A segment in a sentence: a name from outside stays outside, it may be a patient's."""
    return segment.label if segment.label in LABELS else f"segment {segment.number}"


def _segment(
    segmentation: ReceivedSegmentation,
    foreign: ForeignSegmentation,
    segment: ForeignSegment,
    jobs: Sequence[Job],
    found: Segmentations,
) -> tuple[Proposal, Correction] | str | None:
    """What a segment proposes; a sentence where it should and cannot; None: it is as we have it, or marks nothing."""
    why = ""
    best: tuple[float, Job, int, NDArray[np.bool_], _Candidate | None, str] | None = None
    for job, part in [(one, part.ordinal) for one in jobs for part in one.parts]:
        try:
            mask = foreign.mask(segment.number, _grid(found, job, part))
        except ResultRefused as refused:
            why = why or str(refused)
            continue
        if not mask.any():
            return None
        candidate, score, matched_by = _matched(segment, mask, _candidates(found, job, part))
        if best is None or score > best[0]:
            best = score, job, part, mask, candidate, matched_by
    if best is None:
        return why
    _, job, part, mask, candidate, matched_by = best
    if candidate is None and segment.label not in LABELS:
        return "it names nothing that this node has a code for"
    if candidate is not None and np.array_equal(candidate.mask, mask):
        return None
    author = foreign.author or "not named"
    correction = keep_correction(
        mask,
        (segmentation.study_uid, job.job_key, part),
        author[:128],
        datetime.now(UTC),
        found.repository,
        found.folder,
        proposal=segmentation.sop_instance_uid,
    )
    if correction is None:
        return None
    proposal = Proposal(
        sop_instance_uid=segmentation.sop_instance_uid,
        segment=segment.number,
        study_uid=segmentation.study_uid,
        job_key=job.job_key,
        part=part,
        place=None if candidate is None else candidate.place,
        label=segment.label if candidate is None else candidate.label,
        author=author,
        matched_by=matched_by,
        correction=correction.digest,
        state=ProposalState.PROPOSED,
        received_at=segmentation.received_at,
    )
    return proposal, correction


def _matched(
    segment: ForeignSegment, mask: NDArray[np.bool_], candidates: Sequence[_Candidate]
) -> tuple[_Candidate | None, float, str]:
    """The finding that a segment corrects, how sure that is, and by what, in words."""
    if segment.tracking_uid:
        for candidate in candidates:
            if candidate.tracking_uid == segment.tracking_uid:
                return candidate, 2.0, "its tracking UID"
    overlaps = [(_dice(mask, one.mask), one) for one in candidates if one.label == segment.label]
    dice, closest = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
    if closest is None or dice < _LEAST_DICE:
        return None, 0.0, "no finding of that name lies there"
    return closest, dice, f"its name and an overlap (Dice) of {dice:.2f}"


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 0.0


def _grid(found: Segmentations, job: Job, part: int) -> SourceGrid:
    """Raises _Later while its images are fetched, ResultRefused where they are gone."""
    try:
        stack = found.showing.stack(job, part)
    except NotShown as error:
        if error.why == "fetching":
            raise _Later("waits for the images, which are fetched from an archive") from error
        raise ResultRefused(f"the images cannot be read ({error.why}), have the study sent again first") from error
    places = {(item.sop_instance_uid, item.frame): number for number, item in enumerate(stack.slices)}
    return SourceGrid((len(stack.slices), stack.rows, stack.columns), stack.geometry, places)


def _candidates(found: Segmentations, job: Job, part: int) -> list[_Candidate]:
    objects = tuple(found.repository.objects(job.job_key))
    try:
        masks = found.showing.masks(job, objects, part)
    except NotShown:
        return []
    places = part_findings(job, part)
    uids = _tracking_uids(job, objects, places, found.folder)
    return [
        _Candidate(place, _label(job, place), uid, mask.whole)
        for place, uid, mask in zip(places, uids, masks, strict=False)
    ]


def _label(job: Job, place: FindingPlace) -> str:
    return job.answers[place.answer].findings[place.finding].label


def _tracking_uids(
    job: Job, objects: Sequence[ResultObject], places: Sequence[FindingPlace], folder: DataFolder
) -> Iterator[str]:
    """The tracking UID of each finding of a part: as it is kept, else from the SEG, of older versions."""
    kept = [job.answers[place.answer].findings[place.finding].tracking_uid for place in places]
    if places and not all(kept):
        part = job.answers[places[0].answer].part
        for one in objects:
            if one.part == part and one.path.name.startswith("seg"):
                try:
                    kept = list(tracking_uids(folder.absolute(one.path)))
                except (ResultRefused, OSError):
                    continue
                break
    yield from kept
