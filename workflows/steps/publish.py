"""Publish: send a job's saved result objects to the archive, SEG before the SR that references it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node.errors import PeerUnreachable, UnparseableInstance
from dicom_node.network.status import Delivery
from dicom_node.network.storage_scu import Peer, send
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState

__all__ = ["Destination", "publish_job"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Destination:
    """Where results go. `peer` is None while no archive is configured."""

    peer: Peer | None
    calling_ae_title: str
    owner: str
    lease_s: float = 120.0
    longest_wait_s: float = 300.0


def publish_job(key: str, repository: Repository, destination: Destination) -> None:
    """Send what is pending; an archive that is down is tried again without limit, a rejection ends the job."""
    if not repository.claim_delivery(key, destination.owner, destination.lease_s):
        return
    job = repository.job(key)
    bound = log.bind(study_uid=job.study_uid, job_key=key)
    pending = [row for row in repository.results(key) if row.state is DeliveryState.PENDING]
    attempts = max((row.attempts for row in pending), default=0) + 1
    wait_s = min(destination.longest_wait_s, 2.0 ** min(attempts, 16))
    if destination.peer is None:
        reason = "no archive to send to: name one under [[archives]] and [results] archive"
        repository.end_delivery(key, destination.owner, reason, destination.longest_wait_s)
        return
    reason = ""
    try:
        outcomes = send([Path(row.path) for row in pending], destination.peer, destination.calling_ae_title)
        for row, outcome in zip(pending, outcomes, strict=True):
            if not outcome.ok:
                reason = f"{destination.peer.ae_title} answered {row.kind} with {outcome.message}"
            repository.record_delivery(
                key,
                row.sop_instance_uid,
                delivered=outcome.ok,
                rejected=outcome.delivery is Delivery.REFUSED,
                reason=outcome.message,
            )
            bound.info("result_sent", kind=row.kind, ok=outcome.ok, sop_instance_uid=row.sop_instance_uid)
    except (PeerUnreachable, UnparseableInstance, OSError) as error:
        reason = str(error)
        for row in pending:
            repository.record_delivery(key, row.sop_instance_uid, delivered=False, reason=reason)
        event = "archive_unreachable" if isinstance(error, PeerUnreachable) else "result_unreadable"
        bound.warning(event, reason=reason, next_attempt_s=wait_s)
    repository.end_delivery(key, destination.owner, reason, wait_s)
