"""Studies and their instances: received, complete after a quiet period, or failed before any job was planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient, changes
from dicom_node.headers.rejection import RejectionCode
from workflows.state.patients import patient_for_columns, text_column
from workflows.state.records import Instance, NewInstance, Study
from workflows.state.rejections import rejected
from workflows.state.states import RESULTS_STAND, RetractionState, StudyState
from workflows.state.tables import AsIsRow, InstanceRow, ResultObjectRow, RetractionRow, SeriesRow, StudyRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["Intake"]

_NAMED = 3
_STUDIES_AT_ONCE = 200
_DEFECTS = 2


class Intake(Transactions):
    """Transactions of receiving and completing."""

    def is_own_result(self, sop_instance_uid: str) -> bool:
        """Whether an instance is one of our saved results."""
        with self._reading() as session:
            return session.get(ResultObjectRow, sop_instance_uid) is not None

    def record_instance(self, new: NewInstance, quiet_period_s: float) -> str | None:
        """Index a stored instance; return the path it replaces, if its bytes changed.

        An identical instance changes nothing. A new image opens a new generation of a study that was already complete;
        what is no image (a report, a presentation state, another's segmentation) is kept and opens none. The study is
        complete once nothing has come for `quiet_period_s`. Where an instance comes again and names another patient,
        results that were made from what it replaces are marked to be retracted.
        """
        new = _for_columns(new)
        try:
            return self._record_instance(new, timedelta(seconds=quiet_period_s))
        except IntegrityError:
            # Another association was quicker to insert the study; now it is there.
            return self._record_instance(new, timedelta(seconds=quiet_period_s))

    def _record_instance(self, new: NewInstance, quiet: timedelta) -> str | None:
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, new.study_uid, with_for_update=True) or _new_study(session, new, now)
            row = session.get(InstanceRow, (new.study_uid, new.series_uid, new.sop_instance_uid))
            lost = row is not None and row.lost_at is not None
            if row is not None and row.digest == new.digest:
                if not lost:
                    return None
                if study.state in RESULTS_STAND - {StudyState.FAILED}:
                    row.path, row.lost_at = str(new.path), None
                    return None
            opens = new.image or (lost and study.state is StudyState.FAILED)  # it failed because this was missing
            if opens and study.state is not StudyState.RECEIVING:
                study.generation += 1
                self._set_study(study, StudyState.RECEIVING, now)
            if study.state is StudyState.RECEIVING:
                study.last_received_at, study.wake_at = now, now + quiet
                study.source_ae_title = new.calling_ae_title
                study.reason = _receiving_reason(study, quiet, lost)
            study.accession_number = study.accession_number or new.accession_number
            _ensure_series(session, new)
            replaced = row.path if row is not None else None
            if row is not None:
                self._retract_for_correction(session, row.patient, new, now)
            if row is None:
                row = InstanceRow(
                    study_uid=new.study_uid, series_uid=new.series_uid, sop_instance_uid=new.sop_instance_uid
                )
                session.add(row)
            row.sop_class_uid, row.transfer_syntax_uid = new.sop_class_uid, new.transfer_syntax_uid
            row.path, row.bytes, row.digest = str(new.path), new.bytes, new.digest
            row.calling_ae_title, row.generation, row.received_at = new.calling_ae_title, study.generation, now
            row.patient, row.lost_at = new.patient, None
            return replaced if replaced != str(new.path) else None

    def _retract_for_correction(
        self, session: Session, before: Patient | None, new: NewInstance, now: datetime
    ) -> None:
        """Mark what was made from an instance that names another patient now than it did.

        The reason goes into a rejection note, so into the study of one of them: it names attributes and no values.
        """
        if before is None or new.patient is None or (changed := changes(before, new.patient)) is None:
            return
        reason = f"image {new.sop_instance_uid} came again with another {changed}"
        right = (f"{new.sop_instance_uid}:{new.digest}",)
        images, code = [new.sop_instance_uid], RejectionCode.PATIENT_SAFETY
        self._mark_to_retract(session, new.study_uid, images, reason, now, right=right, code=code)

    def lose_instances(self, study_uid: str, paths: Sequence[str]) -> None:
        """Mark instances of a study whose files are gone from the store.

        Their rows stay: a study that lacks one does not complete, it fails and says which to send again. What was read
        already stands; a study that was still to be read opens a new generation.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            for portion in in_portions(paths):
                gone = (InstanceRow.study_uid == study_uid, InstanceRow.path.in_(portion))
                session.execute(update(InstanceRow).where(*gone, InstanceRow.lost_at.is_(None)).values(lost_at=now))
            lost = session.scalars(_instances_of(study_uid, lost=True).limit(_NAMED)).all()
            if study.state in RESULTS_STAND or not lost:
                return
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                self._set_study(study, StudyState.RECEIVING, now)  # and look at it at once
            study.reason = _lost_reason(lost, self._count(session, *_held(study_uid, lost=True)))

    def held_studies(self) -> Iterator[tuple[str, list[Instance]]]:
        """Each study with its instances whose files are there, rejected ones too; in order of UID, one at a time."""
        after = ""
        while True:
            with self._reading() as session:
                later = select(StudyRow.study_uid).where(StudyRow.study_uid > after).order_by(StudyRow.study_uid)
                uids = list(session.scalars(later.limit(_STUDIES_AT_ONCE)))
            if not uids:
                return
            for uid in uids:
                yield uid, self._with_files(uid)
            after = uids[-1]

    def _with_files(self, study_uid: str) -> list[Instance]:
        there = (InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_(None))
        with self._reading() as session:
            return [row.record() for row in session.scalars(select(InstanceRow).where(*there))]

    def complete_quiet_studies(self) -> list[str]:
        """Mark the studies COMPLETE that were quiet long enough; return their UIDs.

        A quiet study that lacks instances which were lost from the store becomes FAILED instead, and says so.
        """
        now = self._clock()
        quiet = (StudyRow.state == StudyState.RECEIVING, StudyRow.wake_at <= now)
        with self._reading() as session:
            due = list(session.scalars(select(StudyRow.study_uid).where(*quiet)))
        return [study_uid for study_uid in due if self._complete(study_uid, now)]

    def _complete(self, study_uid: str, now: datetime) -> bool:
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is not StudyState.RECEIVING or study.wake_at > now:
                return False  # something came in between
            study.defects = 0
            if lost := session.scalars(_instances_of(study_uid, lost=True).limit(_NAMED)).all():
                study.reason = _lost_reason(lost, self._count(session, *_held(study_uid, lost=True)))
                self._set_study(study, StudyState.FAILED, now)
                return False
            count = self._count(session, *_held(study_uid))
            since = (study.wake_at - study.last_received_at).total_seconds()
            study.reason = f"{count} instances; nothing new from {study.source_ae_title} for {since:g} s"
            self._set_study(study, StudyState.COMPLETE, now, wake=now + self._rewake)
            return True

    def hold_plan(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned now, and why. It stays COMPLETE and is woken again."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason

    def fail_study(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned at all."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason
                self._set_study(study, StudyState.FAILED, self._clock())

    def record_plan_defect(self, study_uid: str, reason: str) -> None:
        """The program failed at planning: tried once more, then the study fails with that reason."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE:
                study.defects, study.reason = study.defects + 1, reason
                if study.defects >= _DEFECTS:
                    self._set_study(study, StudyState.FAILED, self._clock())

    def reopen(self, study_uid: str, reason: str) -> bool:
        """Let a study be planned again, as if it were new: COMPLETE in a new generation, answers compared by job key.

        False: the study is still being received or waits to be planned, or lacks instances; nothing is changed.
        """
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            return self._reopen(session, study, reason)

    def reopen_as_is(self, study_uid: str, generation: int, by: str) -> bool:
        """Let a HELD study be planned with each series under its own patient, in the new generation only; kept is who.

        False: the study is not held in that generation any more, or lacks instances; nothing is changed.
        """
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            held = study.state is StudyState.HELD and study.generation == generation
            if not (held and self._reopen(session, study, f"{by} wants it read as it is")):
                return False
            wanted = AsIsRow(
                study_uid=study_uid, generation=study.generation, wanted_by=by[:256], wanted_at=self._clock()
            )
            session.add(wanted)
            return True

    def _reopen(self, session: Session, study: StudyRow, reason: str) -> bool:
        lost = self._count(session, *_held(study.study_uid, lost=True))
        if study.state in (StudyState.RECEIVING, StudyState.COMPLETE) or lost:
            return False
        study.generation, study.reread, study.defects = study.generation + 1, True, 0
        study.reason, study.attention = reason, ""  # a person has looked
        again = (RetractionState.FAILED, RetractionState.KEPT)
        retractions = select(RetractionRow).join(
            ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid
        )
        mine = (RetractionRow.study_uid == study.study_uid, RetractionRow.state.in_(again))
        for row in session.scalars(retractions.where(*mine, ResultObjectRow.reviewed_by == "")):
            row.state, row.told, row.wake_at = RetractionState.WANTED, "", self._clock()
        self._set_study(study, StudyState.COMPLETE, self._clock())
        return True

    def instances(self, study_uid: str) -> list[Instance]:
        """The instances of a study that are there and not rejected, ordered by series and instance UID."""
        with self._reading() as session:
            return [row.record() for row in session.scalars(_instances_of(study_uid))]

    def instance(self, study_uid: str, series_uid: str, sop_instance_uid: str) -> Instance | None:
        """The row of one instance, lost or not; None if it was never indexed."""
        with self._reading() as session:
            row = session.get(InstanceRow, (study_uid, series_uid, sop_instance_uid))
            return None if row is None else row.record()

    def lost_instances(self, study_uid: str) -> list[Instance]:
        """The instances of a study that were acknowledged and whose files are gone."""
        with self._reading() as session:
            return [row.record() for row in session.scalars(_instances_of(study_uid, lost=True))]

    def newest_instances(self, limit: int) -> list[Instance]:
        """Some instances that came last and are there, as far as is known."""
        with self._reading() as session:
            newest = select(StudyRow.study_uid).order_by(StudyRow.last_received_at.desc()).limit(limit)
            uids = list(session.scalars(newest))
            found = [session.scalars(_instances_of(uid).limit(limit)).all() for uid in uids]
            return [row.record() for rows in found for row in rows][:limit]

    def study(self, study_uid: str) -> Study | None:
        """A study, or None if it was never received here."""
        with self._reading() as session:
            row = session.get(StudyRow, study_uid)
            return None if row is None else row.record()


def _held(study_uid: str, *, lost: bool = False) -> tuple[Any, Any, Any]:
    """The instances of a study whose files are there, or those that were lost: they have a row, but no file.

    What a note rejects is neither: it is not read, so it is not missed.
    """
    there = InstanceRow.lost_at.is_not(None) if lost else InstanceRow.lost_at.is_(None)
    return InstanceRow.study_uid == study_uid, there, ~rejected()


def _instances_of(study_uid: str, *, lost: bool = False) -> Any:
    order = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
    return select(InstanceRow).where(*_held(study_uid, lost=lost)).order_by(*order)


def _for_columns(new: NewInstance) -> NewInstance:
    """The header's texts as columns can hold them: nothing in a header closes intake. The file keeps all of it."""
    return replace(
        new,
        modality=text_column(new.modality, 16),
        series_description=text_column(new.series_description, 256),
        accession_number=text_column(new.accession_number, 64),
        calling_ae_title=text_column(new.calling_ae_title, 16),
        patient=None if new.patient is None else patient_for_columns(new.patient),
    )


def _new_study(session: Session, new: NewInstance, now: datetime) -> StudyRow:
    study = StudyRow(
        study_uid=new.study_uid,
        state=StudyState.RECEIVING,
        generation=1,
        first_received_at=now,
        last_received_at=now,
        changed_at=now,
        wake_at=now,
        accession_number=new.accession_number,
        source_ae_title=new.calling_ae_title,
    )
    session.add(study)
    session.flush()
    return study


def _ensure_series(session: Session, new: NewInstance) -> None:
    if session.get(SeriesRow, (new.study_uid, new.series_uid)) is None:
        session.add(
            SeriesRow(
                study_uid=new.study_uid,
                series_uid=new.series_uid,
                modality=new.modality,
                series_description=new.series_description,
            )
        )
        session.flush()


def _receiving_reason(study: StudyRow, quiet: timedelta, lost: bool) -> str:
    waits = f"complete once nothing new comes from {study.source_ae_title} for {quiet.total_seconds():g} s"
    if study.generation == 1:
        return waits
    opener = "an instance that was lost and came again" if lost else "a new instance"
    return f"generation {study.generation} opened by {opener}; {waits}"


def _lost_reason(lost: Sequence[InstanceRow], count: int) -> str:
    named = ", ".join(row.sop_instance_uid for row in lost)
    more = f" and {count - len(lost)} more" if count > len(lost) else ""
    return f"lost from the store after they were received: {named}{more}; send the study again"
