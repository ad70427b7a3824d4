"""Patients as rows keep them: whom each instance names, and which studies a person has read as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from workflows.state.columns import patient_for_columns
from workflows.state.records import AsIsReading
from workflows.state.tables import AsIsRow, InstanceRow
from workflows.state.transactions import Transactions

__all__ = ["Patients", "as_is_readings"]


class Patients(Transactions):
    """Transactions of whom instances name."""

    def record_patients(self, study_uid: str, patients: Mapping[Path, Patient]) -> None:
        """Keep whom instances name that were received before rows kept it; by path, relative to the data folder."""
        with self._writing() as session:
            for path, patient in patients.items():
                fitting = patient_for_columns(patient)
                unknown = (InstanceRow.path == str(path), InstanceRow.patient_id.is_(None))
                session.execute(
                    update(InstanceRow)
                    .where(InstanceRow.study_uid == study_uid, *unknown)
                    .values(
                        patient_id=fitting.patient_id,
                        patient_id_issuer=fitting.issuer,
                        patient_name=fitting.name,
                        patient_birth_date=fitting.birth_date,
                    )
                )

    def as_is_readings(self, study_uid: str) -> list[AsIsReading]:
        """The generations of a study in which a person had each series read under its own patient."""
        with self._reading() as session:
            return as_is_readings(session, study_uid)


def as_is_readings(session: Session, study_uid: str) -> list[AsIsReading]:
    """As `Patients.as_is_readings`, the earliest first."""
    rows = select(AsIsRow).where(AsIsRow.study_uid == study_uid).order_by(AsIsRow.generation)
    return [row.record() for row in session.scalars(rows)]
