"""Review: a signed review becomes result objects. They go out by the outbox, then what they replace is taken back.

What is right as it is gets a verified copy of its report, and its SEG stays. Anything else gives one new, consistent
set for each profile. Where nothing of a job is there, nothing is made: what was sent is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import structlog

from dicom_node.errors import DicomNodeError, ResultRefused, UnparseableInstance
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.results.finding import ReadPart, ResultContext, Reviewer
from dicom_node.results.identity import own_texts, result_identity
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import Profile, ResultKind, Wishes
from dicom_node.results.verified import write_verified_report
from dicom_node.volumes.load import load_series
from workflows.coding import answer_record
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, FilesUnreadable, defect
from workflows.reading import digest_of
from workflows.state.answers import AnswerRecord
from workflows.state.keys import object_key
from workflows.state.records import Job, ResultObject, SavedObject
from workflows.state.repository import Repository
from workflows.state.review_writing import ClaimedReview, ReviewedJob, WrittenJob
from workflows.state.waker import Waker
from workflows.steps.inputs import images_of, inputs_of, require_intact, require_readable, unreadable
from workflows.steps.lease import kept
from workflows.steps.reviewed_parts import reviewed_parts
from workflows.steps.route import require_intact as require_saved
from workflows.steps.verdicts import Verdicts

__all__ = ["ReviewWriter", "write_review"]

log = structlog.get_logger()

_SAYS_WHO_LOOKED = frozenset(
    {ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES, ResultKind.KEY_OBJECTS, ResultKind.DOCUMENT}
)
"""They say whether a person has verified them, so they are made again for a review that changes nothing."""
_DEFECTS = 2
_UNREADABLE = 5


@dataclass(frozen=True)
class ReviewWriter:
    """Who writes reviews. `organisation`: that verifies reports, "" where none is stated.

    `lease_s`: how long a review is held; `retry_s`: when what could not be read is tried again.
    """

    owner: str
    station_ae_title: str
    organisation: str = ""
    node_uid: str = ""
    lease_s: float = 120.0
    heartbeat_s: float = 30.0
    retry_s: float = 10.0


def write_review(
    study_uid: str, number: int, repository: Repository, folder: DataFolder, writer: ReviewWriter, waker: Waker
) -> None:
    """Write a signed review whose undo time is over; one that is not to be written now does nothing.

    May run twice: the same review gives the same bytes, and what is recorded is recorded once. One that cannot be
    written is FAILED and says what to do.
    """
    claimed = repository.claim_review(study_uid, number, writer.owner, writer.lease_s)
    if claimed is None:
        return
    bound = log.bind(study_uid=study_uid, review=number)
    beat = lambda: repository.extend_review(study_uid, number, writer.owner, writer.lease_s)  # noqa: E731
    try:
        with kept(beat, writer.heartbeat_s, study_uid=study_uid):
            jobs = [_JobWriter(claimed, one, repository, folder, writer).write() for one in claimed.jobs]
        fault_point(FaultPoint.REVIEW_SAVED)
        recorded = repository.record_written(study_uid, number, writer.owner, jobs)
    except (FilesUnreadable, OSError) as error:
        reason = unreadable(error) if isinstance(error, OSError) else str(error)
        bound.warning("review_put_off", reason=reason, attempt=claimed.attempts)
        if claimed.attempts >= _UNREADABLE:
            repository.fail_review(study_uid, number, writer.owner, f"{reason}; {_requeue(study_uid)}")
        else:
            repository.put_off_review(study_uid, number, writer.owner, reason, writer.retry_s)
        return
    except DicomNodeError as error:
        bound.warning("review_not_written", reason=str(error))
        repository.fail_review(study_uid, number, writer.owner, str(error))
        return
    except DatabaseUnavailable:  # the lease brings it back
        raise
    except Exception as error:
        bound.exception("review_failed")
        if claimed.attempts >= _DEFECTS:
            repository.fail_review(study_uid, number, writer.owner, f"{defect(error)}; {_requeue(study_uid)}")
        else:
            repository.put_off_review(study_uid, number, writer.owner, defect(error), writer.retry_s)
        return
    bound.info("review_written", recorded=recorded, objects=sum(len(one.objects) for one in jobs))
    for one in claimed.jobs:
        for archive in dict.fromkeys(destination.archive for destination in one.job.destinations):
            waker.publish(one.job.job_key, archive)


def _requeue(study_uid: str) -> str:
    return f"once that is mended: `medseg-node requeue --study {study_uid}`"


class _JobWriter:
    """One job of a review."""

    def __init__(
        self,
        claimed: ClaimedReview,
        reviewed: ReviewedJob,
        repository: Repository,
        folder: DataFolder,
        writer: ReviewWriter,
    ) -> None:
        self._claimed, self._reviewed, self._repository = claimed, reviewed, repository
        self._folder, self._writer = folder, writer
        self._job: Job = reviewed.job
        self._verdicts = Verdicts(claimed.review, reviewed)
        self._notes = list(reviewed.job.notes)
        self._standing = reviewed.standing_before(claimed.review.number)

    def write(self) -> WrittenJob:
        """Make the job's objects, all of them checked and on the disk."""
        standing = frozenset(one.sop_instance_uid for one in self._standing)
        if self._verdicts.rejects_all:
            return WrittenJob(self._job.job_key, (), standing, answers=self._verdicts.rejected_answers())
        own = {one.sop_instance_uid for one in self._reviewed.objects if one.review is None}
        if self._verdicts.accepts_all and own <= standing:
            return self._accepted()
        objects = [saved for profile in self._job.profiles for saved in self._made(profile)]
        return WrittenJob(self._job.job_key, tuple(objects), standing, answers=self._answers())

    # --- Right as it is -----------------------------------------------------------------------------------------------

    def _accepted(self) -> WrittenJob:
        """A verified report for each profile; its SEG stays. What says that nobody has verified it is made again."""
        objects: list[SavedObject] = []
        replaces: set[str] = set()
        keeps: set[str] = set()
        for profile in dict.fromkeys(one.profile for one in self._standing):
            of_profile = [one for one in self._standing if one.profile is profile]
            reports = [one for one in of_profile if one.kind is ResultKind.REPORT and one.review is None]
            objects += [verified := self._verified(report, profile) for report in reports[:1]]
            keeps |= {uid for report in reports for uid in report.references}
            keeps |= {
                one.sop_instance_uid for one in of_profile if one.kind not in _SAYS_WHO_LOOKED and one not in reports
            }
            again = [one for one in of_profile if one.kind in _SAYS_WHO_LOOKED]
            if again:
                report = self._folder.absolute(verified.path) if reports else None
                objects += self._made(profile, only={one.kind for one in again}, report=report)
                replaces |= {one.sop_instance_uid for one in again}
        answers = self._verdicts.accepted_answers()
        return WrittenJob(self._job.job_key, tuple(objects), frozenset(replaces), frozenset(keeps), answers)

    def _verified(self, report: ResultObject, profile: Profile) -> SavedObject:
        saved = self._folder.absolute(report.path)
        try:
            require_saved(saved, report)
        except (UnparseableInstance, OSError) as error:
            again = f"`medseg-node reread --study {self._job.study_uid}`, then review it"
            raise ResultRefused(f"the report that was reviewed is gone or damaged: {again}") from error
        path = self._into(profile) / "sr.dcm"
        uid, sop_class_uid, series_uid = write_verified_report(
            saved, path, self._context(profile), self._verdicts.texts()
        )
        return SavedObject(
            uid, sop_class_uid, ResultKind.REPORT, None, profile, self._folder.relative(path), digest_of(path),
            report.references, series_uid,
        )  # fmt: skip

    # --- A set of its own ---------------------------------------------------------------------------------------------

    def _made(
        self, profile: Profile, *, only: set[ResultKind] | None = None, report: Path | None = None
    ) -> list[SavedObject]:
        parts, context = self._parts, self._context(profile)
        notes = [*self._notes, *self._told()]
        source = max((part.volume.identity for part in parts), key=lambda one: one.names)
        texts = own_texts([(part.answers, part.volume.name) for part in parts], notes, context)
        wishes = self._job.wishes(profile) or (Wishes(),)
        made = make_objects(
            parts, result_identity(source, texts), wishes, self._into(profile), context, notes, only=only, report=report
        )
        return [
            SavedObject(
                sop_instance_uid=one.sop_instance_uid,
                sop_class_uid=one.sop_class_uid,
                kind=one.kind,
                part=one.part,
                profile=profile,
                path=self._folder.relative(one.path),
                digest=digest_of(one.path),
                references=one.references,
                series_uid=one.series_uid,
            )
            for one in made
        ]

    def _told(self) -> Sequence[str]:
        """A sentence that says that a person has changed something."""
        changed = not self._verdicts.accepts_all
        return ["Findings, outlines, names and words are as a reviewer has corrected them."] if changed else []

    def _answers(self) -> tuple[AnswerRecord, ...]:
        return tuple(answer_record(answer, part) for part in self._parts for answer in part.answers)

    @cached_property
    def _parts(self) -> tuple[ReadPart, ...]:
        corrections = {
            one.digest: one for one in self._claimed.corrections if one.job_key in self._reviewed.same_images
        }
        series, prior = load_series(self._images(), self._job.frames), self._job.prior
        stands = prior is not None and not self._repository.is_to_be_retracted(prior)
        return reviewed_parts(self._verdicts, series, corrections, self._folder, compared=stands)

    def _images(self) -> list[Path]:
        """The files that the job was answered from, as they were then."""
        job, wanted = self._job, set(self._job.inputs)
        images = [one.as_read for one in images_of(self._repository.instances(job.study_uid), job.series_uid)]
        instances = [one for one in images if wanted.issuperset(inputs_of([one]))]
        if inputs_of(instances) != job.inputs:
            again = f"send the study again, then `medseg-node requeue --study {job.study_uid}`"
            raise ResultRefused(
                f"{len(wanted) - len(instances)} of {len(wanted)} images are not here any more: {again}"
            )
        try:
            require_readable(instances, self._folder)
            require_intact(instances, self._folder)
        except FilesUnreadable:
            self._repository.suspect(job.study_uid)
            raise
        return [self._folder.absolute(one.path) for one in instances]

    # --- What all objects say -----------------------------------------------------------------------------------------

    def _into(self, profile: Profile) -> Path:
        """A folder of this attempt's own, as a job's results have."""
        key = self._key(profile)[:16]
        name = f"{key}-{self._claimed.attempts}" if self._claimed.attempts > 1 else key
        path = self._folder.results / self._job.study_uid / name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def _key(self, profile: Profile) -> str:
        return object_key(self._job.job_key, profile, self._job.edition, self._claimed.review.number)

    def _context(self, profile: Profile) -> ResultContext:
        review, job = self._claimed.review, self._job
        at = review.signed_at or review.changed_at
        return ResultContext(
            object_key=self._key(profile),
            created=at,
            algorithm_name=job.model.name,
            algorithm_version=job.model.version,
            weights_digest=job.model.digest,
            terms=job.model.terms,
            protocol=job.protocol_name,
            protocol_digest=job.protocol_digest,
            station_ae_title=self._writer.station_ae_title,
            profile=profile,
            node_uid=self._writer.node_uid,
            predecessors=self._predecessors(profile),
            reviewer=Reviewer(review.name or review.reviewer, self._writer.organisation, at),
        )

    def _predecessors(self, profile: Profile) -> list[tuple[str, str]]:
        """The last report before this review, of the same profile, else any."""
        number = self._claimed.review.number
        earlier = [one for one in reversed(self._reviewed.objects) if one.review is None or one.review < number]
        reports = [one for one in earlier if one.kind is ResultKind.REPORT]
        same = [one for one in reports if one.profile is profile] or reports
        return [(one.sop_class_uid, one.sop_instance_uid) for one in same[:1]]
