"""Publish: send a job's saved objects to one archive, what is referenced before what references it.

At least once, byte for byte the same: the file that was saved is the file that is sent, as often as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import structlog

from dicom_node.errors import PeerUnreachable, UnparseableInstance
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.network.status import Delivery as Outcome
from dicom_node.network.storage_scu import SendOutcome
from dicom_node.results.profiles import ADDED_KINDS, ResultKind, profile_without
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, defect
from workflows.state.records import ClaimedDelivery, ResultObject
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState
from workflows.steps.integrity import is_gone, set_aside
from workflows.steps.lease import kept
from workflows.steps.route import Route, Sender, no_route, require_intact

__all__ = ["publish_job"]

log = structlog.get_logger()

_ENDS = {
    Outcome.DELIVERED: DeliveryState.DELIVERED,
    Outcome.REFUSED: DeliveryState.REJECTED,
    Outcome.TRY_AGAIN: DeliveryState.PENDING,
}
_NEVER = (DeliveryState.REJECTED, DeliveryState.WITHHELD, DeliveryState.FAILED)


def publish_job(key: str, archive: str, repository: Repository, folder: DataFolder, sender: Sender) -> bool:
    """Send what is pending to one archive; False: it could not be reached.

    An archive that is down is tried again without limit. An object that it refuses for good is not sent again, nor is
    what references it; the rest is.
    """
    archive = sender.named(key, archive, repository, to_send=True)
    claimed = repository.claim_deliveries(key, archive, sender.owner, sender.lease_s)
    if not claimed:
        return True
    bound = log.bind(study_uid=repository.job(key).study_uid, job_key=key, archive=archive)
    wait_s = sender.wait_s(max(one.delivery.attempts for one in claimed) + 1)
    route = sender.route(archive)
    if route is None:
        pause_s = sender.spread_s(sender.longest_wait_s)
        repository.release_deliveries(key, archive, sender.owner, no_route(archive), pause_s)
        return True
    beat = lambda: repository.extend_deliveries(key, archive, sender.owner, sender.lease_s)  # noqa: E731
    reached = True
    sending = _Sending(archive, route, repository, folder, sender, claimed, bound)
    try:
        with kept(beat, sender.heartbeat_s, job_key=key):
            reason = sending.send_all()
    except (PeerUnreachable, UnparseableInstance, OSError) as error:
        reason = str(error)
        sending.note_attempts(reason)
        reached = not isinstance(error, PeerUnreachable)
        event = "result_unreadable" if reached else "archive_unreachable"
        bound.warning(event, reason=reason, next_attempt_s=wait_s)
    except DatabaseUnavailable:  # the lease brings the deliveries back
        raise
    except Exception as error:
        bound.exception("publish_failed")
        repository.record_delivery_defect(key, archive, sender.owner, defect(error), sender.spread_s(sender.retry_s))
        return True
    repository.release_deliveries(key, archive, sender.owner, reason, wait_s)
    if sending.damaged:
        _make_again(key, archive, sending.damaged, repository, folder)
    return reached


def _make_again(
    key: str, archive: str, damaged: Sequence[ResultObject], repository: Repository, folder: DataFolder
) -> None:
    """Have damaged results made again: the job is planned once more; then their files are set aside."""
    uids = [result.sop_instance_uid for result in damaged]
    for result in repository.remake_results(key, archive, uids):
        aside = set_aside(folder.absolute(result.path))
        log.warning(
            "result_made_again", job_key=key, kind=result.kind.value, set_aside=None if aside is None else str(aside)
        )


class _Sending:
    """The deliveries of one claim, their states as they change."""

    def __init__(
        self,
        archive: str,
        route: Route,
        repository: Repository,
        folder: DataFolder,
        sender: Sender,
        claimed: Sequence[ClaimedDelivery],
        bound: Any,
    ) -> None:
        self._archive, self._route, self._repository = archive, route, repository
        self._folder, self._sender, self._log = folder, sender, bound
        self._results = [one.result for one in claimed]
        self._states: dict[str, DeliveryState] = {one.result.sop_instance_uid: one.delivery.state for one in claimed}
        self._mine = {one.result.sop_instance_uid for one in claimed if one.held}
        self._tried: set[str] = set()
        self._held = True
        self.damaged: list[ResultObject] = []

    def send_all(self) -> str:
        """Send until nothing more can be; return why something is still pending, or "".

        Objects go out in batches, one association each: an object that references another is in a later batch.
        """
        reasons: list[str] = []
        self._withhold()
        while self._held and (batch := self._sendable()):
            batch = [result for result in batch if self._intact(result, reasons)]
            paths = [self._folder.absolute(result.path) for result in batch]
            if not paths:
                continue
            fault_point(FaultPoint.SENDING)
            with closing(self._route.send(paths)) as outcomes:
                for result, outcome in zip(batch, outcomes, strict=True):
                    fault_point(FaultPoint.SENT)
                    reasons.append(self._record(result, outcome))
                    # Another sender may hold the rest by now; what went out in one request has its outcome still.
                    if not self._held and not self._route.stow:
                        break
            self._withhold()
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    def _intact(self, result: ResultObject, reasons: list[str]) -> bool:
        """Whether the file is what was saved; one that is not is never sent, and keeps nothing else back."""
        try:
            require_intact(self._folder.absolute(result.path), result)
        except (UnparseableInstance, OSError) as error:
            if isinstance(error, UnparseableInstance) or is_gone(error, self._folder, self._repository):
                self.damaged.append(result)
            self._log.warning("result_unreadable", kind=result.kind.value, reason=str(error))
            reasons.append(str(error))
            self._tried.add(result.sop_instance_uid)
            self._repository.record_delivery(
                result.sop_instance_uid, self._archive, self._sender.owner, DeliveryState.PENDING, str(error)
            )
            return False
        return True

    def _sendable(self) -> list[ResultObject]:
        """What is pending, was not tried in this claim, and references only what the archive has."""
        return [
            result
            for result in self._results
            if self._states[result.sop_instance_uid] is DeliveryState.PENDING
            and result.sop_instance_uid in self._mine
            and result.sop_instance_uid not in self._tried
            and all(self._states.get(uid) is DeliveryState.DELIVERED for uid in result.references)
        ]

    def _record(self, result: ResultObject, outcome: SendOutcome) -> str:
        """Record one outcome as it comes; return what keeps the object pending, or ""."""
        uid, state = result.sop_instance_uid, _ENDS[outcome.delivery]
        kind = result.kind.value
        told, reason = (self._reason(result, outcome, said) for said in (outcome.message, outcome.told))
        self._tried.add(uid)
        self._states[uid] = state
        no_answer = not outcome.ok and outcome.status is None
        self._held = self._repository.record_delivery(
            uid, self._archive, self._sender.owner, state, reason, perhaps_sent=no_answer
        )
        tell = self._log.info if outcome.ok else self._log.warning
        tell("result_sent", kind=kind, ok=outcome.ok, state=state.value, sop_instance_uid=uid, reason=told)
        return reason if state is DeliveryState.PENDING else ""

    def _reason(self, result: ResultObject, outcome: SendOutcome, said: str) -> str:
        if outcome.ok:
            return said
        reason = f"{self._route.title} answered {result.kind.value} with {said}"
        return f"{reason}; {_remedy(result)}" if _ENDS[outcome.delivery] is DeliveryState.REJECTED else reason

    def _withhold(self) -> None:
        """Record what can never be sent, since it references what the archive does not take."""
        for result in self._results:
            if self._states[result.sop_instance_uid] is not DeliveryState.PENDING:
                continue
            missing = [uid for uid in result.references if self._states.get(uid) in _NEVER]
            if missing:
                objects = "an object" if len(missing) == 1 else f"{len(missing)} objects"
                reason = f"not sent: it references {objects} that {self._route.title} did not take"
                self._states[result.sop_instance_uid] = DeliveryState.WITHHELD
                self._repository.record_delivery(
                    result.sop_instance_uid, self._archive, self._sender.owner, DeliveryState.WITHHELD, reason
                )

    def note_attempts(self, reason: str) -> None:
        """Record an attempt that reached nobody for everything that was about to be sent."""
        for result in self._sendable():
            self._repository.record_delivery(
                result.sop_instance_uid, self._archive, self._sender.owner, DeliveryState.PENDING, reason
            )


def _remedy(result: ResultObject) -> str:
    again = "`medseg-node reread` sends it again"
    if result.kind is ResultKind.REJECTION_NOTE:
        return 'set supersede = "delete" or "none" for this archive'
    if result.kind in ADDED_KINDS:
        return f"take it out of `also` of this archive, or let the archive take it; then {again}"
    profile = profile_without(result.kind).value
    return f"the profile {profile!r} needs no {result.kind.value}: set it for this archive, then {again}"
