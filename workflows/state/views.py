"""Read models: what `status`, `explain` and the worklist show, each in a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from dicom_node.sop_classes import holds_images
from workflows.state.columns import patient_id_column
from workflows.state.patients import as_is_readings
from workflows.state.records import (
    AsIsReading,
    Delivery,
    Instance,
    Job,
    RejectedInstance,
    ResultObject,
    RetractionOf,
    Series,
    Study,
)
from workflows.state.rejections import rejected_instances
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import Review, ReviewState
from workflows.state.states import DeliveryState, JobState, QuestionState, RetractionState, StudyState
from workflows.state.tables import (
    DeliveryRow,
    InstanceRow,
    JobRow,
    ResultObjectRow,
    RetractionRow,
    SeriesRow,
    StudyRow,
)
from workflows.state.transactions import Transactions, in_portions

__all__ = ["EVERY_STUDY", "JobView", "ObjectView", "Selection", "SeriesView", "StudyDetails", "StudyView", "Views"]


@dataclass(frozen=True)
class Selection:
    """Which studies a person means; what is None does not restrict. `protocol`: a name without its version.

    `patient_id`: the Patient ID of any of its instances. `since`, `until`: when the last instance came.
    """

    study_uid: str | None = None
    accession_number: str | None = None
    state: StudyState | None = None
    protocol: str | None = None
    patient_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERY_STUDY = Selection()


@dataclass(frozen=True)
class ObjectView:
    """A result object, where it went, and from where it is taken back."""

    result: ResultObject
    deliveries: tuple[Delivery, ...]
    retractions: tuple[RetractionOf, ...] = ()

    def retraction_from(self, archive: str) -> RetractionOf | None:
        """What becomes of it in one archive, if it is to be taken back from there."""
        return next((one for one in self.retractions if one.archive == archive), None)


@dataclass(frozen=True)
class JobView:
    """A job with its objects."""

    job: Job
    objects: tuple[ObjectView, ...]


@dataclass(frozen=True)
class StudyView:
    """A study with the jobs of its generation, in order of series and protocol.

    `to_retract`: its results of whatever generation that are to be retracted. A delivery of one that is DELIVERED
    stays so: its archive has the object. WITHHELD: no archive said that it has it. `reviews`: but for withdrawn ones.
    """

    study: Study
    jobs: tuple[JobView, ...]
    to_retract: tuple[ObjectView, ...] = ()
    reviews: tuple[Review, ...] = ()

    @property
    def ended_jobs(self) -> int:
        """How many jobs are delivered, have failed or were cancelled."""
        ended = (JobState.DELIVERED, JobState.FAILED, JobState.CANCELLED)
        return sum(view.job.state in ended for view in self.jobs)


@dataclass(frozen=True)
class SeriesView:
    """A series and how many of its instances are there."""

    series: Series
    instances: int


@dataclass(frozen=True)
class StudyDetails:
    """All that is known of one study. `earlier`: replaced jobs whose objects are saved, the latest first.

    `rejected`: instances that a note names, received or not. `as_is`: the generations that a person had read as is.
    `removed`: how many images retention removed, and when the last of them; None: none of them.
    """

    view: StudyView
    earlier: tuple[JobView, ...]
    series: tuple[SeriesView, ...]
    lost: tuple[Instance, ...]
    rejected: tuple[RejectedInstance, ...]
    as_is: tuple[AsIsReading, ...]
    removed: tuple[int, datetime] | None = None


class Views(Transactions):
    """What is shown. Nothing here changes anything or waits for who does."""

    def study_views(self, selection: Selection = EVERY_STUDY, limit: int | None = None) -> list[StudyView]:
        """Studies with their jobs and objects, those that got an instance last first; at most `limit`."""
        with self._reading() as session:
            chosen = select(StudyRow).where(*_criteria(selection))
            ordered = chosen.order_by(StudyRow.last_received_at.desc(), StudyRow.study_uid.desc())
            rows = session.scalars(ordered.limit(limit)).all()
            uids = [row.study_uid for row in rows]
            jobs, marked, reviews = _jobs_of(session, uids), _to_retract(session, uids), _reviews_of(session, uids)
            return [
                StudyView(
                    row.record(),
                    tuple(jobs[row.study_uid]),
                    tuple(marked[row.study_uid]),
                    tuple(reviews[row.study_uid]),
                )
                for row in rows
            ]

    def study_uids(self, selection: Selection) -> list[str]:
        """The Study Instance UIDs of a selection, those that got an instance last first."""
        with self._reading() as session:
            chosen = select(StudyRow.study_uid).where(*_criteria(selection))
            ordered = chosen.order_by(StudyRow.last_received_at.desc(), StudyRow.study_uid.desc())
            return list(session.scalars(ordered))

    def count_studies(self, selection: Selection = EVERY_STUDY) -> int:
        """How many studies a selection has."""
        with self._reading() as session:
            return session.scalar(select(func.count(StudyRow.study_uid)).where(*_criteria(selection))) or 0

    def question_jobs(self, study_uid: str) -> list[JobView]:
        """The answered questions of persons about a study, but for those that were not kept, the earliest first."""
        with self._reading() as session:
            asked = (JobRow.study_uid == study_uid, JobRow.question.in_([QuestionState.ASKED, QuestionState.KEPT]))
            rows = session.scalars(select(JobRow).where(*asked).order_by(JobRow.created_at, JobRow.job_key)).all()
            answered = [job for job in rows if job.answers and job.state is not JobState.SUPERSEDED]
            objects = _objects_of(session, [job.job_key for job in answered])
            return [JobView(job.record(), tuple(objects[job.job_key])) for job in answered]

    def backlog_counts(self) -> dict[str, int]:
        """How much waits: jobs to be read and being read, questions of persons, results and retractions on the way."""
        waiting = select(JobRow.state, JobRow.question.is_not(None), func.count()).where(
            JobRow.state.in_([JobState.PLANNED, JobState.PREDICTING])
        )
        sending = select(func.count()).where(DeliveryRow.state == DeliveryState.PENDING)
        back = select(func.count()).where(RetractionRow.state == RetractionState.WANTED)
        with self._reading() as session:
            counts = {"planned": 0, "reading": 0, "questions": 0}
            for state, asked, count in session.execute(waiting.group_by(JobRow.state, JobRow.question.is_not(None))):
                counts["questions" if asked else "planned" if state is JobState.PLANNED else "reading"] += count
            return {**counts, "sending": session.scalar(sending) or 0, "retracting": session.scalar(back) or 0}

    def count_states(self) -> dict[StudyState, int]:
        """How many studies are in each state that any is in."""
        with self._reading() as session:
            rows = session.execute(select(StudyRow.state, func.count()).group_by(StudyRow.state)).all()
            return {row[0]: row[1] for row in rows}

    def job_view(self, study_uid: str, job_key: str) -> JobView | None:
        """A job of a study with its objects, replaced or not; None: the study has no such job."""
        with self._reading() as session:
            row = session.get(JobRow, job_key)
            if row is None or row.study_uid != study_uid:
                return None
            return JobView(row.record(), tuple(_objects_of(session, [job_key])[job_key]))

    def one_image(self, study_uid: str) -> Instance | None:
        """An image of a study, one whose file is there if any is; None: the study has no image."""
        with self._reading() as session:
            own = select(InstanceRow).where(InstanceRow.study_uid == study_uid).order_by(InstanceRow.path)
            there = own.where(InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
            for chosen in (there, own):
                for row in session.scalars(chosen.limit(20)):
                    if holds_images(row.sop_class_uid):
                        return row.record()
            return None

    def series_of(self, study_uid: str) -> list[Series]:
        """The series of a study."""
        with self._reading() as session:
            rows = session.scalars(select(SeriesRow).where(SeriesRow.study_uid == study_uid))
            return [row.record() for row in rows]

    def series_instances(self, study_uid: str, series_uid: str) -> list[Instance]:
        """Every instance of a series that was ever received: there, lost, removed or rejected."""
        with self._reading() as session:
            own = (InstanceRow.study_uid == study_uid, InstanceRow.series_uid == series_uid)
            rows = session.scalars(select(InstanceRow).where(*own).order_by(InstanceRow.sop_instance_uid))
            return [row.record() for row in rows]

    def study_details(self, study_uid: str) -> StudyDetails | None:
        """One study with its series and what was lost of it; None if it was never received here."""
        with self._reading() as session:
            row = session.get(StudyRow, study_uid)
            if row is None:
                return None
            own = InstanceRow.study_uid == study_uid
            there = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
            held = select(InstanceRow.series_uid, func.count()).where(own, *there)
            counts: Mapping[str, int] = dict(session.execute(held.group_by(InstanceRow.series_uid)).all())
            series = select(SeriesRow).where(SeriesRow.study_uid == study_uid).order_by(SeriesRow.series_uid)
            lost = select(InstanceRow).where(own, InstanceRow.lost_at.is_not(None))
            ordered = lost.order_by(InstanceRow.series_uid, InstanceRow.sop_instance_uid)
            return StudyDetails(
                view=StudyView(
                    row.record(),
                    tuple(_jobs_of(session, [study_uid])[study_uid]),
                    tuple(_to_retract(session, [study_uid])[study_uid]),
                    tuple(_reviews_of(session, [study_uid])[study_uid]),
                ),
                earlier=_earlier_jobs(session, study_uid),
                series=tuple(
                    SeriesView(one.record(), counts.get(one.series_uid, 0)) for one in session.scalars(series)
                ),
                lost=tuple(one.record() for one in session.scalars(ordered)),
                removed=_removed(session, study_uid),
                rejected=tuple(rejected_instances(session, study_uid)),
                as_is=tuple(as_is_readings(session, study_uid)),
            )


def _removed(session: Session, study_uid: str) -> tuple[int, datetime] | None:
    gone = (InstanceRow.study_uid == study_uid, InstanceRow.removed_at.is_not(None))
    count, last = session.execute(select(func.count(), func.max(InstanceRow.removed_at)).where(*gone)).one()
    return (count, last) if last is not None else None


def _criteria(selection: Selection) -> Iterable[Any]:
    if selection.study_uid is not None:
        yield StudyRow.study_uid == selection.study_uid
    if selection.accession_number is not None:
        yield StudyRow.accession_number == selection.accession_number
    if selection.state is not None:
        yield StudyRow.state == selection.state
    if selection.protocol is not None:
        current = (JobRow.study_uid == StudyRow.study_uid, JobRow.generation == StudyRow.generation)
        yield exists().where(*current, JobRow.state != JobState.SUPERSEDED, JobRow.protocol == selection.protocol)
    if selection.patient_id is not None:
        named = select(InstanceRow.study_uid).where(InstanceRow.patient_id == patient_id_column(selection.patient_id))
        yield StudyRow.study_uid.in_(named)
    if selection.since is not None:
        yield StudyRow.last_received_at >= selection.since
    if selection.until is not None:
        yield StudyRow.last_received_at <= selection.until


def _jobs_of(session: Session, study_uids: Sequence[str]) -> dict[str, list[JobView]]:
    """The jobs of each study's generation with their objects and deliveries: three queries a portion of studies."""
    found: dict[str, list[JobView]] = defaultdict(list)
    for portion in in_portions(study_uids):
        current = (StudyRow.study_uid == JobRow.study_uid, JobRow.generation == StudyRow.generation)
        jobs = session.scalars(
            select(JobRow)
            .join(StudyRow, current[0])
            .where(JobRow.study_uid.in_(portion), current[1], JobRow.state != JobState.SUPERSEDED)
            .where(JobRow.question.is_(None))
            .order_by(JobRow.series_uid, JobRow.protocol)
        ).all()
        objects = _objects_of(session, [job.job_key for job in jobs])
        for job in jobs:
            found[job.study_uid].append(JobView(job.record(), tuple(objects[job.job_key])))
    return found


def _earlier_jobs(session: Session, study_uid: str) -> tuple[JobView, ...]:
    replaced = select(JobRow).where(JobRow.study_uid == study_uid, JobRow.state == JobState.SUPERSEDED)
    replaced = replaced.where(JobRow.question.is_(None))
    jobs = session.scalars(replaced.order_by(JobRow.created_at.desc(), JobRow.job_key)).all()
    objects = _objects_of(session, [job.job_key for job in jobs])
    return tuple(JobView(job.record(), tuple(objects[job.job_key])) for job in jobs if objects[job.job_key])


def _to_retract(session: Session, study_uids: Sequence[str]) -> dict[str, list[ObjectView]]:
    """What is to be retracted of each study: one query more where there is something."""
    wanted = select(ResultObjectRow.job_key, JobRow.study_uid).join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
    wanted = wanted.where(ResultObjectRow.retract_at.is_not(None)).distinct().order_by(JobRow.study_uid)
    marked: list[tuple[str, str]] = []
    for portion in in_portions(study_uids):
        chosen = wanted.where(JobRow.study_uid.in_(portion))
        marked += [(job_key, study_uid) for job_key, study_uid in session.execute(chosen)]
    objects = _objects_of(session, [job_key for job_key, _ in marked])
    found: dict[str, list[ObjectView]] = defaultdict(list)
    for job_key, study_uid in marked:
        found[study_uid] += [view for view in objects[job_key] if view.result.retraction is not None]
    return found


def _reviews_of(session: Session, study_uids: Sequence[str]) -> dict[str, list[Review]]:
    """The reviews of each study, the first one first; no withdrawn ones."""
    found: dict[str, list[Review]] = defaultdict(list)
    for portion in in_portions(study_uids):
        chosen = select(ReviewRow).where(ReviewRow.study_uid.in_(portion), ReviewRow.state != ReviewState.WITHDRAWN)
        for row in session.scalars(chosen.order_by(ReviewRow.study_uid, ReviewRow.number)):
            found[row.study_uid].append(row.record())
    return found


def _objects_of(session: Session, job_keys: Sequence[str]) -> dict[str, list[ObjectView]]:
    found: dict[str, list[ObjectView]] = defaultdict(list)
    for portion in in_portions(job_keys):
        deliveries: dict[str, list[Delivery]] = defaultdict(list)
        sent = select(DeliveryRow).where(DeliveryRow.job_key.in_(portion)).order_by(DeliveryRow.archive)
        for row in session.scalars(sent):
            deliveries[row.sop_instance_uid].append(row.record())
        taken_back: dict[str, list[RetractionOf]] = defaultdict(list)
        of_jobs = select(RetractionRow).join(
            ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid
        )
        wanted = of_jobs.where(ResultObjectRow.job_key.in_(portion)).order_by(RetractionRow.archive)
        for retraction in session.scalars(wanted):
            taken_back[retraction.sop_instance_uid].append(retraction.record())
        saved = select(ResultObjectRow).where(ResultObjectRow.job_key.in_(portion))
        for result in session.scalars(saved.order_by(ResultObjectRow.job_key, ResultObjectRow.ordinal)):
            uid = result.sop_instance_uid
            view = ObjectView(result.record(), tuple(deliveries[uid]), tuple(taken_back[uid]))
            found[result.job_key].append(view)
    return found
