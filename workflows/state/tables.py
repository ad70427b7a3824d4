"""The tables, as SQLAlchemy sees them, and the record that each row is to the rest of the program.

Changes go through a migration in `migrations/`. Nothing outside `workflows.state` imports this module.
"""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import DateTime, Dialect, ForeignKey, ForeignKeyConstraint, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from dicom_node.headers.patient import Patient
from dicom_node.headers.rejection import RejectionCode
from dicom_node.headers.series_kind import SeriesKind
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID
from dicom_node.results.profiles import Profile, ResultKind, Wishes
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.interface import PredictorDescription
from workflows.protocols.schema import ProtocolQuestion
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord
from workflows.state.columns import JSON, BigInteger, Float, Integer, Key, String, Text
from workflows.state.records import (
    AsIsReading,
    Delivery,
    Destination,
    Event,
    Instance,
    Job,
    Part,
    PartKind,
    Prior,
    Priority,
    ResultObject,
    Retraction,
    RetractionOf,
    Series,
    Study,
    Trouble,
    TroubleKind,
)
from workflows.state.states import DeliveryState, JobState, QuestionState, RetractionState, StudyState

__all__ = [
    "AnnouncementRow", "AsIsRow", "Base", "ClockRow", "CommitmentRow", "DeliveryRow", "InstanceRow",
    "JobRow", "NodeRow", "PurgeRow", "RecoveryRow", "RejectionRow", "ResultObjectRow", "RetractionRow", "SeriesRow",
    "StudyRow",
]  # fmt: skip


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EnumColumn(TypeDecorator[Any]):
    """One of our Enums, stored as its value so that a person can read the table."""

    impl = sa.String(16)
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(self.kind(value).value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self.kind(value)


class Base(DeclarativeBase):
    """Root of the tables, with names for every constraint so that migrations can name them too."""

    type_annotation_map = {int: Integer}  # noqa: RUF012 (SQLAlchemy's name)
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


UID = Key()
KEY = Key()


class NodeRow(Base):
    """The node that this database belongs to: one row, whose identity its data folder carries too."""

    __tablename__ = "node"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # always 1
    node_uid: Mapped[str] = mapped_column(KEY)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ClockRow(Base):
    """What the schedulers know of the clock: one row. `looked_at`: when one looked last; then, the last jump."""

    __tablename__ = "clock"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # always 1
    looked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    shifted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    shift_s: Mapped[int] = mapped_column(default=0)
    shifted_by: Mapped[str] = mapped_column(String(128), default="")


class StudyRow(Base):
    """A study, its current generation and state. `wake_at`: when the scheduler has to look at it again.

    `evidence`: why it counted as complete last. `evidence_attempts`: how often its source was asked, or waited for,
    since the instance that came at `evidence_for`.
    """

    __tablename__ = "studies"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    generation: Mapped[int] = mapped_column(default=1)
    state: Mapped[StudyState] = mapped_column(EnumColumn(StudyState))
    reason: Mapped[str] = mapped_column(Text, default="")
    accession_number: Mapped[str] = mapped_column(String(64), default="")
    source_ae_title: Mapped[str] = mapped_column(String(16), default="")
    plan_reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    reread: Mapped[bool] = mapped_column(default=False)
    attention: Mapped[str] = mapped_column(Text, default="")
    defects: Mapped[int] = mapped_column(default=0)
    failure: Mapped[TroubleKind | None] = mapped_column(EnumColumn(TroubleKind), default=None)
    restarted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    first_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wake_at: Mapped[datetime] = mapped_column(UtcDateTime)
    evidence: Mapped[str] = mapped_column(Text, default="")
    evidence_attempts: Mapped[int] = mapped_column(default=0)
    evidence_for: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    inputs_removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # and all files are gone

    __table_args__ = (
        Index("ix_studies_due", "state", "wake_at"),
        Index("ix_studies_newest", "last_received_at", "study_uid"),
        Index("ix_studies_accession_number", "accession_number"),
        Index("ix_studies_changed_at", "changed_at"),
    )

    def record(self) -> Study:
        return Study(
            study_uid=StudyUID(self.study_uid),
            generation=self.generation,
            state=self.state,
            reason=self.reason,
            accession_number=self.accession_number,
            source_ae_title=self.source_ae_title,
            verdicts=tuple(map(Verdict.from_json, self.plan_reasons)),
            reread=self.reread,
            first_received_at=self.first_received_at,
            last_received_at=self.last_received_at,
            changed_at=self.changed_at,
            attention=self.attention,
            evidence="" if self.state is StudyState.RECEIVING else self.evidence,
            failure=self.failure,
            restarted_at=self.restarted_at,
            inputs_removed_at=self.inputs_removed_at,
        )


class SeriesRow(Base):
    """A series of a study."""

    __tablename__ = "series"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    modality: Mapped[str] = mapped_column(String(16), default="")
    series_description: Mapped[str] = mapped_column(String(256), default="")

    def record(self) -> Series:
        return Series(StudyUID(self.study_uid), SeriesUID(self.series_uid), self.modality, self.series_description)


class InstanceRow(Base):
    """A stored instance; `path` is relative to the data folder.

    `read_digest`: the digest of the bytes that jobs read, where others came since; `read_path`: their file, until the
    next plan has compared the two. Without `read_path` they hold the same.
    """

    __tablename__ = "instances"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    path: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(KEY)
    calling_ae_title: Mapped[str] = mapped_column(String(16), default="")
    generation: Mapped[int]
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    lost_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # found without its file
    read_digest: Mapped[str | None] = mapped_column(String(64), default=None)
    read_path: Mapped[str | None] = mapped_column(Text, default=None)
    lost_reason: Mapped[str] = mapped_column(Text, default="")  # "": nobody knows why it is gone
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # its file, by retention
    # Whom the header names; all NULL in a row that was made before this was kept.
    patient_id: Mapped[str | None] = mapped_column(String(64), default=None)
    patient_id_issuer: Mapped[str | None] = mapped_column(Text, default=None)
    patient_name: Mapped[str | None] = mapped_column(Text, default=None)
    patient_birth_date: Mapped[str | None] = mapped_column(Text, default=None)

    __table_args__ = (
        ForeignKeyConstraint(["study_uid", "series_uid"], ["series.study_uid", "series.series_uid"]),
        Index("ix_instances_patient_id", "patient_id", "study_uid"),
    )

    @property
    def patient(self) -> Patient | None:
        if self.patient_id is None:
            return None
        others = (self.patient_id_issuer, self.patient_name, self.patient_birth_date)
        return Patient(self.patient_id, *(value or "" for value in others))

    @patient.setter
    def patient(self, patient: Patient | None) -> None:
        given = (None,) * 4 if patient is None else astuple(patient)
        self.patient_id, self.patient_id_issuer, self.patient_name, self.patient_birth_date = given

    def record(self) -> Instance:
        return Instance(
            study_uid=StudyUID(self.study_uid),
            series_uid=SeriesUID(self.series_uid),
            sop_instance_uid=SOPInstanceUID(self.sop_instance_uid),
            sop_class_uid=self.sop_class_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            path=Path(self.path),
            bytes=self.bytes,
            digest=self.digest,
            calling_ae_title=self.calling_ae_title,
            generation=self.generation,
            received_at=self.received_at,
            patient=self.patient,
            lost_at=self.lost_at,
            read_digest=self.read_digest,
            read_path=None if self.read_path is None else Path(self.read_path),
            lost_reason=self.lost_reason,
            removed_at=self.removed_at,
        )


class AnnouncementRow(Base):
    """The instances of a study that a peer announced to be available; it may do so before any of them comes."""

    __tablename__ = "announcements"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(String(16), primary_key=True)
    sop_instance_uids: Mapped[list[str]] = mapped_column(JSON)
    announced_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RejectionRow(Base):
    """An instance that a rejection note names; the note may come before the instance, so nothing is referred to."""

    __tablename__ = "rejections"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    note_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID, default="")
    code: Mapped[RejectionCode] = mapped_column(EnumColumn(RejectionCode))
    noted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AsIsRow(Base):
    """A generation of a study in which each series is read under its own patient, because a person wants it."""

    __tablename__ = "as_is_readings"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    wanted_by: Mapped[str] = mapped_column(String(256))
    wanted_at: Mapped[datetime] = mapped_column(UtcDateTime)

    def record(self) -> AsIsReading:
        return AsIsReading(StudyUID(self.study_uid), self.generation, self.wanted_by, self.wanted_at)


class JobRow(Base):
    """One series asked the questions of one protocol. The keys say what it was asked with (`keys.py`).

    `wake_at`: when the scheduler wakes it. `ready_at`: from when on it may be taken up, and then in order of `turn_at`,
    its place among those that wait.
    """

    __tablename__ = "jobs"

    job_key: Mapped[str] = mapped_column(KEY, primary_key=True)
    request_key: Mapped[str] = mapped_column(KEY)
    answer_key: Mapped[str] = mapped_column(KEY, index=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    generation: Mapped[int]
    protocol: Mapped[str] = mapped_column(String(128))
    protocol_version: Mapped[str] = mapped_column(String(32))
    protocol_digest: Mapped[str] = mapped_column(KEY, default="")  # of its file; "" before this was kept
    questions: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    inputs: Mapped[list[str]] = mapped_column(JSON)  # SOP Instance UID and digest of each input instance
    model: Mapped[dict[str, Any]] = mapped_column(JSON)  # name, version, digest, terms
    software: Mapped[str] = mapped_column(String(32), default="")
    prior: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    series_kind: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    frames: Mapped[str] = mapped_column(String(16), default=MIDDLE_FRAME.text)
    destinations: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    notes: Mapped[list[str]] = mapped_column(JSON, default=list)
    state: Mapped[JobState] = mapped_column(EnumColumn(JobState))
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    troubles: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
    lease_owner: Mapped[str | None] = mapped_column(String(128), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    predecessor_key: Mapped[str | None] = mapped_column(KEY, default=None)
    edition: Mapped[int] = mapped_column(default=1)
    made: Mapped[dict[str, list[str]]] = mapped_column(JSON, default=dict)  # kinds of objects, by profile
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wake_at: Mapped[datetime] = mapped_column(UtcDateTime)
    priority: Mapped[Priority] = mapped_column(EnumColumn(Priority), default=Priority.ROUTINE)
    turn_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ready_at: Mapped[datetime] = mapped_column(UtcDateTime)
    useful_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    waits: Mapped[int] = mapped_column(default=0)
    failure: Mapped[TroubleKind | None] = mapped_column(EnumColumn(TroubleKind), default=None)
    history: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
    question: Mapped[QuestionState | None] = mapped_column(EnumColumn(QuestionState), default=None)  # no protocol's
    model_s: Mapped[float | None] = mapped_column(Float, default=None)  # how long the model took for its answers

    __table_args__ = (
        Index("ix_jobs_due", "state", "wake_at"),
        Index("ix_jobs_turn", "state", "turn_at", "ready_at", "generation", "study_uid"),
        Index("ix_jobs_useful", "state", "useful_until"),
        Index("ix_jobs_changed_at", "changed_at"),
    )

    @property
    def goes_to(self) -> tuple[Destination, ...]:
        """Where its objects go."""
        return tuple(
            Destination(entry["archive"], Profile(entry["profile"]), Wishes.from_json(entry))
            for entry in self.destinations
        )

    @property
    def seen(self) -> bool:
        """Whether any question marked anything."""
        return any(answer.get("findings") for answer in self.answers)

    def record(self) -> Job:
        return Job(
            job_key=self.job_key,
            request_key=self.request_key,
            answer_key=self.answer_key,
            study_uid=StudyUID(self.study_uid),
            series_uid=SeriesUID(self.series_uid),
            generation=self.generation,
            protocol=self.protocol,
            protocol_version=self.protocol_version,
            questions=tuple(ProtocolQuestion.from_json(question) for question in self.questions),
            inputs=tuple(self.inputs),
            model=PredictorDescription(**self.model),
            software=self.software,
            prior=None if self.prior is None else Prior.from_json(self.prior),
            frames=FrameChoice(self.frames),
            destinations=self.goes_to,
            parts=tuple(
                Part(entry["ordinal"], PartKind(entry["kind"]), entry["slices"], entry.get("name", ""))
                for entry in self.parts
            ),
            notes=tuple(self.notes),
            answers=tuple(AnswerRecord.from_json(answer) for answer in self.answers),
            state=self.state,
            reason=self.reason,
            attempts=self.attempts,
            troubles=tuple(Trouble(TroubleKind(entry["kind"]), entry["reason"]) for entry in self.troubles),
            predecessor_key=self.predecessor_key,
            created_at=self.created_at,
            changed_at=self.changed_at,
            edition=self.edition,
            made={Profile(profile): frozenset(map(ResultKind, kinds)) for profile, kinds in self.made.items()},
            kind=None if self.series_kind is None else SeriesKind.from_json(self.series_kind),
            priority=self.priority,
            failure=self.failure,
            waits=self.waits,
            ready_at=self.ready_at,
            useful_until=self.useful_until,
            history=tuple(Event(datetime.fromisoformat(entry["at"]), entry["told"]) for entry in self.history),
            question=self.question,
            protocol_digest=self.protocol_digest,
        )


class ResultObjectRow(Base):
    """One saved result object; `path` is relative to the data folder.

    `review`: the number of the review that made it. `replaced_by`: of the review that its own results replace.
    """

    __tablename__ = "result_objects"

    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    job_key: Mapped[str] = mapped_column(ForeignKey("jobs.job_key"), index=True)
    ordinal: Mapped[int]  # what is referenced comes before what references it
    part: Mapped[int | None] = mapped_column(default=None)
    kind: Mapped[ResultKind] = mapped_column(EnumColumn(ResultKind))
    profile: Mapped[Profile] = mapped_column(EnumColumn(Profile))
    sop_class_uid: Mapped[str] = mapped_column(UID)
    path: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(KEY)
    object_references: Mapped[list[str]] = mapped_column(JSON, default=list)
    retract_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None, index=True)
    retract_reason: Mapped[str] = mapped_column(Text, default="")
    retract_code: Mapped[RejectionCode | None] = mapped_column(EnumColumn(RejectionCode), default=None)
    edition: Mapped[int] = mapped_column(default=1)
    series_uid: Mapped[str] = mapped_column(UID, default="")
    reviewed_by: Mapped[str] = mapped_column(Text, default="")
    damaged_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)  # its file; it is made again
    remakes: Mapped[int] = mapped_column(default=0)
    review: Mapped[int | None] = mapped_column(default=None)
    replaced_by: Mapped[int | None] = mapped_column(default=None)

    def record(self) -> ResultObject:
        return ResultObject(
            sop_instance_uid=SOPInstanceUID(self.sop_instance_uid),
            sop_class_uid=self.sop_class_uid,
            job_key=self.job_key,
            kind=self.kind,
            part=self.part,
            profile=self.profile,
            path=Path(self.path),
            digest=self.digest,
            references=tuple(self.object_references),
            retraction=self._retraction(),
            series_uid=self.series_uid,
            reviewed_by=self.reviewed_by,
            review=self.review,
            replaced_by=self.replaced_by,
        )

    def _retraction(self) -> Retraction | None:
        if self.retract_at is None:
            return None
        return Retraction(self.retract_reason, self.retract_at, self.retract_code or RejectionCode.QUALITY)


class DeliveryRow(Base):
    """One result object on its way to one archive, under a lease while it is being sent.

    `wake_at`: when it is due; None while its job waits for a plan that may carry it over. `independent`: it is sent
    whatever becomes of its job, such as a rejection note. `confirm_at`: when the archive is to be asked whether it
    keeps the object; None: it need not be.
    """

    __tablename__ = "deliveries"

    sop_instance_uid: Mapped[str] = mapped_column(ForeignKey("result_objects.sop_instance_uid"), primary_key=True)
    archive: Mapped[str] = mapped_column(Text, primary_key=True)
    job_key: Mapped[str] = mapped_column(ForeignKey("jobs.job_key"))
    state: Mapped[DeliveryState] = mapped_column(EnumColumn(DeliveryState))
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    defects: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    wake_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    independent: Mapped[bool] = mapped_column(default=False)
    perhaps_sent: Mapped[bool] = mapped_column(default=False)  # sent, and its answer was lost
    resends: Mapped[int] = mapped_column(default=0)
    confirm_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    confirm_attempts: Mapped[int] = mapped_column(default=0)
    confirm_reason: Mapped[str] = mapped_column(Text, default="")
    committed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (
        Index("ix_deliveries_job_key", "job_key"),
        Index("ix_deliveries_due", "state", "wake_at"),
        Index("ix_deliveries_confirm", "confirm_at"),
    )

    def record(self) -> Delivery:
        return Delivery(
            sop_instance_uid=SOPInstanceUID(self.sop_instance_uid),
            archive=self.archive,
            state=self.state,
            reason=self.reason,
            attempts=self.attempts,
            delivered_at=self.delivered_at,
            committed_at=self.committed_at,
            seen_at=self.seen_at,
            confirm_reason=self.confirm_reason,
            wake_at=self.wake_at,
        )


class CommitmentRow(Base):
    """A storage commitment that was asked for; the archive's answer names the transaction, perhaps much later."""

    __tablename__ = "commitments"

    transaction_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    job_key: Mapped[str] = mapped_column(ForeignKey("jobs.job_key"))
    archive: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class RetractionRow(Base):
    """One result object that is to be taken back from one archive that has it. `wake_at`: when it is due."""

    __tablename__ = "retractions"

    sop_instance_uid: Mapped[str] = mapped_column(ForeignKey("result_objects.sop_instance_uid"), primary_key=True)
    archive: Mapped[str] = mapped_column(Text, primary_key=True)
    study_uid: Mapped[str] = mapped_column(UID, index=True)
    code: Mapped[RejectionCode] = mapped_column(EnumColumn(RejectionCode))
    reason: Mapped[str] = mapped_column(Text)
    wanted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[RetractionState] = mapped_column(EnumColumn(RetractionState))
    told: Mapped[str] = mapped_column(Text, default="")
    note_uid: Mapped[str | None] = mapped_column(UID, default=None, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    wake_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (Index("ix_retractions_due", "state", "wake_at"),)

    def record(self) -> RetractionOf:
        return RetractionOf(
            sop_instance_uid=SOPInstanceUID(self.sop_instance_uid),
            archive=self.archive,
            code=self.code,
            reason=self.reason,
            wanted_at=self.wanted_at,
            state=self.state,
            told=self.told,
            note_uid=self.note_uid,
            done_at=self.done_at,
        )


class RecoveryRow(Base):
    """A study of which something is missing or may be damaged. `wake_at`: when it is looked after; None: no more."""

    __tablename__ = "recoveries"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    wake_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    told: Mapped[str] = mapped_column(Text, default="")


class PurgeRow(Base):
    """A study whose rows are deleted and whose files are perhaps not all gone; nothing is referred to."""

    __tablename__ = "purges"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    purged_at: Mapped[datetime] = mapped_column(UtcDateTime)
