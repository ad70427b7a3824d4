"""Complete: a study that has been quiet long enough is COMPLETE; what waits too long is woken again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.network.availability import InstanceAvailability
from workflows.state.clock import Jump
from workflows.state.completion import assumed
from workflows.state.records import QuietStudy
from workflows.state.repository import Repository
from workflows.state.waker import Waker
from workflows.steps.evidence import Evidence

__all__ = [
    "ClockWatch", "OldestWaiting", "complete_quiet_studies", "completed", "note_availability", "nothing_waits",
    "seconds_until_due", "wake_due",
]  # fmt: skip

log = structlog.get_logger()

OldestWaiting = Callable[[], datetime | None]
"""When the oldest instance came that is acknowledged and has no row yet; None: all have one."""
_ANNOUNCED_ATTEMPTS = 10
_ANNOUNCED_WAIT_S = 60.0
"""What was announced is waited for so often and so long, since the last instance came."""
_SHORTEST_PAUSE_S = 0.05


def nothing_waits() -> datetime | None:
    """For a node whose instances have their rows when they are acknowledged."""
    return None


def complete_quiet_studies(
    repository: Repository,
    waker: Waker,
    evidence: Evidence | None = None,
    oldest_waiting: OldestWaiting = nothing_waits,
) -> list[str]:
    """Mark quiet studies COMPLETE and wake their planning; return their UIDs.

    A study whose source can be asked is completed by `evidence`, later and elsewhere, unless all that was announced of
    it is here. Where nobody can be asked, what was announced is waited for, for ten minutes at most.
    """
    done: list[str] = []
    for quiet in repository.quiet_studies(oldest_waiting()):
        told, missing = _announced(quiet) or (assumed(quiet), "")
        proved = bool(quiet.announced) and not missing
        if not proved and evidence is not None and evidence.take_up(quiet):
            continue
        if missing and quiet.attempts < _ANNOUNCED_ATTEMPTS:
            repository.wait_longer(quiet, f"waits for {missing}", _ANNOUNCED_WAIT_S)
        elif repository.complete_study(quiet, told, missing and f"{missing} did not come"):
            completed(quiet.study_uid, told, waker)
            done.append(quiet.study_uid)
    return done


def completed(study_uid: str, evidence: str, waker: Waker) -> None:
    """A study is complete: have it planned."""
    fault_point(FaultPoint.COMPLETED)
    log.info("study_complete", study_uid=study_uid, evidence=evidence)
    waker.plan(study_uid)


def _announced(quiet: QuietStudy) -> tuple[str, str] | None:
    """What announcements prove of a study, and what of them is missing or ""; None where there are none."""
    if not quiet.announced:
        return None
    by = ", ".join(sorted(quiet.announced))
    named = {uid for uids in quiet.announced.values() for uid in uids}
    if missing := named - quiet.here:
        told = f"{len(missing)} of {len(named)} instances that {by} announced"
        return assumed(quiet, f"{told} did not come"), told
    more = f"; {extra} more came" if (extra := len(quiet.here - named)) else ""
    return f"announced by {by}: {len(named)} instances, all here{more}", ""


def note_availability(notification: InstanceAvailability, repository: Repository) -> None:
    """Keep what a peer announced. A study is complete soon after all of it is here, and waits for what is not."""
    if notification.sop_instance_uids:
        repository.announce(
            notification.study_uid, notification.calling_ae_title, frozenset(notification.sop_instance_uids)
        )
    log.info(
        "instances_announced",
        study_uid=notification.study_uid,
        calling_ae_title=notification.calling_ae_title,
        named=len(notification.sop_instance_uids),
    )


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


# --- Time -------------------------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


def seconds_until_due(
    repository: Repository, looked_at: datetime, interval_s: float, clock: Callable[[], datetime] = _now
) -> float:
    """How long a scheduler that looked at `looked_at` may rest: until the next study is due, `interval_s` at most.

    What was due before that look and still is waits for something else, and is looked at in the usual interval.
    """
    due = repository.next_due(looked_at)
    if due is None:
        return interval_s
    return min(interval_s, max(_SHORTEST_PAUSE_S, (due - clock()).total_seconds()))


class ClockWatch:
    """Sees the wall clock jump, by a clock that does not; both are read at each look.

    While the machine sleeps the other clock stands still: that time counts for nothing, as after a jump.
    """

    smallest_s = 5.0
    """Less is a clock that is being set right, and changes nothing that matters."""
    look_every_s = 5.0
    """How often it is kept that a scheduler is at work."""

    def __init__(
        self,
        repository: Repository,
        scheduler: str,
        *,
        lease_s: float = 120.0,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository, self._scheduler, self._lease_s = repository, scheduler, lease_s
        self._clock, self._monotonic = clock, monotonic
        self._resumed = False
        self._wall, self._steady = clock(), monotonic()
        self._kept = self._steady

    def look(self, quiet_period_s: Callable[[str], float]) -> None:
        """Take up the work at the first look; at a jump move all that is due by as much. Raises DatabaseUnavailable."""
        wall, steady = self._clock(), self._monotonic()
        if not self._resumed:
            resumed = self._repository.resume(quiet_period_s, self._scheduler, lease_s=self._lease_s)
            log.info("scheduler_resumed", down_s=resumed.down_s, studies_wait_again=resumed.waits)
            self._resumed, self._kept = True, steady
        elif abs(by := (wall - self._wall) - timedelta(seconds=steady - self._steady)) >= timedelta(
            seconds=self.smallest_s
        ):
            jump = Jump(by, ago_s=steady - self._steady)
            shifted = self._repository.shift_clock(jump, self._scheduler, lease_s=self._lease_s)
            log.warning("clock_jumped", by_s=round(by.total_seconds(), 1), shifted_here=shifted)
            self._kept = steady
        elif steady - self._kept >= self.look_every_s:
            self._repository.note_look()
            self._kept = steady
        self._wall, self._steady = wall, steady
