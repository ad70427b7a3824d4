"""Retractions: result objects that are taken back from an archive, by a rejection note or by deleting them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.profiles import ResultKind
from workflows.state.records import ClaimedRetraction, SavedNote
from workflows.state.retracting import REVIEWED, add_attention, is_held
from workflows.state.states import DeliveryState, JobState, RetractionState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Retractions"]


class Retractions(Transactions):
    """Transactions of taking back. A note is an object like others and goes out by the same deliveries."""

    def claim_retractions(self, study_uid: str, archive: str, lease_s: float) -> list[ClaimedRetraction]:
        """What is to be taken back of a study from an archive now; nobody else does so for `lease_s` seconds.

        A current result is never among it, and is not to be taken back any more.
        """
        now = self._clock()
        with self._writing() as session:
            session.get(StudyRow, study_uid, with_for_update=True)  # first, as everybody does: no deadlock
            self._drop_held(session, study_uid, archive)
            rows = session.execute(
                select(RetractionRow, ResultObjectRow)
                .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid)
                .where(RetractionRow.study_uid == study_uid, RetractionRow.archive == archive)
                .where(RetractionRow.state == RetractionState.WANTED, RetractionRow.wake_at <= now + self._rewake)
                .order_by(ResultObjectRow.job_key, ResultObjectRow.ordinal)
            ).all()
            claimed = []
            for retraction, result in rows:
                claimed.append(ClaimedRetraction(result.record(), retraction.record(), retraction.attempts))
                retraction.attempts += 1
                retraction.wake_at = now + self._rewake + timedelta(seconds=lease_s)
            return claimed

    def still_wanted(self, study_uid: str, archive: str) -> set[str]:
        """What is to be taken back of a study from an archive at this moment, as SOP Instance UIDs: asked before it is
        done, as a plan may have made a result current since the claim.
        """
        with self._writing() as session:
            session.get(StudyRow, study_uid, with_for_update=True)
            self._drop_held(session, study_uid, archive, own=1)
            of_study = (RetractionRow.study_uid == study_uid, RetractionRow.archive == archive)
            wanted = select(RetractionRow.sop_instance_uid).where(RetractionRow.state == RetractionState.WANTED)
            return set(session.scalars(wanted.where(*of_study)))

    def _drop_held(self, session: Session, study_uid: str, archive: str, *, own: int = 0) -> None:
        """What is current is not taken back, whoever wanted it and under whatever name the archive has it.

        `own`: attempts that have done nothing yet. An earlier one may have ended after the archive had deleted it: then
        it is sent again, the same bytes.
        """
        study = session.get_one(StudyRow, study_uid)
        rows = session.execute(
            select(RetractionRow, ResultObjectRow, JobRow)
            .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid)
            .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
            .where(RetractionRow.study_uid == study_uid, RetractionRow.archive == archive)
            .where(RetractionRow.state == RetractionState.WANTED)
        ).all()
        for retraction, result, job in rows:
            if is_held(job, result):
                if retraction.attempts > own:
                    self._send_what_was_deleted(session, study, result.sop_instance_uid, self._clock())
                session.delete(retraction)
        session.flush()

    def awaits_confirmation(self, study_uid: str, archive: str) -> bool:
        """Whether an archive is still to say that it keeps something of a study that it took."""
        with self._reading() as session:
            waiting = (
                select(DeliveryRow.sop_instance_uid)
                .join(JobRow, JobRow.job_key == DeliveryRow.job_key)
                .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == DeliveryRow.sop_instance_uid)
                .where(JobRow.study_uid == study_uid, DeliveryRow.archive == archive)
                .where(DeliveryRow.state == DeliveryState.DELIVERED, DeliveryRow.confirm_at.is_not(None))
                .where(ResultObjectRow.kind != ResultKind.REJECTION_NOTE)
                .where(or_(JobRow.state != JobState.SUPERSEDED, ResultObjectRow.review.is_not(None)))
            )
            return session.scalar(waiting.limit(1)) is not None

    def save_note(self, note: SavedNote) -> str | None:
        """Record a note and its delivery; return the key of the job that it goes out with.

        A note that an archive did not take is sent once more. None: the archive has it, or what it names is not to be
        taken back any more, or for another reason by now; nothing is changed.
        """
        now = self._clock()
        with self._writing() as session:
            named = session.get_one(ResultObjectRow, note.names[0])
            study, _ = self._locked(session, named.job_key)
            self._drop_held(session, study.study_uid, note.archive)
            rows = session.scalars(
                select(RetractionRow).where(
                    RetractionRow.archive == note.archive, RetractionRow.sop_instance_uid.in_(note.names)
                )
            ).all()
            right = [row.state is RetractionState.WANTED and row.code is note.code for row in rows]
            if len(rows) != len(note.names) or not all(right) or any(row.reason != note.reason for row in rows):
                return None
            delivery = session.get(DeliveryRow, (note.sop_instance_uid, note.archive))
            if delivery is None:
                self._add_note(session, note, named, now)
            elif delivery.state is DeliveryState.DELIVERED:
                return None
            else:
                delivery.state, delivery.defects, delivery.wake_at = DeliveryState.PENDING, 0, now
                delivery.lease_owner = delivery.lease_until = None
            for row in rows:
                row.state, row.note_uid, row.wake_at = RetractionState.NOTED, note.sop_instance_uid, None
            return named.job_key

    @staticmethod
    def _add_note(session: Session, note: SavedNote, named: ResultObjectRow, now: datetime) -> None:
        last = select(func.max(ResultObjectRow.ordinal)).where(ResultObjectRow.job_key == named.job_key)
        session.add(
            ResultObjectRow(
                sop_instance_uid=note.sop_instance_uid,
                job_key=named.job_key,
                ordinal=(session.scalar(last) or 0) + 1,
                part=None,
                kind=ResultKind.REJECTION_NOTE,
                profile=named.profile,
                sop_class_uid=note.sop_class_uid,
                path=str(note.path),
                digest=note.digest,
                object_references=[],
                series_uid=note.series_uid,
            )
        )
        session.flush()
        session.add(
            DeliveryRow(
                sop_instance_uid=note.sop_instance_uid,
                archive=note.archive,
                job_key=named.job_key,
                state=DeliveryState.PENDING,
                independent=True,
                wake_at=now,
            )
        )

    def record_retractions(
        self, study_uid: str, archive: str, sop_instance_uids: Collection[str], state: RetractionState, told: str = ""
    ) -> None:
        """These retractions ended: DONE, since the archive has deleted the objects, or KEPT for the reason `told`.

        What was deleted although it is right again by now is sent again. What is kept for a graver reason than that
        it was replaced needs a person.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            for uid in sop_instance_uids:
                row = session.get(RetractionRow, (uid, archive))
                if row is None and state is RetractionState.DONE:
                    self._send_what_was_deleted(session, study, uid, now)
                elif row is not None and row.state is RetractionState.WANTED:
                    row.state, row.told, row.wake_at = state, told, None
                    row.done_at = now if state is RetractionState.DONE else None
                    grave = row.code is not RejectionCode.QUALITY or row.reason == REVIEWED
                    if state is RetractionState.KEPT and grave:
                        add_attention(study, f"a wrong result stays in {archive}: {row.reason}")

    def _send_what_was_deleted(self, session: Session, study: StudyRow, sop_instance_uid: str, now: datetime) -> None:
        """To every archive that had it: one of them may be the same by another name."""
        had = (DeliveryRow.sop_instance_uid == sop_instance_uid, DeliveryRow.state == DeliveryState.DELIVERED)
        deliveries = session.scalars(select(DeliveryRow).where(*had)).all()
        if not deliveries:
            return
        for delivery in deliveries:
            delivery.state, delivery.wake_at = DeliveryState.PENDING, now
            delivery.delivered_at = delivery.committed_at = delivery.seen_at = delivery.confirm_at = None
        job = session.get_one(JobRow, deliveries[0].job_key)
        if job.state in (JobState.DELIVERED, JobState.FAILED) and job.generation == study.generation:
            self._set_job(session, job, JobState.DELIVERING, now)
            self._refresh_study(session, study, now)

    def postpone_retractions(
        self,
        study_uid: str,
        archive: str,
        sop_instance_uids: Collection[str],
        told: str,
        after_s: float,
        *,
        attention: bool = False,
    ) -> None:
        """These cannot be carried out now, and why; they are tried again after `after_s`. `attention`: by a person."""
        later = self._clock() + timedelta(seconds=after_s)
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            chosen = (
                RetractionRow.archive == archive,
                RetractionRow.sop_instance_uid.in_(list(sop_instance_uids)),
                RetractionRow.state == RetractionState.WANTED,
            )
            session.execute(update(RetractionRow).where(*chosen).values(told=told, wake_at=later))
            if attention:
                add_attention(study, f"results are not taken back from {archive}: {told}")

    def record_review(self, study_uid: str, sop_instance_uids: Collection[str], reviewer: str) -> int:
        """A person has verified or corrected results of a study; return how many objects are kept for that.

        They are never retracted, whatever replaces them, and neither is what they refer to. A UID that is not of a
        result of this study means nothing.
        """
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            if study is None:
                return 0
            of_study = (
                select(ResultObjectRow)
                .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
                .where(JobRow.study_uid == study_uid, ResultObjectRow.kind != ResultKind.REJECTION_NOTE)
            )
            known = {row.sop_instance_uid: row for row in session.scalars(of_study)}
            named = [known[uid] for uid in sop_instance_uids if uid in known]
            kept = {row.sop_instance_uid for row in named} | {uid for row in named for uid in row.object_references}
            for uid in kept & known.keys():
                known[uid].reviewed_by = reviewer
            wanted = (RetractionRow.sop_instance_uid.in_(kept), RetractionRow.state == RetractionState.WANTED)
            for row in session.scalars(select(RetractionRow).where(*wanted)):
                row.state, row.wake_at = RetractionState.KEPT, None
                row.told = f"{reviewer} has verified or corrected it"
                add_attention(study, f"a result that {reviewer} has reviewed is not retracted: {row.reason}")
            return len(kept & known.keys())
