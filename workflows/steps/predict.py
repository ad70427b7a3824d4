"""Predict: a claimed job's parts are read, the model answers, the results are saved before any is sent."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from dicom_node.errors import DicomNodeError
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.results.comparing import ReadNow
from dicom_node.results.profiles import Profile
from dicom_node.showing.kept import STACKS_FILE, keep_stacks
from dicom_node.showing.stack import shown_stacks
from dicom_node.volumes.load import load_series
from inference.errors import InferenceError, OutOfMemory, RemoteFailed
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SliceStack
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, FilesUnreadable, NotThisWorker, OtherWeights, defect
from workflows.reading import Reading, ReadingContext, read
from workflows.state.keys import LOW_CONFIDENCE, object_key
from workflows.state.records import Instance, Job, Trouble, TroubleKind
from workflows.state.repository import Repository
from workflows.state.retrying import Backoff
from workflows.state.states import JobState, QuestionState
from workflows.state.waker import Waker
from workflows.steps.inputs import images_of, inputs_of, require_intact, require_readable, unreadable
from workflows.steps.priors import made_by

__all__ = ["Inference", "predict_job"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Inference:
    """What predicting needs beside the job. `node_uid`: whose results say that they are this installation's.

    `predictor_for`: the predictor that holds the weights a job was planned for; raises OtherWeights where this worker
    neither holds them nor is configured to load them, and InferenceError where they cannot be loaded.
    `claimed`: is told of a job's key once it is claimed. Who calls keeps the lease, from another process: one that
    hangs must not keep its own.
    """

    predictor_for: Callable[[PredictorDescription], Predictor]
    owner: str
    station_ae_title: str
    low_confidence: float = LOW_CONFIDENCE
    node_uid: str = ""
    lease_s: float = 60.0
    heartbeat_s: float = 15.0
    maximum_attempts: int = 3
    retry_s: float = 30.0
    claimed: Callable[[str], None] = lambda _key: None
    longest_wait_s: float = 300.0
    chance: Callable[[], float] = random.random

    def wait_s(self, job: Job) -> float:
        """How long a job waits that is put off once more, in seconds; shorter by chance, so that not all come at once.

        From `retry_s` on it doubles up to `longest_wait_s`.
        """
        return Backoff(self.retry_s, self.longest_wait_s, self.chance).delay_s(job.waits + 1)


def predict_job(key: str, repository: Repository, folder: DataFolder, inference: Inference, waker: Waker) -> None:
    """Claim the job, answer it, save its results. A message that finds nothing to claim does nothing.

    Whatever happens leaves its reason: a job that another worker may take up is given back, what will not help to try
    again fails, and an error that nobody foresaw is tried once more.
    """
    try:
        job = repository.job(key)
    except LookupError:
        log.info("unknown_job", job_key=key)
        return
    if job.state not in (JobState.PLANNED, JobState.PREDICTING):
        return
    bound = log.bind(study_uid=job.study_uid, job_key=key)
    try:
        predictor = inference.predictor_for(job.model)
    except OtherWeights as error:
        bound.warning("job_not_taken_up", reason=str(error))
        if job.question is not None:
            _give_up_question(job, repository, error)
        elif not _read_anew(job, repository, str(error)):
            repository.hold_job(key, str(error), inference.wait_s(job))
        return
    except (NotThisWorker, InferenceError) as error:
        bound.warning("job_not_taken_up", reason=str(error))
        repository.hold_job(key, str(error), inference.wait_s(job))
        return
    except Exception as error:
        bound.exception("cannot_load_model")
        repository.hold_job(key, defect(error), inference.wait_s(job))
        return
    claimed = repository.claim_job(key, inference.owner, inference.lease_s, inference.maximum_attempts)
    if claimed is None:
        return
    bound.info("job_claimed", attempt=claimed.attempts)
    inference.claimed(key)
    fault_point(FaultPoint.CLAIMED)
    try:
        _answer(claimed, predictor, repository, folder, inference, waker)
    except (NotThisWorker, RemoteFailed) as error:
        bound.warning("job_given_back", reason=_for_log(error))
        repository.give_back(key, inference.owner, str(error), inference.wait_s(claimed))
    except OutOfMemory as error:
        bound.warning("out_of_memory", reason=_for_log(error))
        trouble = Trouble(TroubleKind.NO_ROOM, str(error))
        repository.record_trouble(key, inference.owner, trouble, inference.maximum_attempts, inference.wait_s(claimed))
    except (DicomNodeError, InferenceError) as error:
        bound.warning("job_not_answered", reason=_for_log(error))
        repository.fail_job(key, inference.owner, str(error))
    except OSError as error:
        reason = unreadable(error)
        bound.warning("job_given_back", reason=reason)
        repository.give_back(key, inference.owner, reason, inference.wait_s(claimed))
    except DatabaseUnavailable:  # the lease brings the job back
        raise
    except Exception as error:
        bound.exception("predict_failed")
        trouble = Trouble(TroubleKind.DEFECT, defect(error))
        repository.record_trouble(key, inference.owner, trouble, inference.maximum_attempts, inference.wait_s(claimed))


def _for_log(error: Exception) -> str:
    """An error without words of a model, which may repeat a question, and so somebody's reason for a study."""
    return error.for_log if isinstance(error, InferenceError) else str(error)


def _read_anew(job: Job, repository: Repository, why: str) -> bool:
    """A job whose saved results are damaged and whose weights are gone becomes a new one; False: it is no such job."""
    if not repository.has_damaged_results(job.job_key):
        return False
    if repository.reopen(job.study_uid, f"a saved result is damaged and cannot be made again: {why}"):
        log.warning("damaged_result_read_anew", study_uid=job.study_uid, job_key=job.job_key)
    else:
        repository.give_up_damaged(job.job_key, f"{why}; the study lacks images too: send it again")
    return True


def _give_up_question(job: Job, repository: Repository, error: OtherWeights) -> None:
    """Nobody reads a study anew for a question; whoever wants to know asks again."""
    if repository.has_damaged_results(job.job_key):
        repository.give_up_damaged(job.job_key, f"{error}; ask the question again")
    else:
        repository.give_up_question(job.job_key, f"the weights have changed since it was asked: ask again ({error})")


def _answer(
    job: Job,
    predictor: Predictor,
    repository: Repository,
    folder: DataFolder,
    inference: Inference,
    waker: Waker,
) -> None:
    bound = log.bind(study_uid=job.study_uid, job_key=job.job_key)
    wanted = set(job.inputs)  # what came late and is only kept is none of them
    images = [one.as_read for one in images_of(repository.instances(job.study_uid), job.series_uid)]
    instances = [one for one in images if wanted.issuperset(inputs_of([one]))]
    _require_as_received(instances, job, repository, folder)
    if inputs_of(instances) != job.inputs:
        raise FilesUnreadable("the series is not what it was when the job was planned; the next plan decides")
    watched = _Watched(predictor)
    reading = _read(job, instances, watched, repository, folder, inference)
    fault_point(FaultPoint.SEG_SAVED)
    _keep_stacks(job, instances, {saved.path.parent for saved in reading.objects}, folder)
    objects = [replace(saved, path=folder.relative(saved.path)) for saved in reading.objects]
    saved = repository.save_results(
        job.job_key,
        inference.owner,
        reading.model,
        reading.parts,
        reading.answers,
        objects,
        reading.notes,
        watched.seconds or None,
    )
    if not saved:
        bound.warning("results_not_recorded", reason="the lease was lost, or they are made again under other UIDs")
        for made in {folder.absolute(saved_object.path).parent for saved_object in objects}:
            shutil.rmtree(made, ignore_errors=True)
        return
    weights = reading.model
    bound.info(
        "job_answered", results=len(objects), model=weights.name, version=weights.version, digest=weights.digest[:16]
    )
    if job.question is QuestionState.ASKED:  # its objects go nowhere until somebody keeps them
        return
    for archive in dict.fromkeys(destination.archive for destination in job.destinations):
        waker.publish(job.job_key, archive)


def _require_as_received(instances: Sequence[Instance], job: Job, repository: Repository, folder: DataFolder) -> None:
    """Raise FilesUnreadable for a file that is missing here or damaged; the study is then looked after."""
    try:
        require_readable(instances, folder)
        require_intact(instances, folder)
    except FilesUnreadable:
        repository.suspect(job.study_uid)
        raise


def _read(
    job: Job,
    instances: Sequence[Instance],
    predictor: Predictor,
    repository: Repository,
    folder: DataFolder,
    inference: Inference,
) -> Reading:
    # Before a job is answered nobody knows what it has to say; then only what some destination still lacks is made.
    missing = job.unmade_profiles if job.made else job.profiles
    series = load_series([folder.absolute(instance.path) for instance in instances], job.frames)
    context = ReadingContext(
        job_key=job.job_key,
        answer_key=job.answer_key,
        created=job.created_at,
        protocol=job.protocol_name,
        station_ae_title=inference.station_ae_title,
        folders={profile: _folder_of(job, profile, folder) for profile in missing},
        predecessors={profile: _predecessors(job, profile, repository) for profile in missing},
        edition=job.edition,
        low_confidence=inference.low_confidence,
        node_uid=inference.node_uid,
        wishes={profile: job.wishes(profile) for profile in missing},
        earlier=None if job.prior is None or repository.is_to_be_retracted(job.prior) else job.prior.result,
        now=_read_now(job, predictor),
        only_findings=job.question is None,
        protocol_digest=job.protocol_digest,
    )
    return read(series, job.questions, predictor, context)


def _keep_stacks(job: Job, instances: Sequence[Instance], folders: set[Path], folder: DataFolder) -> None:
    """Keep beside the masks which slices they lie on, so that who looks at them need not read every header."""
    try:
        stacks = shown_stacks([folder.absolute(instance.path) for instance in instances], job.frames)
    except DicomNodeError as error:  # whoever looks is told then
        log.warning("slices_not_kept", study_uid=job.study_uid, job_key=job.job_key, reason=type(error).__name__)
        return
    for made in folders:
        keep_stacks(made / STACKS_FILE, stacks)


class _Watched:
    """A predictor with a fault point while it answers. `seconds`: how long its answers have taken so far."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.seconds = 0.0

    @property
    def description(self) -> PredictorDescription:
        return self._predictor.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        fault_point(FaultPoint.PREDICTING)
        began = time.monotonic()
        try:
            return self._predictor.answer(stack, questions, progress=progress)
        finally:
            self.seconds += time.monotonic() - began


def _read_now(job: Job, predictor: Predictor) -> ReadNow | None:
    """What an earlier result is compared with, beside the findings; None for a job without a date."""
    if job.kind is None or job.kind.date is None:
        return None
    return ReadNow(job.kind.date, job.kind.grid, made_by(predictor.description))


def _folder_of(job: Job, profile: Profile, folder: DataFolder) -> Path:
    """A folder of this attempt's own: a worker that lost its lease must not write over what another has recorded."""
    key = object_key(job.job_key, profile, job.edition)[:16]
    return folder.results / job.study_uid / (key if job.attempts == 1 else f"{key}-{job.attempts}")


def _predecessors(job: Job, profile: Profile, repository: Repository) -> list[tuple[str, str]]:
    """The report that this one replaces, perhaps a reviewer's: the last one of the same profile, else of any."""
    if job.predecessor_key is None:
        return []
    earlier = repository.reports(job.predecessor_key)
    same = [one for one in earlier if one.profile is profile] or earlier
    return [(one.sop_class_uid, one.sop_instance_uid) for one in same[:1]]
