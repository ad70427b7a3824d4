"""Rejections: instances that a note takes out of use, whether they are there, come later, or never come.

A rejection is for good: what comes later under a rejected SOP Instance UID is kept and never read, whatever its bytes.
A corrected image has a UID of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from dicom_node.headers.rejection import RejectedReference, RejectionCode, RejectionNote
from dicom_node.identifiers import SOPInstanceUID, StudyUID
from dicom_node.sop_classes import holds_images
from workflows.state.records import RejectedInstance
from workflows.state.states import StudyState
from workflows.state.tables import InstanceRow, RejectionRow, StudyRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["Rejections", "rejected", "rejected_instances"]


class Rejections(Transactions):
    """Transactions of rejection notes."""

    def record_rejection(self, note_uid: str, note: RejectionNote, quiet_period_s: float) -> list[str]:
        """Take the instances that a note names out of use; return the studies that are planned again for it.

        Results of jobs that read one of them are marked to be retracted. A study that had images among them opens a new
        generation, which is complete after `quiet_period_s`. A note that is known already changes nothing.
        """
        by_study: dict[str, list[RejectedReference]] = defaultdict(list)
        for reference in note.references:
            by_study[reference.study_uid].append(reference)
        quiet = timedelta(seconds=quiet_period_s)
        return [uid for uid in sorted(by_study) if self._reject(uid, note_uid, note.code, by_study[uid], quiet)]

    def _reject(
        self, study_uid: str, note_uid: str, code: RejectionCode, named: Sequence[RejectedReference], quiet: timedelta
    ) -> bool:
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            of_study = select(RejectionRow.sop_instance_uid).where(RejectionRow.study_uid == study_uid)
            known = set(session.scalars(of_study.where(RejectionRow.note_uid == note_uid)))
            rejected_before = set(session.scalars(of_study))
            session.add_all(
                RejectionRow(
                    study_uid=study_uid,
                    sop_instance_uid=reference.sop_instance_uid,
                    note_uid=note_uid,
                    series_uid=reference.series_uid,
                    code=code,
                    noted_at=now,
                )
                for reference in named
                if reference.sop_instance_uid not in known
            )
            named_now = {reference.sop_instance_uid for reference in named} - rejected_before
            if study is None or not (images := _images_among(session, study_uid, sorted(named_now))):
                return False
            reason = f"rejected by note {note_uid} ({code.told})"
            why = f"an image that it is made from was {reason}"
            self._mark_to_retract(session, study_uid, images, why, now, code=code)
            self._read_without(study, f"{len(images)} images were {reason}", quiet, now)
            return True

    def _read_without(self, study: StudyRow, reason: str, quiet: timedelta, now: datetime) -> None:
        if study.state is not StudyState.RECEIVING:
            study.generation += 1
            self._set_study(study, StudyState.RECEIVING, now)
        study.last_received_at, study.wake_at = now, now + quiet
        study.reason = f"{reason}; complete once nothing new comes for {quiet.total_seconds():g} s"

    def rejected_instances(self, study_uid: str) -> list[RejectedInstance]:
        """The instances of a study that notes name, received or not, in order of UID."""
        with self._reading() as session:
            return rejected_instances(session, study_uid)


def rejected_instances(session: Session, study_uid: str) -> list[RejectedInstance]:
    """As `Rejections.rejected_instances`."""
    there = exists().where(
        InstanceRow.study_uid == RejectionRow.study_uid, InstanceRow.sop_instance_uid == RejectionRow.sop_instance_uid
    )
    rows = select(RejectionRow, there).where(RejectionRow.study_uid == study_uid)
    ordered = rows.order_by(RejectionRow.sop_instance_uid, RejectionRow.noted_at, RejectionRow.note_uid)
    return [
        RejectedInstance(
            study_uid=StudyUID(row.study_uid),
            series_uid=row.series_uid,
            sop_instance_uid=SOPInstanceUID(row.sop_instance_uid),
            note_uid=SOPInstanceUID(row.note_uid),
            code=row.code,
            noted_at=row.noted_at,
            received=received,
        )
        for row, received in session.execute(ordered)
    ]


def rejected() -> Any:
    """The criterion that an instance's row is named by a note."""
    return exists().where(
        RejectionRow.study_uid == InstanceRow.study_uid, RejectionRow.sop_instance_uid == InstanceRow.sop_instance_uid
    )


def _images_among(session: Session, study_uid: str, sop_instance_uids: Sequence[str]) -> set[str]:
    images: set[str] = set()
    for portion in in_portions(sop_instance_uids):
        there = (InstanceRow.study_uid == study_uid, InstanceRow.sop_instance_uid.in_(portion))
        rows = session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid).where(*there))
        images |= {uid for uid, sop_class_uid in rows if holds_images(sop_class_uid)}
    return images
