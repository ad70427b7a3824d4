"""Studies and their instances: received, complete after a quiet period, or failed before any job was planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from workflows.state.records import NewInstance
from workflows.state.states import RESULTS_STAND, StudyState
from workflows.state.tables import InstanceRow, SeriesRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Intake"]


_PATHS_AT_ONCE = 500  # a statement takes a limited number of parameters
_NAMED = 3


class Intake(Transactions):
    """Transactions of receiving and completing."""

    def record_instance(self, new: NewInstance) -> str | None:
        """Index a stored instance; return the path it replaces, if its bytes changed.

        An identical instance changes nothing. A new one opens a new generation of a study that was already complete.
        """
        try:
            return self._record_instance(new)
        except IntegrityError:
            # Another association was quicker to insert the study; now it is there.
            return self._record_instance(new)

    def _record_instance(self, new: NewInstance) -> str | None:
        now = self._clock()
        with self._session() as session:
            study = session.get(StudyRow, new.study_uid, with_for_update=True) or _new_study(session, new, now)
            row = session.get(InstanceRow, (new.study_uid, new.series_uid, new.sop_instance_uid))
            lost = row is not None and row.lost_at is not None
            if row is not None and row.digest == new.digest:
                if not lost:
                    return None
                if study.state in RESULTS_STAND - {StudyState.FAILED}:
                    row.path, row.lost_at = new.path, None
                    return None
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                opener = "an instance that was lost and came again" if lost else "a new instance"
                study.reason = f"generation {study.generation} opened by {opener}"
                self._set_study(study, StudyState.RECEIVING, now)
            study.last_received_at = now
            study.source_ae_title = new.calling_ae_title
            study.accession_number = study.accession_number or new.accession_number
            _ensure_series(session, new)
            replaced = row.path if row is not None else None
            if row is None:
                row = InstanceRow(
                    study_uid=new.study_uid, series_uid=new.series_uid, sop_instance_uid=new.sop_instance_uid
                )
                session.add(row)
            row.sop_class_uid, row.transfer_syntax_uid = new.sop_class_uid, new.transfer_syntax_uid
            row.path, row.bytes, row.digest = new.path, new.bytes, new.digest
            row.calling_ae_title, row.generation, row.received_at = new.calling_ae_title, study.generation, now
            row.lost_at = None
            return replaced if replaced != new.path else None

    def lose_instances(self, paths: Sequence[str]) -> None:
        """Mark instances whose files are gone from the store.

        Their rows stay: a study that lacks one does not complete, it fails and says which to send again. What was read
        already stands; a study that was still to be read opens a new generation.
        """
        studies: dict[str, list[str]] = {}
        with self._session() as session:
            for start in range(0, len(paths), _PATHS_AT_ONCE):
                some = InstanceRow.path.in_(paths[start : start + _PATHS_AT_ONCE])
                held = select(InstanceRow.study_uid, InstanceRow.path).where(some, InstanceRow.lost_at.is_(None))
                for study_uid, path in session.execute(held):
                    studies.setdefault(study_uid, []).append(path)
        for study_uid, gone in studies.items():
            self._lose_instances(study_uid, set(gone))

    def _lose_instances(self, study_uid: str, paths: set[str]) -> None:
        now = self._clock()
        with self._session() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            for row in session.scalars(self._instances_of(study_uid)).all():
                if row.path in paths:
                    row.lost_at = now
            session.flush()
            lost = session.scalars(self._lost_of(study_uid)).all()
            if study.state in RESULTS_STAND or not lost:
                return
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                self._set_study(study, StudyState.RECEIVING, now)
            study.reason = _lost_reason(lost)

    def held_instances(self) -> list[InstanceRow]:
        """Every indexed instance of every study whose file is there, as far as is known."""
        with self._session() as session:
            return list(session.scalars(select(InstanceRow).where(InstanceRow.lost_at.is_(None))))

    def lost_instances(self, study_uid: str) -> list[InstanceRow]:
        """The instances of a study that were acknowledged and whose files are gone."""
        with self._session() as session:
            return list(session.scalars(self._lost_of(study_uid)))

    def complete_quiet_studies(self, quiet_period_s: Callable[[str], float]) -> list[str]:
        """Mark the studies COMPLETE that got nothing new for their source's quiet period; return their UIDs.

        A quiet study that lacks instances which were lost from the store becomes FAILED instead, and says so.
        """
        now = self._clock()
        done = []
        with self._session() as session:
            rows = session.scalars(select(StudyRow).where(StudyRow.state == StudyState.RECEIVING).with_for_update())
            for study in rows:
                period = quiet_period_s(study.source_ae_title)
                if study.last_received_at + timedelta(seconds=period) > now:
                    continue
                if lost := session.scalars(self._lost_of(study.study_uid)).all():
                    study.reason = _lost_reason(lost)
                    self._set_study(study, StudyState.FAILED, now)
                    continue
                count = len(session.scalars(self._instances_of(study.study_uid)).all())
                study.reason = f"{count} instances; nothing new from {study.source_ae_title} for {period:g} s"
                self._set_study(study, StudyState.COMPLETE, now, wake=now + self._rewake)
                done.append(study.study_uid)
        return done

    def fail_study(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned at all."""
        with self._session() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason
                self._set_study(study, StudyState.FAILED, self._clock())

    def instances(self, study_uid: str) -> list[InstanceRow]:
        """The current instances of a study, ordered by series and instance UID."""
        with self._session() as session:
            return list(session.scalars(self._instances_of(study_uid)))

    def series(self, study_uid: str) -> list[SeriesRow]:
        """The series of a study, ordered by UID."""
        with self._session() as session:
            wanted = select(SeriesRow).where(SeriesRow.study_uid == study_uid).order_by(SeriesRow.series_uid)
            return list(session.scalars(wanted))

    def study(self, study_uid: str) -> StudyRow | None:
        with self._session() as session:
            return session.get(StudyRow, study_uid)

    def studies(self) -> list[StudyRow]:
        """All studies, the latest first."""
        with self._session() as session:
            return list(session.scalars(select(StudyRow).order_by(StudyRow.last_received_at.desc())))


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
                series_description=new.series_description[:256],
            )
        )
        session.flush()


def _lost_reason(lost: Sequence[InstanceRow]) -> str:
    named = ", ".join(row.sop_instance_uid for row in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return f"lost from the store after they were received: {named}{more}; send the study again"
