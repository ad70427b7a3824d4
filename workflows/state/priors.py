"""Earlier results of a patient, as jobs that a new one may be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from dicom_node.sop_classes import holds_images
from workflows.state.columns import patient_id_column
from workflows.state.records import Instance, Job, JobPlan, Prior, Series
from workflows.state.states import JobState
from workflows.state.tables import InstanceRow, JobRow, ResultObjectRow, SeriesRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["EarlierJob", "Priors"]

_STANDS = (JobState.DELIVERING, JobState.DELIVERED)


@dataclass(frozen=True)
class EarlierJob:
    """A job of another study that names the same Patient ID, and whose answer stands.

    `patients`: whom the images of its series name. `image`: one of them, the first that is there; None: none is.
    """

    job: Job
    series: Series
    patients: tuple[Patient, ...]
    image: Instance | None


class Priors(Transactions):
    """What is asked of the database before a job is compared with an earlier one. Nothing here changes anything."""

    def earlier_jobs(self, study_uid: str, patient_id: str, protocol: str) -> list[EarlierJob]:
        """Jobs of other studies with an image of this Patient ID, asked by a protocol of this name, that stand.

        Answered and not replaced, and none of their objects is to be retracted. In order of study and series.
        """
        with self._reading() as session:
            named = select(InstanceRow.study_uid).where(InstanceRow.patient_id == patient_id_column(patient_id))
            of_others = (JobRow.study_uid != study_uid, JobRow.study_uid.in_(named), JobRow.protocol == protocol)
            marked = exists().where(ResultObjectRow.job_key == JobRow.job_key, ResultObjectRow.retract_at.is_not(None))
            jobs = session.scalars(
                select(JobRow)
                .where(*of_others, JobRow.state.in_(_STANDS), ~marked)
                .order_by(JobRow.study_uid, JobRow.series_uid, JobRow.job_key)
            ).all()
            return [_earlier_job(session, job) for job in jobs]

    def objects_known_here(self, sop_instance_uids: Sequence[str]) -> set[str]:
        """Those of the UIDs that are of result objects of this node, whatever became of them."""
        known: set[str] = set()
        with self._reading() as session:
            for portion in in_portions(sop_instance_uids):
                uid = ResultObjectRow.sop_instance_uid
                known |= set(session.scalars(select(uid).where(uid.in_(portion))))
        return known

    def is_to_be_retracted(self, prior: Prior) -> bool:
        """Whether an earlier result of this node is to be retracted; of an SR that an archive has nobody knows."""
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
    return EarlierJob(
        job.record(),
        session.get_one(SeriesRow, (job.study_uid, job.series_uid)).record(),
        tuple(sorted(patients, key=astuple)),
        None if image is None else image.record(),
    )


def _asks_the_same(job: Job, plan: JobPlan) -> bool:
    asked = (job.inputs, job.questions, job.frames)
    return asked == (plan.inputs, plan.questions, plan.frames)


def _stands(session: Session, prior: Prior | None) -> bool:
    """Whether what a job was compared with is not to be retracted; what an archive has cannot be asked here."""
    if prior is None or prior.answer_key is None:
        return True
    marked = select(ResultObjectRow.sop_instance_uid).join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
    wrong = (JobRow.answer_key == prior.answer_key, ResultObjectRow.retract_at.is_not(None))
    return session.scalar(marked.where(*wrong).limit(1)) is None
