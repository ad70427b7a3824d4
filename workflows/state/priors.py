"""Earlier results of a patient, as jobs that a new one may be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from dicom_node.sop_classes import holds_images
from workflows.state.columns import patient_id_column
from workflows.state.records import Instance, Job, JobPlan, Prior, Series
from workflows.state.reviewed import is_doubted, reviewed_answers_of
from workflows.state.states import JobState
from workflows.state.tables import InstanceRow, JobRow, ResultObjectRow, SeriesRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["EarlierJob", "Priors"]

_STANDS = (JobState.DELIVERING, JobState.DELIVERED)


@dataclass(frozen=True)
class EarlierJob:
    """A job of another study that names the same Patient ID, and whose answer stands.

    `job`: with the answers as its last reviewer has them, if one has changed them; `review` is then that review's
    number. `patients`: whom the images of its series name. `image`: one of them, the first that is there; None: none
    is.
    """

    job: Job
    series: Series
    patients: tuple[Patient, ...]
    image: Instance | None
    review: int | None = None


class Priors(Transactions):
    """What is asked of the database before a job is compared with an earlier one. Nothing here changes anything."""

    def earlier_jobs(self, study_uid: str, patient_id: str, protocol: str) -> list[EarlierJob]:
        """Jobs of other studies with an image of this Patient ID, asked by a protocol of this name, that stand.

        Answered and not replaced, none of their objects is to be retracted, and nobody has signed that something of
        them is wrong that is not written yet. In order of study and series.
        """
        with self._reading() as session:
            named = select(InstanceRow.study_uid).where(InstanceRow.patient_id == patient_id_column(patient_id))
            asked = (JobRow.protocol == protocol, JobRow.question.is_(None))
            of_others = (JobRow.study_uid != study_uid, JobRow.study_uid.in_(named), *asked)
            marked = exists().where(ResultObjectRow.job_key == JobRow.job_key, ResultObjectRow.retract_at.is_not(None))
            jobs = session.scalars(
                select(JobRow)
                .where(*of_others, JobRow.state.in_(_STANDS), ~marked)
                .order_by(JobRow.study_uid, JobRow.series_uid, JobRow.job_key)
            ).all()
            return [_earlier_job(session, job) for job in jobs if not is_doubted(session, job)]

    def objects_known_here(self, sop_instance_uids: Sequence[str]) -> set[str]:
        """Those of the UIDs that are of result objects of this node, whatever became of them."""
        known: set[str] = set()
        with self._reading() as session:
            for portion in in_portions(sop_instance_uids):
                uid = ResultObjectRow.sop_instance_uid
                known |= set(session.scalars(select(uid).where(uid.in_(portion))))
        return known

    def is_to_be_retracted(self, prior: Prior) -> bool:
        """Whether an earlier result of this node is to be retracted, or a reviewer has changed it since.

        Of an SR that an archive has nobody knows.
        """
        with self._reading() as session:
            return not _stands(session, prior)

    def standing_job(self, study_uid: str, plan: JobPlan) -> Job | None:
        """The job that asks what `plan` asks, perhaps compared with another earlier result, if that still stands.

        A job that is current comes before one that was replaced and had an answer, of these the newest first.
        """
        with self._reading() as session:
            same = (
                JobRow.study_uid == study_uid,
                JobRow.series_uid == plan.series_uid,
                JobRow.protocol == plan.protocol,
                JobRow.protocol_version == plan.protocol_version,
                JobRow.question.is_(None),
            )
            jobs = session.scalars(select(JobRow).where(*same).order_by(JobRow.created_at.desc(), JobRow.job_key))
            known = [job for row in jobs if _asks_the_same(job := row.record(), plan) and _stands(session, job.prior)]
            current = [job for job in known if job.state is not JobState.SUPERSEDED]
            answered = [job for job in known if job.answers]
            return next(iter(current or answered), None)


def _earlier_job(session: Session, job: JobRow) -> EarlierJob:
    own = (InstanceRow.study_uid == job.study_uid, InstanceRow.series_uid == job.series_uid)
    classes = session.scalars(select(InstanceRow.sop_class_uid).where(*own).distinct())
    images = (*own, InstanceRow.sop_class_uid.in_([uid for uid in classes if holds_images(uid)]))
    named = (
        InstanceRow.patient_id, InstanceRow.patient_id_issuer, InstanceRow.patient_name, InstanceRow.patient_birth_date,
    )  # fmt: skip
    patients = [
        Patient(*(value or "" for value in row))
        for row in session.execute(select(*named).where(*images, InstanceRow.patient_id.is_not(None)).distinct())
    ]
    here = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
    image = session.scalar(select(InstanceRow).where(*images, *here).order_by(InstanceRow.sop_instance_uid).limit(1))
    reviewed = reviewed_answers_of(session, job)
    record = job.record()
    return EarlierJob(
        record if reviewed is None else replace(record, answers=reviewed.answers),
        session.get_one(SeriesRow, (job.study_uid, job.series_uid)).record(),
        tuple(sorted(patients, key=astuple)),
        None if image is None else image.record(),
        None if reviewed is None else reviewed.number,
    )


def _asks_the_same(job: Job, plan: JobPlan) -> bool:
    asked = (job.inputs, job.questions, job.frames)
    return asked == (plan.inputs, plan.questions, plan.frames)


def _stands(session: Session, prior: Prior | None) -> bool:
    """Whether what a job was compared with is not to be retracted, and still is what its reviewer says of it.

    What an archive has cannot be asked here.
    """
    if prior is None or prior.answer_key is None:
        return True
    marked = select(ResultObjectRow.sop_instance_uid).join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
    wrong = (JobRow.answer_key == prior.answer_key, ResultObjectRow.retract_at.is_not(None))
    if session.scalar(marked.where(*wrong).limit(1)) is not None:
        return False
    for job in session.scalars(select(JobRow).where(JobRow.answer_key == prior.answer_key, JobRow.state.in_(_STANDS))):
        reviewed = reviewed_answers_of(session, job)
        if is_doubted(session, job) or (None if reviewed is None else reviewed.number) != prior.review:
            return False
    return True
