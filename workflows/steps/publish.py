"""Publish: send a job's saved objects to one archive, what is referenced before what references it.

At least once, byte for byte the same: the file that was saved is the file that is sent, as often as it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import structlog

from dicom_node.errors import PeerUnreachable, UnparseableInstance
from dicom_node.network.status import Delivery as Outcome
from dicom_node.network.storage_scu import Peer, SendOutcome, send
from dicom_node.results.profiles import profile_without
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, defect
from workflows.state.records import ClaimedDelivery, ResultObject
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState
from workflows.steps.lease import kept

__all__ = ["Sender", "publish_job"]

log = structlog.get_logger()

_ENDS = {
    Outcome.DELIVERED: DeliveryState.DELIVERED,
    Outcome.REFUSED: DeliveryState.REJECTED,
    Outcome.TRY_AGAIN: DeliveryState.PENDING,
}
_NEVER = (DeliveryState.REJECTED, DeliveryState.WITHHELD, DeliveryState.FAILED)


@dataclass(frozen=True)
class Sender:
    """Who sends, and where each archive is. `default`: the archive that objects without one go to, if any."""

    calling_ae_title: str
    owner: str
    archives: Mapping[str, Peer] = field(default_factory=dict)
    default: Peer | None = None
    lease_s: float = 120.0
    heartbeat_s: float = 30.0
    longest_wait_s: float = 300.0
    retry_s: float = 30.0


def publish_job(key: str, archive: str, repository: Repository, folder: DataFolder, sender: Sender) -> None:
    """Send what is pending to one archive.

    An archive that is down is tried again without limit. An object that it refuses for good is not sent again, nor is
    what references it; the rest is.
    """
    claimed = repository.claim_deliveries(key, archive, sender.owner, sender.lease_s)
    if not claimed:
        return
    bound = log.bind(study_uid=repository.job(key).study_uid, job_key=key, archive=archive)
    attempts = max(one.delivery.attempts for one in claimed) + 1
    wait_s = min(sender.longest_wait_s, 2.0 ** min(attempts, 16))
    peer = sender.archives.get(archive) if archive else sender.default
    if peer is None:
        repository.release_deliveries(key, archive, sender.owner, _no_archive(archive), sender.longest_wait_s)
        return
    beat = lambda: repository.extend_deliveries(key, archive, sender.owner, sender.lease_s)  # noqa: E731
    sending = _Sending(archive, peer, repository, folder, sender, claimed, bound)
    try:
        with kept(beat, sender.heartbeat_s, job_key=key):
            reason = sending.send_all()
    except (PeerUnreachable, UnparseableInstance, OSError) as error:
        reason = str(error)
        sending.note_attempts(reason)
        event = "archive_unreachable" if isinstance(error, PeerUnreachable) else "result_unreadable"
        bound.warning(event, reason=reason, next_attempt_s=wait_s)
    except DatabaseUnavailable:  # the lease brings the deliveries back
        raise
    except Exception as error:
        bound.exception("publish_failed")
        repository.record_delivery_defect(key, archive, sender.owner, defect(error), sender.retry_s)
        return
    repository.release_deliveries(key, archive, sender.owner, reason, wait_s)


def _no_archive(archive: str) -> str:
    if not archive:
        return "no archive to send to: name one under [[archives]] and [results] archive"
    return f"the archive {archive!r} is not configured any more: put it back under [[archives]]"


class _Sending:
    """The deliveries of one claim, their states as they change."""

    def __init__(
        self,
        archive: str,
        peer: Peer,
        repository: Repository,
        folder: DataFolder,
        sender: Sender,
        claimed: Sequence[ClaimedDelivery],
        bound: Any,
    ) -> None:
        self._archive, self._peer, self._repository = archive, peer, repository
        self._folder, self._sender, self._log = folder, sender, bound
        self._results = [one.result for one in claimed]
        self._states: dict[str, DeliveryState] = {one.result.sop_instance_uid: one.delivery.state for one in claimed}
        self._tried: set[str] = set()
        self._held = True

    def send_all(self) -> str:
        """Send until nothing more can be; return why something is still pending, or "".

        Objects go out in batches, one association each: an object that references another is in a later batch.
        """
        reasons: list[str] = []
        self._withhold()
        while self._held and (batch := self._sendable()):
            for result in batch:
                self._require_intact(result)
            paths = [self._folder.absolute(result.path) for result in batch]
            with closing(send(paths, self._peer, self._sender.calling_ae_title)) as outcomes:
                for result, outcome in zip(batch, outcomes, strict=True):
                    reasons.append(self._record(result, outcome))
                    if not self._held:
                        break  # another sender holds the rest by now
            self._withhold()
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    def _require_intact(self, result: ResultObject) -> None:
        """Raise UnparseableInstance for a file that is not what was saved, OSError for one that cannot be read."""
        path = self._folder.absolute(result.path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != result.digest:
                raise UnparseableInstance(f"{path} is not what was saved: restore it from a backup")

    def _sendable(self) -> list[ResultObject]:
        """What is pending, was not tried in this claim, and references only what the archive has."""
        return [
            result
            for result in self._results
            if self._states[result.sop_instance_uid] is DeliveryState.PENDING
            and result.sop_instance_uid not in self._tried
            and all(self._states.get(uid) is DeliveryState.DELIVERED for uid in result.references)
        ]

    def _record(self, result: ResultObject, outcome: SendOutcome) -> str:
        """Record one outcome as it comes; return what keeps the object pending, or ""."""
        uid, state = result.sop_instance_uid, _ENDS[outcome.delivery]
        kind = result.kind.value
        refused = state is DeliveryState.REJECTED
        reason = f"{self._peer.ae_title} answered {kind} with {outcome.message}" if not outcome.ok else outcome.message
        if refused:
            reason = f"{reason}; {_remedy(result)}"
        self._tried.add(uid)
        self._states[uid] = state
        self._held = self._repository.record_delivery(uid, self._archive, self._sender.owner, state, reason)
        tell = self._log.info if outcome.ok else self._log.warning
        tell("result_sent", kind=kind, ok=outcome.ok, state=state.value, sop_instance_uid=uid, reason=reason)
        return reason if state is DeliveryState.PENDING else ""

    def _withhold(self) -> None:
        """Record what can never be sent, since it references what the archive does not take."""
        for result in self._results:
            if self._states[result.sop_instance_uid] is not DeliveryState.PENDING:
                continue
            missing = [uid for uid in result.references if self._states.get(uid) in _NEVER]
            if missing:
                objects = "an object" if len(missing) == 1 else f"{len(missing)} objects"
                reason = f"not sent: it references {objects} that {self._peer.ae_title} did not take"
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
    profile = profile_without(result.sop_class_uid)
    if profile is not None:
        return f"the profile {profile.value!r} needs no {result.kind.value}: set it for this archive, then {again}"
    return f"let the archive take {result.kind.value} objects (every profile of this version sends them), then {again}"
