"""Confirmations: whether an archive still has what it answered 0x0000 to, by storage commitment or by a query."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.identifiers import StudyUID
from dicom_node.results.profiles import Profile, ResultKind
from workflows.state.records import UnconfirmedObject
from workflows.state.retracting import add_attention, wanted_of
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import CommitmentRow, DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["Confirmations"]

_RESENDS = 2
_AFTER_THE_PLAN = timedelta(seconds=60)


class Confirmations(Transactions):
    """Transactions that follow an object after its delivery. Each may run twice: a fact is recorded once."""

    def claim_confirmations(self, job_key: str, archive: str, lease_s: float) -> list[UnconfirmedObject]:
        """What an archive has of a job and is to be asked about now; nobody else asks for `lease_s` seconds."""
        now = self._clock()
        with self._writing() as session:
            if session.get(JobRow, job_key) is None:
                return []
            self._locked(session, job_key)
            # A wake-up has put them off by `rewake_s`.
            due = (*_unconfirmed(job_key, archive), DeliveryRow.confirm_at <= now + self._rewake)
            rows = session.execute(
                select(ResultObjectRow, DeliveryRow, JobRow.study_uid)
                .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
                .join(JobRow, JobRow.job_key == DeliveryRow.job_key)
                .where(*due)
                .order_by(ResultObjectRow.ordinal)
            ).all()
            claimed = []
            for result, delivery, study_uid in rows:
                counts = delivery.confirm_attempts, delivery.resends
                claimed.append(UnconfirmedObject(result.record(), StudyUID(study_uid), *counts))
                delivery.confirm_attempts += 1
                delivery.confirm_at = now + self._rewake + timedelta(seconds=lease_s)
            return claimed

    def record_commitment_request(self, transaction_uid: str, job_key: str, archive: str) -> None:
        """Before the archive is asked, so that its answer is known whenever it comes."""
        with self._writing() as session:
            if session.get(CommitmentRow, transaction_uid) is None:
                session.add(
                    CommitmentRow(
                        transaction_uid=transaction_uid, job_key=job_key, archive=archive, requested_at=self._clock()
                    )
                )

    def record_commitment(
        self,
        transaction_uid: str,
        committed: Set[str],
        failed: Mapping[str, str],
        missing: Set[str],
        retry_after_s: float,
    ) -> bool:
        """What an archive answered. `failed`: why it does not commit itself, by SOP Instance UID; `missing`: of those,
        what it says that it does not have, which is sent again. False: nobody asked for this transaction.

        An answer that comes twice, late or about what was not asked changes nothing that is known already.
        """
        now = self._clock()
        with self._writing() as session:
            named = select(CommitmentRow).where(CommitmentRow.transaction_uid == transaction_uid)
            request = session.scalars(named).one_or_none()
            if request is None:
                return False
            study, job = self._locked(session, request.job_key)
            answered_before, request.answered_at = request.answered_at is not None, request.answered_at or now
            chosen = _unconfirmed(request.job_key, request.archive)
            waiting = {row.sop_instance_uid: row for row in session.scalars(select(DeliveryRow).where(*chosen))}
            for uid in committed & waiting.keys():
                waiting[uid].committed_at, waiting[uid].confirm_at, waiting[uid].confirm_reason = now, None, ""
            if answered_before:  # its failures were heeded then
                return True
            refused = {uid: failed[uid] for uid in failed.keys() & waiting.keys() - committed}
            for uid in refused.keys() - missing:
                waiting[uid].confirm_reason = refused[uid]
                waiting[uid].confirm_at = now + timedelta(seconds=retry_after_s)
            lost = {uid: refused[uid] for uid in refused.keys() & missing}
            self._send_again(session, study, job, request.archive, lost, now)
            return True

    def record_seen(self, job_key: str, archive: str, sop_instance_uids: Collection[str], reason: str = "") -> None:
        """A query has shown these objects in the archive. `reason`: why it has not committed itself."""
        now = self._clock()
        with self._writing() as session:
            self._locked(session, job_key)
            for uids in in_portions(sorted(sop_instance_uids)):
                there = (*_delivered(job_key, archive), DeliveryRow.sop_instance_uid.in_(uids))
                values = {"seen_at": now, "confirm_at": None, "confirm_reason": reason}
                session.execute(update(DeliveryRow).where(*there, DeliveryRow.seen_at.is_(None)).values(**values))

    def postpone_confirmation(
        self,
        job_key: str,
        archive: str,
        sop_instance_uids: Collection[str],
        reason: str,
        after_s: float | None,
        *,
        answered: bool = True,
    ) -> None:
        """Ask about these objects again after `after_s`; None: never. `reason`: why nothing is confirmed.

        `answered`: False where the archive could not be asked, which does not count as an attempt.
        """
        again = None if after_s is None else self._clock() + timedelta(seconds=after_s)
        with self._writing() as session:
            self._locked(session, job_key)
            for uids in in_portions(sorted(sop_instance_uids)):
                chosen = (*_unconfirmed(job_key, archive), DeliveryRow.sop_instance_uid.in_(uids))
                values: dict[str, Any] = {"confirm_at": again, "confirm_reason": reason}
                if not answered:
                    values["confirm_attempts"] = DeliveryRow.confirm_attempts - 1
                session.execute(update(DeliveryRow).where(*chosen).values(**values))

    def send_again(self, job_key: str, archive: str, missing: Mapping[str, str]) -> bool:
        """What an archive took and does not have, with a reason each, is sent once more. True: something is."""
        if not missing:
            return False
        with self._writing() as session:
            study, job = self._locked(session, job_key)
            return self._send_again(session, study, job, archive, missing, self._clock())

    def _send_again(
        self, session: Session, study: StudyRow, job: JobRow, archive: str, missing: Mapping[str, str], now: datetime
    ) -> bool:
        """The same bytes, `_RESENDS` times at most, and only what is to be there; a person is told of the rest."""
        chosen = (*_unconfirmed(job.job_key, archive), DeliveryRow.sop_instance_uid.in_(list(missing)))
        rows = session.execute(
            select(ResultObjectRow, DeliveryRow)
            .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
            .where(*chosen)
        ).all()
        wanted, again = wanted_of(job).get(archive, set()), False
        for result, delivery in rows:
            reason = missing[delivery.sop_instance_uid]
            if study.state in (StudyState.RECEIVING, StudyState.COMPLETE) and not delivery.independent:
                # The next plan says whether it is still to be there.
                delivery.confirm_at, delivery.confirm_reason = now + _AFTER_THE_PLAN, reason
                continue
            delivery.confirm_at, delivery.confirm_reason = None, reason
            if not delivery.independent and not self._is_to_be_there(session, study, job, result, archive, wanted):
                continue
            retraction: RetractionRow | None = session.get(RetractionRow, (result.sop_instance_uid, archive))
            if result.replaced_by is not None or retraction is not None:
                continue
            if delivery.resends >= _RESENDS:
                times = f"{1 + _RESENDS} times"
                add_attention(study, f"{archive} took {result.kind.value} {times} and does not have it: {reason}")
                continue
            delivery.state, delivery.resends, delivery.wake_at = DeliveryState.PENDING, delivery.resends + 1, now
            delivery.confirm_attempts = 0
            delivery.delivered_at = delivery.lease_owner = delivery.lease_until = None
            delivery.reason = f"sent again: {reason}"
            again = again or not delivery.independent
        if again and job.state is not JobState.DELIVERING:
            self._set_job(session, job, JobState.DELIVERING, now)
        if again:
            self._refresh_study(session, study, now)
        return again

    @staticmethod
    def _is_to_be_there(
        session: Session,
        study: StudyRow,
        job: JobRow,
        result: ResultObjectRow,
        archive: str,
        wanted: Set[tuple[Profile, ResultKind]],
    ) -> bool:
        """Whether an object of a job is current, wanted there, and not to be taken back."""
        current = job.state in (JobState.DELIVERING, JobState.DELIVERED, JobState.FAILED)
        return (
            current
            and job.generation == study.generation
            and result.edition == job.edition
            and (result.profile, result.kind) in wanted
            and result.retract_at is None
            and session.get(RetractionRow, (result.sop_instance_uid, archive)) is None
        )


def _delivered(job_key: str, archive: str) -> tuple[Any, ...]:
    return (
        DeliveryRow.job_key == job_key,
        DeliveryRow.archive == archive,
        DeliveryRow.state == DeliveryState.DELIVERED,
    )


def _unconfirmed(job_key: str, archive: str) -> tuple[Any, ...]:
    unknown = (DeliveryRow.committed_at.is_(None), DeliveryRow.seen_at.is_(None))
    return (*_delivered(job_key, archive), DeliveryRow.confirm_at.is_not(None), *unknown)
