"""Complete: a study that has been quiet long enough is COMPLETE; what waits too long is woken again."""

from __future__ import annotations

import structlog

from workflows.state.repository import Repository
from workflows.state.waker import Waker

__all__ = ["complete_quiet_studies", "wake_due"]

log = structlog.get_logger()


def complete_quiet_studies(repository: Repository, waker: Waker) -> list[str]:
    """Mark quiet studies COMPLETE and wake their planning; return their UIDs."""
    done = repository.complete_quiet_studies()
    for study_uid in done:
        log.info("study_complete", study_uid=study_uid)
        waker.plan(study_uid)
    return done


def wake_due(repository: Repository, waker: Waker) -> None:
    """Wake every step that is due: new work, retries, and work whose lease ran out."""
    due = repository.take_due()
    for study_uid in due.plans:
        waker.plan(study_uid)
    for job_key in due.jobs:
        waker.predict(job_key)
    for job_key, archive in due.deliveries:
        waker.publish(job_key, archive)
    for job_key, archive in due.confirmations:
        waker.confirm(job_key, archive)
    for study_uid, archive in due.retractions:
        waker.retract(study_uid, archive)
