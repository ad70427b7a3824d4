"""Retrying: which troubles pass, how often each is tried again, and how long to wait before that. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import assert_never

from workflows.protocols.schema import Priority

__all__ = [
    "Backoff", "TroubleKind", "failure_of", "may_restart", "moved_in_queue", "place_in_queue", "place_of_question",
    "spread_s", "too_late",
]  # fmt: skip

_BETWEEN_RESTARTS = timedelta(hours=1)
_STAT_AHEAD = timedelta(hours=1)
_QUESTION_AHEAD = timedelta(days=1)
_TWICE = 2


class TroubleKind(Enum):
    """Why work on a study, a job or a delivery came to nothing. Each kind is told as what it is."""

    WORKER_DIED = "worker-died"
    NO_ROOM = "no-room"
    DEADLINE = "deadline"
    MEMORY = "memory"
    DEFECT = "defect"
    REFUSED = "refused"
    TOO_LATE = "too-late"
    ARCHIVE_REFUSED = "archive-refused"
    PLANNING = "planning"
    UNREADABLE = "unreadable"
    LOST = "lost"

    @property
    def passing(self) -> bool:
        """Whether the same work may succeed later by itself; else something has to be changed first.

        PLANNING passes: what a plan is made with, protocols, weights and program, is not the study's.
        """
        match self:
            case (
                TroubleKind.WORKER_DIED
                | TroubleKind.NO_ROOM
                | TroubleKind.DEADLINE
                | TroubleKind.MEMORY
                | TroubleKind.PLANNING
            ):
                return True
            case (
                TroubleKind.DEFECT
                | TroubleKind.REFUSED
                | TroubleKind.TOO_LATE
                | TroubleKind.ARCHIVE_REFUSED
                | TroubleKind.UNREADABLE
                | TroubleKind.LOST
            ):
                return False
            case _:
                assert_never(self)


# A job that ran into its deadline or its memory limit costs as much again each time; a defect is seldom a chance.
_MOST = {TroubleKind.DEADLINE: _TWICE, TroubleKind.MEMORY: _TWICE, TroubleKind.DEFECT: _TWICE}


def failure_of(troubles: Sequence[TroubleKind], maximum: int) -> TroubleKind | None:
    """As what a job fails after these troubles, in their order; None: it is tried again.

    `maximum`: how many troubles of any kind it may have. Deadline, memory and defect are tried once more at most.
    """
    counted = Counter(troubles)
    ended = [kind for kind in troubles if counted[kind] >= _MOST.get(kind, maximum)]
    if ended:
        return ended[-1]
    if len(troubles) < maximum:
        return None
    most = max(counted.values())
    return next(kind for kind in reversed(troubles) if counted[kind] == most)


def may_restart(restarted_at: datetime | None, now: datetime) -> bool:
    """Whether images that come again may restart a study now. A clock that was set back holds nothing up."""
    return restarted_at is None or not timedelta(0) <= now - restarted_at < _BETWEEN_RESTARTS


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from `base_s` to `longest_s` seconds, each shortened by chance by up to a half.

    The chance keeps apart what failed together: jobs and deliveries that wait for the same archive or disk do not all
    come back in the same moment. `chance`: gives a number from 0 up to 1; a test may seed it.
    """

    base_s: float
    longest_s: float
    chance: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def delay_s(self, attempts: int) -> float:
        """Seconds to wait after so many attempts, counted from 1, that came to nothing."""
        whole = min(self.longest_s, self.base_s * 2.0 ** min(max(attempts, 1) - 1, 30))
        return spread_s(whole, self.chance)


def spread_s(pause_s: float, chance: Callable[[], float] = random.random) -> float:
    """A pause of between half of `pause_s` and all of it, in seconds."""
    return pause_s * (0.5 + 0.5 * chance())


def place_in_queue(queued_at: datetime, priority: Priority) -> datetime:
    """The time by which waiting jobs are ordered: a STAT job stands an hour further ahead than it has waited.

    So it goes before every routine job that has not waited an hour longer, and a routine job never waits for ever.
    """
    return queued_at - _ahead(priority)


def place_of_question(asked_at: datetime) -> datetime:
    """The place of a question that a person waits for: ahead of every job that has not waited a day longer."""
    return asked_at - _QUESTION_AHEAD


def moved_in_queue(turn_at: datetime, before: Priority, after: Priority) -> datetime:
    """The place of a waiting job whose priority changes."""
    return place_in_queue(turn_at + _ahead(before), after)


def _ahead(priority: Priority) -> timedelta:
    return _STAT_AHEAD if priority is Priority.STAT else timedelta(0)


def too_late(useful_until: datetime | None, now: datetime) -> str:
    """Why a job that was not taken up yet is not read any more, or ""."""
    if useful_until is None or now <= useful_until:
        return ""
    until = useful_until.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"too late to be of use: no worker had taken it up by {until}; `medseg-node requeue` has it read all the same"
    )
