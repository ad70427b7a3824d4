"""Studies and their instances: received, complete after a quiet period, or failed before any job was planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from workflows.state.records import NewInstance
from workflows.state.states import StudyState
from workflows.state.tables import InstanceRow, SeriesRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Intake"]


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
            study = session.get(StudyRow, new.study_uid, with_for_update=True)
            if study is None:
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
            key = (new.study_uid, new.series_uid, new.sop_instance_uid)
            row = session.get(InstanceRow, key)
            if row is not None and row.digest == new.digest:
                return None
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                study.reason = f"generation {study.generation} opened by a new instance"
                self._set_study(study, StudyState.RECEIVING, now)
            study.last_received_at = now
            study.source_ae_title = new.calling_ae_title
            study.accession_number = study.accession_number or new.accession_number
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
            replaced = row.path if row is not None else None
            if row is None:
                row = InstanceRow(study_uid=new.study_uid, series_uid=new.series_uid, sop_instance_uid=key[2])
                session.add(row)
            row.sop_class_uid, row.transfer_syntax_uid = new.sop_class_uid, new.transfer_syntax_uid
            row.path, row.bytes, row.digest = new.path, new.bytes, new.digest
            row.calling_ae_title, row.generation, row.received_at = new.calling_ae_title, study.generation, now
            return replaced if replaced != new.path else None

    def forget_instances(self, paths: Sequence[str]) -> None:
        """Drop rows whose files are gone; their studies open a new generation and say why."""
        now = self._clock()
        with self._session() as session:
            for row in session.scalars(select(InstanceRow).where(InstanceRow.path.in_(paths))):
                study = session.get_one(StudyRow, row.study_uid)
                if study.state is not StudyState.RECEIVING:
                    study.generation += 1
                    self._set_study(study, StudyState.RECEIVING, now)
                study.reason = f"the file of instance {row.sop_instance_uid} is gone from the store: send it again"
                session.delete(row)

    def all_instances(self) -> list[InstanceRow]:
        """Every indexed instance of every study."""
        with self._session() as session:
            return list(session.scalars(select(InstanceRow)))

    def complete_quiet_studies(self, quiet_period_s: Callable[[str], float]) -> list[str]:
        """Mark the studies COMPLETE that got nothing new for their source's quiet period; return their UIDs."""
        now = self._clock()
        done = []
        with self._session() as session:
            rows = session.scalars(select(StudyRow).where(StudyRow.state == StudyState.RECEIVING).with_for_update())
            for study in rows:
                period = quiet_period_s(study.source_ae_title)
                count = len(session.scalars(self._instances_of(study.study_uid)).all())
                if count == 0 or study.last_received_at + timedelta(seconds=period) > now:
                    continue
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

    def study(self, study_uid: str) -> StudyRow | None:
        with self._session() as session:
            return session.get(StudyRow, study_uid)

    def studies(self) -> list[StudyRow]:
        """All studies, the latest first."""
        with self._session() as session:
            return list(session.scalars(select(StudyRow).order_by(StudyRow.last_received_at.desc())))
