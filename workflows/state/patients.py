"""Patients as rows keep them: whom each instance names, and which studies a person has read as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient
from workflows.state.records import AsIsReading
from workflows.state.tables import AsIsRow, InstanceRow
from workflows.state.transactions import Transactions

__all__ = ["Patients", "as_is_readings", "patient_for_columns", "patient_id_column", "text_column"]

_ID = 64
_ID_DIGEST = 16


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


def patient_for_columns(patient: Patient) -> Patient:
    """A patient as columns can hold it: nothing in a header closes intake. The file keeps all of it."""
    others = (text_column(value) for value in (patient.issuer, patient.name, patient.birth_date))
    return Patient(patient_id_column(patient.patient_id), *others)


def patient_id_column(patient_id: str) -> str:
    """A Patient ID in its indexed column; one longer than VR LO allows ends with a digest of all of it.

    So two that differ only behind their first characters stay two.
    """
    clean = text_column(patient_id)
    if len(clean) <= _ID:
        return clean
    return clean[: _ID - _ID_DIGEST] + hashlib.sha256(clean.encode()).hexdigest()[:_ID_DIGEST]


def text_column(text: str, most: int | None = None) -> str:
    """A text without what a database cannot hold, of at most so many characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most]
